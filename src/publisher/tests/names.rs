//! Names of containers in the store: gathered, within the interval, and gone with the host.

use std::net::IpAddr;

use super::*;
use crate::{
    fleet::{NamesView, Source, names_of},
    record::{Names, NamesRecord},
};

const INTERVAL: Duration = Duration::from_secs(10);

struct Host {
    store: MemoryStore,
    wanted: watch::Sender<Option<Arc<Names>>>,
    shown: watch::Sender<NamesView>,
    leaving: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    board: Board,
}

fn start() -> Host {
    let store = MemoryStore::new();
    let shown = watch::Sender::new(NamesView::default());
    let (wanted, leaving, stopped) =
        (watch::Sender::new(None), watch::Sender::new(false), watch::Sender::new(false));
    let host = Host {
        store: store.clone(),
        wanted,
        shown,
        leaving,
        stopped: stopped.subscribe(),
        board: Board::default(),
    };
    let publisher = NamesPublisher {
        store: Arc::new(store),
        nudge: Nudge::new(),
        id: ID.to_owned(),
        name: "web-1".to_owned(),
        wanted: host.wanted.subscribe(),
        shown: host.shown.subscribe(),
        reach: watch::Sender::new(Some(reach("10.1.1.48"))).subscribe(),
        leaving: host.leaving.subscribe(),
        stopped,
        interval: INTERVAL,
        board: host.board.clone(),
    };
    tokio::spawn(publisher.run());
    host
}

fn names(names: &[&str]) -> Names {
    let address: IpAddr = "10.1.48.7".parse().unwrap();
    let names = names.iter().map(|name| ((*name).to_owned(), [address].into())).collect();
    Names::from([("net1".to_owned(), names)])
}

impl Host {
    fn want(&self, wanted: &[&str]) {
        let wanted = if wanted.is_empty() { Names::new() } else { names(wanted) };
        self.wanted.send_replace(Some(Arc::new(wanted)));
    }

    /// Shows the publisher the store as it is.
    async fn look(&self) {
        let files = names_of(&self.store.snapshot().await.unwrap().records);
        self.shown.send_replace(NamesView { source: Source::Store, files: Arc::new(files) });
    }

    /// Lets time pass, with a look at the store each second.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.look().await;
        }
    }

    async fn file(&self, host: &str) -> Option<NamesRecord> {
        let key = NamesRecord::key(host.parse().unwrap());
        let records = self.store.snapshot().await.unwrap().records;
        records.get(&key).map(|bytes| NamesRecord::parse(&key, bytes).unwrap())
    }

    async fn told(&self) -> Vec<String> {
        let file = self.file("10.1.1.48").await;
        file.map(|file| file.names["net1"].keys().cloned().collect()).unwrap_or_default()
    }

    async fn revision(&self) -> Revision {
        self.store.snapshot().await.unwrap().revision
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_commit_and_the_next_waits_for_the_interval() {
    let host = start();
    host.look().await;
    host.pass(5).await;
    let empty = host.revision().await;
    for n in 1..=3 {
        host.want(&["a", "b", "c"][..n]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(host.revision().await, empty, "names that still change are not written");
    }
    host.pass(2).await;
    assert_eq!(host.told().await, ["a", "b", "c"]);
    let first = host.revision().await;
    host.want(&["a"]);
    host.pass(7).await;
    assert_eq!(host.revision().await, first, "no second commit within the interval");
    host.pass(5).await;
    assert_eq!(host.told().await, ["a"]);
    let second = host.revision().await;
    host.pass(60).await;
    assert_eq!(host.revision().await, second, "what stands is not written again");
    host.want(&[]);
    host.pass(5).await;
    assert!(host.file("10.1.1.48").await.is_none(), "no names, no file");
}

#[tokio::test(start_paused = true)]
async fn names_that_never_stand_still_are_written_all_the_same() {
    let host = start();
    host.look().await;
    for n in 0..12 {
        host.want(&[&format!("n{n}")]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!host.told().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_docker_and_the_store_have_told() {
    let host = start();
    let empty = host.revision().await;
    host.want(&["a"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.revision().await, empty, "the store has not been read");
    let host = start();
    let empty = host.revision().await;
    host.pass(60).await;
    assert_eq!(host.revision().await, empty);
}

#[tokio::test(start_paused = true)]
async fn names_move_with_the_host_and_another_machines_stay() {
    let host = start();
    let file = |host: &str, id: &str| {
        NamesRecord { host: host.parse().unwrap(), id: id.to_owned(), names: names(&["old"]) }.to_bytes()
    };
    host.store.plant(b"10.1.1.47.names.json", file("10.1.1.47", ID));
    host.store.plant(b"10.1.1.51.names.json", file("10.1.1.51", OTHER_ID));
    host.want(&["a"]);
    host.pass(5).await;
    assert_eq!(host.told().await, ["a"]);
    assert!(host.file("10.1.1.47").await.is_none() && host.file("10.1.1.51").await.is_some());

    let host = start();
    host.store.plant(b"10.1.1.48.names.json", file("10.1.1.48", OTHER_ID));
    host.want(&["a"]);
    host.pass(5).await;
    assert_eq!(host.told().await, ["old"]);
    let problems = host.board.read().problems;
    assert!(
        problems[0].contains("another machine") && problems[0].contains("10.1.1.48.names.json"),
        "{problems:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_the_names_along_and_writes_none_after() {
    let mut host = start();
    host.want(&["a"]);
    host.pass(5).await;
    host.leaving.send_replace(true);
    host.stopped.wait_for(|stopped| *stopped).await.unwrap();
    let snapshot = host.store.snapshot().await.unwrap();
    let batch = withdraw(&snapshot, ID, "web-1", Some("10.1.1.48".parse().unwrap()), false).unwrap().unwrap();
    assert_eq!(batch.changes.into_iter().collect::<Vec<_>>(), [(key("10.1.1.48.names.json"), None)]);
    let other = withdraw(&snapshot, OTHER_ID, "web-1", Some("10.1.1.48".parse().unwrap()), false).unwrap();
    assert_eq!(other, None, "another machine's names stay");
    let forced = withdraw(&snapshot, OTHER_ID, "web-1", Some("10.1.1.48".parse().unwrap()), true).unwrap();
    assert!(forced.is_some());
    host.want(&["a", "b"]);
    host.pass(60).await;
    assert_eq!(host.told().await, ["a"]);
}

#[test]
fn the_subject_says_what_changes() {
    let file =
        NamesRecord { host: "10.1.1.48".parse().unwrap(), id: ID.to_owned(), names: names(&["a", "b"]) };
    let before = snapshot(&[("10.1.1.48.names.json", String::from_utf8(file.to_bytes().to_vec()).unwrap())]);
    let mut new = names(&["b", "c", "d"]);
    new.get_mut("net1").unwrap().insert("b".to_owned(), ["10.1.48.9".parse().unwrap()].into());
    let subject =
        super::super::names::batch(&before, ID, "web-1", "10.1.1.48".parse().unwrap(), &new).unwrap().subject;
    assert_eq!(subject, "web-1 names c.net1, d.net1 and moves b.net1 and drops a.net1");
}
