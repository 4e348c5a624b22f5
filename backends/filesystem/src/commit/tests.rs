//! A writer that is stalled between any two steps of its commit, and goes on after others took over from it.

use tempfile::TempDir;

use super::*;
use crate::lock::Turn;

struct Writer {
    place: Place,
    memory: Memory,
}

impl Writer {
    fn new(share: &TempDir) -> Self {
        Self { place: Place::open(share.path()).unwrap(), memory: Memory::default() }
    }

    /// Takes the lock from whoever has it, as a file server does from a machine that it hasn't heard from.
    fn take_lock(&self) -> Lock {
        _ = std::fs::remove_file(self.place.machinery_path().join("lock"));
        match Lock::try_exclusive(&self.place, "a test").unwrap() {
            Turn::Mine(lock) => lock,
            Turn::Taken(who) => panic!("the lock is {who}'s"),
        }
    }

    fn version(&mut self) -> Version {
        let patience = std::time::Duration::from_secs(1);
        let read = self.memory.read(&self.place, 0, &BTreeSet::new(), Against::Writers(patience));
        read.unwrap().version.clone()
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.version();
        let bytes = self.memory.view().unwrap().record(&Key::parse(name).unwrap())?.to_vec();
        Some(String::from_utf8(bytes).unwrap())
    }

    fn request(&mut self, base: Version, texts: &[(&str, Option<&str>)]) -> Request {
        let mut batch = Batch::new("test");
        for (name, text) in texts {
            let bytes = text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
            batch.changes.insert(Key::parse(name).unwrap(), bytes);
        }
        Request { base, batch, writer: "a test".into() }
    }

    fn prepare(&mut self, texts: &[(&str, Option<&str>)]) -> Prepared {
        let lock = self.take_lock();
        let base = self.version();
        let request = self.request(base, texts);
        prepare(&self.place, &lock, &mut self.memory, &request, 0).unwrap().unwrap()
    }

    fn commit(&mut self, texts: &[(&str, Option<&str>)]) -> Version {
        let lock = self.take_lock();
        let base = self.version();
        let request = self.request(base, texts);
        let first = commit(&self.place, &lock, &mut self.memory, &request, 0);
        let Err(error) = first else { return first.unwrap() };
        // A commit that waited was finished, and is built upon.
        assert_eq!(error.remedy(), ipvland_store::Remedy::RunAgain, "{error}");
        let base = self.version();
        let request = self.request(base, texts);
        commit(&self.place, &lock, &mut self.memory, &request, 0).unwrap()
    }
}

const OLD: [(&str, Option<&str>); 3] = [("a", Some("0")), ("b", Some("0")), ("gone", Some("0"))];
const STALLED: [(&str, Option<&str>); 3] = [("a", Some("stalled")), ("b", Some("stalled")), ("gone", None)];

/// Makes a store, a writer that will be stalled, and another.
fn stage() -> (TempDir, Writer, Writer) {
    let share = tempfile::tempdir().unwrap();
    let (stalled, mut other) = (Writer::new(&share), Writer::new(&share));
    other.commit(&OLD);
    (share, stalled, other)
}

fn check(share: &TempDir, version: &Version, texts: &[(&str, Option<&str>)]) {
    let mut reader = Writer::new(share);
    assert_eq!(reader.version(), *version);
    for (name, text) in texts {
        assert_eq!(reader.text(name).as_deref(), *text, "{name}");
        let file = std::fs::read_to_string(share.path().join("endpoints").join(name)).ok();
        assert_eq!(file.as_deref(), *text, "the file {name}");
    }
}

#[test]
fn stalled_before_it_stages() {
    let (share, mut stalled, mut other) = stage();
    let prepared = stalled.prepare(&STALLED);
    let newest = other.commit(&[("a", Some("2"))]);
    assert!(prepared.stage_all().is_ok());
    assert!(prepared.link(&stalled.place).is_err());
    check(&share, &newest, &[("a", Some("2")), ("b", Some("0")), ("gone", Some("0"))]);
}

