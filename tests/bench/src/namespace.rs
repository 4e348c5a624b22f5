//! Network namespaces with names of their own, which are gone when the run is over, however it ended.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use servers::process::run;

use crate::report::Part;

/// The beginning of each name, before the number of the process that made it.
const PREFIX: &str = "ipvland-bench-";

/// Where `ip netns` keeps the names.
const FOLDER: &str = "/run/netns";

/// The names that are ours.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace(String);

impl Namespace {
    /// Makes a namespace, with its loopback up.
    pub(crate) fn new(word: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{word}", std::process::id());
        // Noted before it is there, so that nothing is left where we are ended in between.
        MADE.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        ip(&format!("netns add {name}"));
        let made = Self(name);
        made.ip("link set lo up");
        made
    }

    /// Names a namespace that another process of the run has made.
    pub(crate) fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    fn file(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(&self.0)
    }

    /// Runs `ip` in it, with words split at blanks.
    pub(crate) fn ip(&self, words: &str) -> String {
        ip(&format!("-n {} {words}", self.0))
    }

    /// Begins a command that runs in it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file().display())).arg("--").arg(program);
        command
    }

    /// Runs work on a thread that is in it: sockets that are opened there stay in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.file());
        let file = file.unwrap_or_else(|why| panic!("cannot open the namespace {}: {why}", self.0));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .expect("moving a thread into a network namespace takes root");
                work()
            });
            thread.join().expect("the work in the namespace")
        })
    }

    /// Runs a part of the benchmark in it, by this same program, and takes what it gives; nothing where it failed, which it
    /// has told.
    pub(crate) async fn part(&self, words: &[String]) -> Option<Part> {
        let program = std::env::current_exe().expect("the program's own file");
        let mut command = tokio::process::Command::from(self.command(program));
        command.arg("inside").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        // A part that is killed can't tidy up: all that it has on the disk goes with us.
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("a directory");
        command.env("TMPDIR", folder);
        let child = command.spawn().expect("nsenter of util-linux starts");
        let output = child.wait_with_output().await.expect("a part of the benchmark");
        let done = output.status.success();
        done.then(|| serde_json::from_slice(&output.stdout).expect("a part prints its figures"))
    }
}

/// Joins two namespaces by a veth pair, given as (namespace, name of the link) and raised.
pub(crate) fn join(one: (&Namespace, &str), other: (&Namespace, &str)) {
    let ((one, link), (other, its_link)) = (one, other);
    one.ip(&format!("link add {link} type veth peer name {its_link} netns {}", other.name()));
    one.ip(&format!("link set {link} up"));
    other.ip(&format!("link set {its_link} up"));
}

/// Runs `ip`, with words split at blanks.
pub(crate) fn ip(words: &str) -> String {
    run(Command::new(servers::process::program("ip", "iproute2")).args(words.split_whitespace()))
}

/// Says in one sentence what keeps us from making namespaces.
pub(crate) fn check() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err("the benchmark makes network namespaces and routes in them, so run it as root".to_owned())
}

/// Removes the namespaces that this process made, and all that runs in them.
pub(crate) fn remove_all() {
    let made = std::mem::take(&mut *MADE.lock().unwrap_or_else(PoisonError::into_inner));
    made.iter().rev().for_each(|name| remove(name));
    _ = std::fs::remove_dir_all(folder());
}

/// What the parts have on the disk.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()))
}

/// Removes what a run left that was killed.
pub(crate) fn sweep() {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_left = owner.is_some_and(|number| !PathBuf::from("/proc").join(number).exists());
        if is_left {
            remove(&name);
        }
    }
}

/// Removes one namespace of ours, with what still runs in it. What fails here must not hide why we are here.
fn remove(name: &str) {
    if let Ok(listed) = Command::new("ip").args(["netns", "pids", name]).output() {
        let numbers = String::from_utf8_lossy(&listed.stdout).into_owned();
        for number in numbers.split_whitespace().filter_map(|word| word.parse().ok()) {
            if let Some(process) = rustix::process::Pid::from_raw(number) {
                _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
        }
    }
    _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}
