//! Ten thousand records: a look at a store where nothing changed touches none of them, and inotify makes changes known
//! at once.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

#[path = "real/host.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod host;

use std::{
    fs,
    io::Write,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use ipvland_store::EndpointStore as _;

use host::{Host, Share, key, next, put};

/// What the store and the poller say of their work, of the whole process.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let writer = Writer(Arc::clone(&log));
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    subscriber.with_writer(move || writer.clone()).init();
    log
});

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns how often a store was looked at since the last call, and how many records each full look at it read.
fn looks(share: &Share) -> (usize, Vec<usize>) {
    let log = String::from_utf8(std::mem::take(&mut *LOG.lock().unwrap())).unwrap();
    let looks = log.lines().filter(|line| line.contains("Looking for changes in the store")).count();
    let path = share.path().display().to_string();
    let full = log.lines().filter(|line| line.contains("Looked at every record") && line.contains(&path));
    let read = full.map(|line| line.rsplit_once("read=").unwrap().1.trim().parse().unwrap());
    (looks, read.collect())
}

const RECORDS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_without_a_change_touches_no_record_and_a_change_is_seen_at_once() {
    LazyLock::force(&LOG);
    let share = Share::new();
    fs::create_dir(share.path().join("endpoints")).unwrap();
    for number in 0..RECORDS {
        fs::write(share.record(&format!("10.{}.{}.json", number / 250, number % 250)), "x".repeat(500))
            .unwrap();
    }
    let host = Host::at(&share.path());
    let begun = Instant::now();
    let first = host.snapshot().await;
    println!("{RECORDS} records read in {:?}", begun.elapsed());
    assert_eq!(first.records.len(), RECORDS);
    assert_eq!(looks(&share).1, [RECORDS]);
    let mut deltas = host.store.watch(first.revision.clone());
    // The ticks in which the files were made go by.
    let quiet = tokio::time::timeout(Duration::from_secs(4), deltas.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (looked, read) = looks(&share);
    println!("{looked} looks, of which {} at every record, reading {read:?}", read.len());

    let quiet = tokio::time::timeout(Duration::from_secs(3), deltas.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (looked, read) = looks(&share);
    println!("{looked} looks, of which {} at every record", read.len());
    assert!(looked >= 20, "{looked} looks in 3 s");
    assert_eq!(read, [0; 0], "looks without a change went through the records");

    // One change reads one record.
    fs::write(share.record("new.json"), "1").unwrap();
    let delta = next(&mut deltas).await.unwrap();
    assert_eq!(delta.changes.keys().collect::<Vec<_>>(), [&key("new.json")]);
    let (_, read) = looks(&share);
    assert!(read.iter().all(|read| *read <= 1) && read.contains(&1), "{read:?}");

    // With an interval of an hour: an edit in place, a commit of another host, a removal.
    let far = Host::open(&share.path(), "1h", "10s", Arc::new(tempfile::tempdir().unwrap()));
    let at = far.snapshot().await.revision;
    let mut deltas = far.store.watch(at);
    // The first look, which is made at once, is over, and inotify listens.
    assert!(tokio::time::timeout(Duration::from_secs(1), deltas.next()).await.is_err());
    for step in 0..3 {
        let begun = Instant::now();
        match step {
            0 => fs::write(share.record("new.json"), "2").unwrap(),
            1 => _ = host.publish("another.json", "1").await,
            _ => fs::remove_file(share.record("new.json")).unwrap(),
        }
        let delta = next(&mut deltas).await.unwrap();
        println!("step {step} is seen after {:?}", begun.elapsed());
        assert_eq!(delta.changes.len(), 1, "{delta:?}");
    }
    // What this handle itself wrote is told to it once, and does not wake it again and again.
    host.publish("quiet.json", "1").await;
    next(&mut deltas).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    looks(&share);
    far.commit(put("own.json", "1")).await.unwrap();
    let own = next(&mut deltas).await.unwrap();
    assert_eq!(own.changes.len(), 1);
    let more = tokio::time::timeout(Duration::from_secs(1), deltas.next()).await;
    assert!(more.is_err(), "{more:?}");
    // The nudge of the daemon wakes it.
    looks(&share);
    far.nudge.wake();
    let more = tokio::time::timeout(Duration::from_millis(300), deltas.next()).await;
    assert!(more.is_err(), "{more:?}");
    assert!(looks(&share).0 >= 1);
}
