//! Processes that write at once, and that are killed at any moment: no commit that was acknowledged is lost, and none is
//! ever seen half.

use std::time::{Duration, Instant};

use ipvland_store::{Snapshot, StoreExt as _, transact::Retry};

use crate::{
    host::{Host, Share, put},
    process::{Process, Role, check},
};

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_count_and_lose_nothing() {
    let share = Share::new();
    let begun = Instant::now();
    let start = |number| Process::start(Role::Writer, &format!("w{number}"), &share, Some(20));
    let processes: Vec<_> = (0..8).map(start).collect();
    let reader = Process::start(Role::Reader, "reader", &share, None);
    let host = Host::at(&share.path());
    for process in processes {
        assert_eq!(tokio::task::spawn_blocking(|| process.end()).await.unwrap(), 20);
        check(&host.snapshot().await);
    }
    let read = reader.kill();
    println!("160 commits of 8 processes in {:?}, {read} whole reads meanwhile", begun.elapsed());
    assert!(read > 0);
    let writers = check(&host.snapshot().await);
    assert_eq!(writers.len(), 8);
    assert!(writers.values().all(|number| *number == 20), "{writers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_hosts_publish_at_once() {
    let share = Share::new();
    let begun = Instant::now();
    let publish = |number: usize| {
        let host = Host::at(&share.path());
        tokio::spawn(async move {
            let mut attempts = 0;
            let edit = |_: &Snapshot| {
                attempts += 1;
                Ok(Some(put(&format!("10.1.1.{number}.json"), &number.to_string())))
            };
            host.store.transact(Retry::default(), edit).await.unwrap();
            attempts
        })
    };
    let tasks: Vec<_> = (1..=50).map(publish).collect();
    let mut attempts = 0;
    for task in tasks {
        attempts += task.await.unwrap();
    }
    println!("50 hosts, {attempts} attempts, {:?}", begun.elapsed());
    for number in 1..=50 {
        let text = std::fs::read_to_string(share.record(&format!("10.1.1.{number}.json"))).unwrap();
        assert_eq!(text, number.to_string());
    }
    assert_eq!(std::fs::read_dir(share.machinery("log")).unwrap().count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_never_sees_the_commits_of_two_times() {
    let share = Share::new();
    // They lie between the records of one commit, and each new host reads them all.
    std::fs::create_dir(share.path().join("endpoints")).unwrap();
    for number in 0..100 {
        std::fs::write(share.record(&format!("n.m{number}")), "x".repeat(60_000)).unwrap();
    }
    // The writer reads them no more, and is faster, once their times are older than its own records'.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writer = Process::start(Role::Writer, "n", &share, None);
    writer.wait_for_progress();
    writer.wait_for_progress();
    let (begun, before, mut reads) = (Instant::now(), writer.done(), 0);
    while writer.done() < before + 30 || reads < 4 {
        check(&Host::at(&share.path()).snapshot().await);
        reads += 1;
        assert!(begun.elapsed() < Duration::from_secs(100), "{} commits in 100 s", writer.done() - before);
    }
    println!("{} commits while {reads} hosts read 100 large records", writer.kill() - before);
}

const KILLS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn writers_killed_at_any_moment_lose_nothing_that_was_acknowledged() {
    let share = Share::new();
    let start = |number: usize| Process::start(Role::Writer, &format!("w{number}"), &share, None);
    let mut processes: Vec<_> = (0..3).map(start).collect();
    let host = Host::at(&share.path());
    let mut waiting = 0;
    for _ in 0..KILLS {
        let number = fastrand::usize(..processes.len());
        // So that each commits a while, and is then killed within a commit.
        processes[number].wait_for_progress();
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
        let killed = std::mem::replace(&mut processes[number], start(number));
        let acknowledged = killed.kill();
        let snapshot = host.snapshot().await;
        let writers = check(&snapshot);
        let seen = writers[&format!("w{number}")];
        assert!(seen >= acknowledged, "{acknowledged} was acknowledged to w{number}: {writers:?}");
        waiting += usize::from(is_waiting(&share));
    }
    drop(processes);
    let writers = check(&host.snapshot().await);
    println!("{KILLS} kills, {waiting} commits seen waiting after one, {writers:?}");
}

/// Tells whether a commit is made and not all in the files.
fn is_waiting(share: &Share) -> bool {
    let text = std::fs::read_to_string(share.machinery("generation")).unwrap();
    let mark: serde_json::Value = serde_json::from_str(&text).unwrap();
    let next = mark["generation"].as_u64().unwrap() + 1;
    share.machinery(&format!("log/{next}")).exists()
}
