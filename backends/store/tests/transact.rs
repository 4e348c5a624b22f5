//! What `transact` does after each remedy, and when it ends.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use ipvland_store::{
    Batch, EndpointStore, Error, Key, MemoryStore, Remedy, Result, Retry, Snapshot, StoreExt,
    conformance::{Fault, Faults, FaultyStore},
};
use tokio::time::Instant;

fn faulty() -> (MemoryStore, Faults, FaultyStore) {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    (memory.clone(), faults.clone(), FaultyStore::new(Arc::new(memory), faults))
}

fn put(_: &Snapshot) -> Result<Option<Batch>> {
    Ok(Some(Batch::new("write a").put(Key::parse("a").unwrap(), "1")))
}

fn retry(deadline: u64) -> Retry {
    Retry { deadline: Some(Duration::from_secs(deadline)), ..Retry::default() }
}

#[tokio::test(start_paused = true)]
async fn conflicts_lost_answers_and_a_store_away_lead_to_another_attempt() {
    for fault in [Fault::Away, Fault::Conflict, Fault::LostAnswer] {
        let (memory, faults, store) = faulty();
        faults.next(fault);
        faults.next(fault);
        let revision = store.transact(Retry::default(), put).await.unwrap();
        let snapshot = memory.snapshot().await.unwrap();
        assert_eq!((snapshot.records.len(), snapshot.revision), (1, revision), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_edit_is_returned_untouched_and_at_once() {
    for remedy in [Remedy::RetryLater, Remedy::RunAgain, Remedy::StartOver, Remedy::GiveUp] {
        let start = Instant::now();
        let edit = |_: &Snapshot| Err(Error::new(remedy, "the caller's own words"));
        let error = MemoryStore::new().transact(Retry::default(), edit).await.unwrap_err();
        assert_eq!((error.remedy(), error.to_string().as_str()), (remedy, "the caller's own words"));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_returns_the_revision_that_is_there() {
    let store = MemoryStore::new();
    let revision = store.transact(Retry::default(), put).await.unwrap();
    assert_eq!(store.transact(Retry::default(), put).await.unwrap(), revision);
    assert_eq!(store.transact(Retry::default(), |_| Ok(None)).await.unwrap(), revision);
}

#[tokio::test(start_paused = true)]
async fn the_last_error_comes_when_the_deadline_is_over() {
    let (_, faults, store) = faulty();
    faults.set_away(true);
    let start = Instant::now();
    let error = store.transact(retry(100), put).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryLater);
    // Timers tick in milliseconds.
    let took = start.elapsed();
    assert!((100_000..=100_010).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it() {
    let start = Instant::now();
    let large = |_: &Snapshot| Ok(Some(Batch::new("x").put(Key::parse("a").unwrap(), vec![0; 1 << 17])));
    let error = MemoryStore::new().transact(Retry::default(), large).await.unwrap_err();
    assert_eq!((error.remedy(), start.elapsed()), (Remedy::GiveUp, Duration::ZERO));
}

/// What the first calls come to.
#[derive(Debug)]
enum Trouble {
    /// The server asks for a pause.
    Busy,
    /// The server answers only after it.
    Hangs,
}

/// A store whose server is in trouble for so many calls.
#[derive(Debug)]
struct Troubled {
    store: FaultyStore,
    trouble: Trouble,
    left: std::sync::atomic::AtomicU32,
    pause: Duration,
}

#[async_trait::async_trait]
impl EndpointStore for Troubled {
    async fn snapshot(&self) -> Result<Snapshot> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            match self.trouble {
                Trouble::Busy => return Err(Error::away("too many requests").with_pause(self.pause)),
                Trouble::Hangs => tokio::time::sleep(self.pause).await,
            }
        }
        self.store.snapshot().await
    }

    async fn commit(&self, base: &ipvland_store::Revision, batch: Batch) -> Result<ipvland_store::Revision> {
        self.store.commit(base, batch).await
    }

    fn watch(
        &self,
        after: ipvland_store::Revision,
    ) -> futures::stream::BoxStream<'static, Result<ipvland_store::Delta>> {
        self.store.watch(after)
    }
}

fn busy(calls: u32, pause: u64) -> Troubled {
    let (_, _, store) = faulty();
    Troubled { store, trouble: Trouble::Busy, left: calls.into(), pause: Duration::from_secs(pause) }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hung_does_not_spread_those_who_race_once_it_is_back() {
    for _ in 0..20 {
        let (_, faults, store) = faulty();
        faults.next(Fault::Conflict);
        let pause = Duration::from_secs(18);
        let hung = Troubled { store, trouble: Trouble::Hangs, left: 1.into(), pause };
        let start = Instant::now();
        hung.transact(Retry::default(), put).await.unwrap();
        let took = start.elapsed();
        assert!((18_000..19_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_asks_for_is_the_least_pause() {
    let start = Instant::now();
    busy(2, 30).transact(Retry::default(), put).await.unwrap();
    let took = start.elapsed();
    assert!((60..=64).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_deadline_is_for_the_caller() {
    let start = Instant::now();
    let error = busy(1, 30).transact(retry(20), put).await.unwrap_err();
    assert_eq!((error.pause(), start.elapsed()), (Some(Duration::from_secs(30)), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_follows_leaves_the_store_alone_for_as_long_as_it_asks() {
    use futures::StreamExt as _;
    let nudge = ipvland_store::Nudge::new();
    let mut events = Arc::new(busy(1, 30)).follow(nudge.clone());
    events.next().await.unwrap().unwrap_err();
    let start = Instant::now();
    let waker = tokio::spawn(async move {
        for _ in 0..100 {
            nudge.wake();
            nudge.hint(None);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    events.next().await.unwrap().unwrap();
    let took = start.elapsed();
    assert!((30_000..=30_600).contains(&took.as_millis()), "{took:?}");
    waker.await.unwrap();
}
