//! Processes that are stopped in the middle of their work, as a machine that is paused or cut off from its file server.

use std::{
    fs::{File, TryLockError},
    sync::Arc,
    time::{Duration, Instant},
};

use ipvland_store::{EndpointStore as _, Remedy};

use crate::{
    host::{Host, Share, put},
    process::{Process, Role, check, count},
};

/// Stops the only writer at a moment when it has the lock.
fn stop_with_the_lock(writer: &Process, share: &Share) {
    writer.wait_for_progress();
    loop {
        std::thread::sleep(Duration::from_micros(fastrand::u64(..10_000)));
        writer.stop();
        let lock = File::open(share.machinery("lock")).unwrap();
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return;
        }
        drop(lock);
        writer.resume();
    }
}

/// The same, at a moment when it has also noted who it is, which it does just after.
fn stop_with_its_name_in_the_lock(writer: &Process, share: &Share) {
    loop {
        stop_with_the_lock(writer, share);
        let note = std::fs::read_to_string(share.machinery("lock")).unwrap();
        if note.contains(&format!("process {}", writer.id())) {
            return;
        }
        writer.resume();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_writer_is_named_in_time_and_readers_go_on() {
    let share = Share::new();
    let writer = Process::start(Role::Writer, "w", &share, None);
    stop_with_its_name_in_the_lock(&writer, &share);
    let host = Host::open(&share.path(), "50ms", "2s", Arc::new(tempfile::tempdir().unwrap()));
    let begun = Instant::now();
    let snapshot = host.snapshot().await;
    check(&snapshot);
    assert!(begun.elapsed() < Duration::from_secs(2), "a reader waited {:?}", begun.elapsed());
    let waiting = host.store.commit(&snapshot.revision, put("x", "1"));
    let reading = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        host.snapshot().await;
        begun.elapsed()
    };
    let begun = Instant::now();
    let (error, read) = tokio::join!(waiting, reading);
    let error = error.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    assert!(error.to_string().contains(&format!("process {}", writer.id())), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "a writer waited {:?}", begun.elapsed());
    assert!(read < Duration::from_secs(1), "a reader waited {read:?} for a writer of its own host");
    writer.resume();
    writer.wait_for_progress();
    count(&*host.store, "parent").await;
    check(&host.snapshot().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_writer_whose_lock_went_to_another_does_no_harm() {
    let share = Share::new();
    let writer = Process::start(Role::Writer, "w", &share, None);
    let host = Host::at(&share.path());
    for round in 0..25 {
        stop_with_the_lock(&writer, &share);
        let acknowledged = writer.done();
        // As if the server had taken it: others lock another file.
        std::fs::remove_file(share.machinery("lock")).unwrap();
        for _ in 0..1 + round % 3 {
            count(&*host.store, "parent").await;
        }
        let writers = check(&host.snapshot().await);
        assert!(writers["w"] >= acknowledged);
        writer.resume();
        writer.wait_for_progress();
        check(&host.snapshot().await);
    }
    let acknowledged = writer.kill();
    // Another, who reads the files alone and finishes what was left.
    let other = Host::at(&share.path());
    count(&*other.store, "parent").await;
    let writers = check(&other.snapshot().await);
    println!("{writers:?} after 25 stalls");
    assert!(writers["w"] >= acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_reader_keeps_nobody_from_writing() {
    let share = Share::new();
    let host = Host::at(&share.path());
    count(&*host.store, "parent").await;
    let reader = Process::start(Role::Reader, "r", &share, None);
    for _ in 0..30 {
        reader.wait_for_progress();
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
        reader.stop();
        let begun = Instant::now();
        count(&*host.store, "parent").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "a commit took {:?}", begun.elapsed());
        reader.resume();
    }
}
