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