#[test]
fn stalled_before_the_link() {
    let (share, mut stalled, mut other) = stage();
    let prepared = stalled.prepare(&STALLED);
    prepared.stage_all().unwrap();
    let newest = other.commit(&[("a", Some("2"))]);
    assert!(prepared.link(&stalled.place).is_err());
    check(&share, &newest, &[("a", Some("2")), ("b", Some("0")), ("gone", Some("0"))]);
}

#[test]
fn two_that_link_at_once() {
    let (share, mut stalled, mut other) = stage();
    let (first, second) = (stalled.prepare(&STALLED), other.prepare(&[("a", Some("2"))]));
    for prepared in [&first, &second] {
        prepared.stage_all().unwrap();
    }
    second.link(&other.place).unwrap();
    let error = first.link(&stalled.place).unwrap_err();
    assert_eq!(error.remedy(), ipvland_store::Remedy::RunAgain, "{error}");
    apply(&other.place, &second.stage, &second.entry, &second.entry.changes).unwrap();
    check(&share, &second.entry.revision, &[("a", Some("2")), ("b", Some("0")), ("gone", Some("0"))]);
}

#[test]
fn stalled_after_the_link() {
    for commits in 1..=2 {
        let (share, mut stalled, mut other) = stage();
        let prepared = stalled.prepare(&STALLED);
        prepared.stage_all().unwrap();
        prepared.link(&stalled.place).unwrap();
        let mut newest = other.commit(&[("a", Some("2")), ("gone", Some("2"))]);
        if commits == 2 {
            newest = other.commit(&[("a", Some("3"))]);
        }
        let error = apply(&stalled.place, &prepared.stage, &prepared.entry, &prepared.entry.changes);
        assert_eq!(error.unwrap_err().remedy(), ipvland_store::Remedy::RetryLater);
        let a = if commits == 2 { "3" } else { "2" };
        check(&share, &newest, &[("a", Some(a)), ("b", Some("stalled")), ("gone", Some("2"))]);
    }
}

#[test]
fn stalled_before_it_removes_a_record() {
    let (share, mut stalled, mut other) = stage();
    let prepared = stalled.prepare(&[("gone", None)]);
    prepared.stage_all().unwrap();
    prepared.link(&stalled.place).unwrap();
    let newest = other.commit(&[("gone", Some("2"))]);
    assert!(apply(&stalled.place, &prepared.stage, &prepared.entry, &prepared.entry.changes).is_err());
    check(&share, &newest, &[("a", Some("0")), ("gone", Some("2"))]);
}

#[test]
fn stalled_while_it_finishes_the_commit_of_another() {
    let (share, mut first, mut other) = stage();
    let prepared = first.prepare(&STALLED);
    prepared.stage_all().unwrap();
    prepared.link(&first.place).unwrap();
    // The second stages what the first left, and is stalled in its turn.
    let mut second = Writer::new(&share);
    second.version();
    let stage = Stage::open(&second.place).unwrap();
    stage_changes(&stage, &prepared.entry, &prepared.entry.changes).unwrap();
    let newest = other.commit(&[("a", Some("2")), ("gone", Some("2"))]);
    assert!(apply(&second.place, &stage, &prepared.entry, &prepared.entry.changes).is_err());
    check(&share, &newest, &[("a", Some("2")), ("b", Some("stalled")), ("gone", Some("2"))]);
}

#[test]
fn stalled_for_longer_than_the_log_goes_back() {
    let (share, mut stalled, mut other) = stage();
    let prepared = stalled.prepare(&STALLED);
    let mut newest = other.version();
    for round in 0..=KEEP {
        newest = other.commit(&[("a", Some(&format!("round {round}")))]);
    }
    // As if it were stalled after its look at the generation: nothing has the name of its entry any more.
    let log = share.path().join(".ipvland/log");
    assert!(!log.join(prepared.entry.revision.generation.to_string()).exists());
    prepared.stage_all().unwrap();
    let error = prepared.enter(&stalled.place).unwrap_err();
    assert_eq!(error.remedy(), ipvland_store::Remedy::RunAgain, "{error}");
    assert!(!log.join(prepared.entry.revision.generation.to_string()).exists());
    check(&share, &newest, &[("b", Some("0")), ("gone", Some("0"))]);
}
