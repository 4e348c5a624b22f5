//! Hosts that are processes of their own, which can be killed and stopped: the test binary calls itself.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ipvland_store::{Batch, EndpointStore, Snapshot, StoreExt as _, transact::Retry};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, Share, key};

const ROLE: &str = "IPVLAND_TEST_ROLE";
const NAME: &str = "IPVLAND_TEST_NAME";
const SHARE: &str = "IPVLAND_TEST_SHARE";
const ROUNDS: &str = "IPVLAND_TEST_ROUNDS";
/// Comes before the number of rounds that a process has done.
const DONE: &str = "done ";

/// What a process does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Counts up, by [`count`].
    Writer,
    /// Reads, and checks what it reads.
    Reader,
}

/// A process, killed when it's dropped.
pub(crate) struct Process {
    child: std::process::Child,
    done: Arc<AtomicU64>,
    output: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a process that works so many rounds, or for ever.
    pub(crate) fn start(role: Role, name: &str, share: &Share, rounds: Option<u64>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::a_process_of_its_own_writes_and_another_reads", "--nocapture"])
            .env(ROLE, format!("{role:?}"))
            .env(NAME, name)
            .env(SHARE, share.path())
            .env(ROUNDS, rounds.unwrap_or(u64::MAX).to_string())
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let done = Arc::new(AtomicU64::new(0));
        let (lines, counter) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&done));
        let output = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, number)) = line.rsplit_once(DONE) {
                    counter.store(number.parse().unwrap(), Ordering::SeqCst);
                }
            }
        });
        Self { child, done, output: Some(output) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the last number that the process was told is committed.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Kills it, and returns the last number that it was told is committed.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.output.take().unwrap().join().unwrap();
        self.done()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> u64 {
        assert!(self.child.wait().unwrap().success());
        self.output.take().unwrap().join().unwrap();
        self.done()
    }

    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next()
        };
        while state() != Some('T') {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits until it has done a round more.
    pub(crate) fn wait_for_progress(&self) {
        let (before, begun) = (self.done(), Instant::now());
        while self.done() == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "process {} makes no progress", self.id());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs neither.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn number(snapshot: &Snapshot, name: &str) -> u64 {
    let bytes = snapshot.records.get(name).map(|bytes| std::str::from_utf8(bytes).unwrap());
    bytes.map_or(0, |text| text.parse().unwrap())
}

/// Counts up by one commit, for a writer and for all; returns the writer's number.
pub(crate) async fn count(store: &impl EndpointStore, name: &str) -> u64 {
    let mut own = 0;
    let retry = Retry { base: Duration::from_millis(5), cap: Duration::from_millis(200), ..Retry::default() };
    let edit = |snapshot: &Snapshot| {
        own = number(snapshot, &format!("{name}.a")) + 1;
        let total = number(snapshot, "total") + 1;
        let batch = Batch::new(format!("{name} counts"))
            .put(key(&format!("{name}.a")), own.to_string())
            .put(key("total"), total.to_string())
            .put(key(&format!("{name}.z")), own.to_string());
        let odd = key(&format!("{name}.odd"));
        Ok(Some(if own % 2 == 1 { batch.put(odd, "") } else { batch.remove(odd) }))
    };
    store.transact(retry, edit).await.unwrap();
    own
}

/// Checks that a snapshot holds only whole commits, and that none was lost; returns each writer's number.
pub(crate) fn check(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let writers: BTreeMap<String, u64> = snapshot
        .records
        .keys()
        .filter_map(|key| Some(key.as_str().strip_suffix(".a")?.to_owned()))
        .map(|name| {
            let own = number(snapshot, &format!("{name}.a"));
            assert_eq!(own, number(snapshot, &format!("{name}.z")), "half a commit of {name}");
            let odd = snapshot.records.contains_key(format!("{name}.odd").as_str());
            assert_eq!(own % 2 == 1, odd, "half a commit of {name}");
            (name, own)
        })
        .collect();
    assert_eq!(number(snapshot, "total"), writers.values().sum::<u64>(), "a commit was lost: {writers:?}");
    assert!(snapshot.strays.is_empty(), "{:?}", snapshot.strays);
    writers
}

fn act(role: &str) {
    let variable = |name| std::env::var(name).unwrap();
    let (name, rounds) = (variable(NAME), variable(ROUNDS).parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let host = Host::at(Path::new(&variable(SHARE)));
        for round in 1..=rounds {
            let number = match role {
                "Writer" => count(&*host.store, &name).await,
                _ => {
                    check(&host.snapshot().await);
                    round
                }
            };
            println!("{DONE}{number}");
        }
    });
}

#[test]
fn a_process_of_its_own_writes_and_another_reads() {
    if let Ok(role) = std::env::var(ROLE) {
        return act(&role);
    }
    let share = Share::new();
    assert_eq!(Process::start(Role::Writer, "one", &share, Some(3)).end(), 3);
    assert_eq!(Process::start(Role::Reader, "two", &share, Some(2)).end(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let snapshot = runtime.block_on(async { Host::at(&share.path()).snapshot().await });
    assert_eq!(check(&snapshot), [("one".to_owned(), 3)].into());
}
