//! Many writers at once, in a time that is only counted: how often each of them tries.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{future::join_all, stream::BoxStream};
use ipvland_store::{
    Batch, Delta, EndpointStore, Key, MemoryStore, Result, Retry, Revision, Snapshot, StoreExt,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// A server that does so many things at once, each of which takes its time, at the end of a line.
#[derive(Debug, Clone)]
struct Server {
    records: MemoryStore,
    hands: Arc<Semaphore>,
    line: Duration,
    read: Duration,
    write: Duration,
    commits: Arc<AtomicUsize>,
}

impl Server {
    async fn work(&self, takes: Duration) {
        sleep(self.line / 2).await;
        let _hand = self.hands.acquire().await.unwrap();
        sleep(takes.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }
}

#[async_trait]
impl EndpointStore for Server {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.work(self.read).await;
        let snapshot = self.records.snapshot().await;
        sleep(self.line / 2).await;
        snapshot
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        // Git's way: a look at the branch, which most lost races end at, and then the push.
        self.work(self.read).await;
        if self.records.snapshot().await?.revision == *base {
            self.work(self.write).await;
        }
        let done = self.records.commit(base, batch).await;
        sleep(self.line / 2).await;
        done
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        self.records.watch(after)
    }
}

/// Lets so many writers publish one record each; returns the commits that each tried on average, and how many times as
/// long it took as one writer after the other.
async fn crowd(writers: usize, hands: usize, line: u64, read: u64, write: u64) -> (f64, f64) {
    fastrand::seed(7);
    let ms = Duration::from_millis;
    let server = Server {
        records: MemoryStore::new(),
        hands: Arc::new(Semaphore::new(hands)),
        line: ms(line),
        read: ms(read),
        write: ms(write),
        commits: Arc::default(),
    };
    let start = Instant::now();
    join_all((0..writers).map(|writer| {
        let server = &server;
        async move {
            let key = Key::parse(&format!("10.1.{}.{}", writer / 256, writer % 256)).unwrap();
            let edit = |_: &Snapshot| Ok(Some(Batch::new("x").put(key.clone(), "1")));
            server.transact(Retry::default(), edit).await.unwrap();
        }
    }))
    .await;
    let took = start.elapsed().as_secs_f64();
    assert_eq!(server.records.snapshot().await.unwrap().records.len(), writers);
    let alone = (2 * read + write + 3 * line) as f64 / 1_000.0;
    let commits = server.commits.load(Ordering::Relaxed) as f64 / writers as f64;
    let times = took / (alone * writers as f64);
    println!(
        "{writers} writers, {hands} hands, {line} ms away: {commits:.1} commits each, {times:.1} times as long"
    );
    (commits, times)
}

/// Many servers that Git runs on: its work, and not the line, is what takes long.
#[tokio::test(start_paused = true)]
async fn writers_at_a_busy_server_try_a_few_times() {
    for hands in [1, 2] {
        for (writers, most) in [(10, 3.0), (100, 3.0), (300, 4.0)] {
            let (commits, times) = crowd(writers, hands, 2, 15, 30).await;
            assert!(commits <= most, "{writers} writers, {hands} hands: {commits} commits each");
            assert!(times <= 10.0, "{writers} writers, {hands} hands: {times} times as long");
        }
    }
}

/// A server far away with time for everybody: how long an attempt takes says nothing of the crowd.
#[tokio::test(start_paused = true)]
async fn writers_far_from_an_idle_server_find_out_how_many_they_are() {
    for (writers, most) in [(10, 4.0), (100, 8.0), (300, 12.0)] {
        let (commits, times) = crowd(writers, 1_000, 50, 5, 5).await;
        assert!(commits <= most, "{writers} writers: {commits} commits each");
        assert!(times <= 6.0, "{writers} writers: {times} times as long");
    }
}
