//! How `follow` goes on after errors.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{collections::VecDeque, sync::Arc, sync::Mutex, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ipvland_store::{
    Batch, Delta, EndpointStore, Error, Event, Key, MemoryStore, Nudge, Result, Retry, Revision, Snapshot,
    StoreExt,
    conformance::{Fault, Faults, FaultyStore},
};
use tokio::time::{Instant, sleep};

async fn write(store: &MemoryStore, value: &'static str) {
    let edit = |_: &Snapshot| Ok(Some(Batch::new("write").put(Key::parse("a").unwrap(), value)));
    store.transact(Retry::default(), edit).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_nudge_cuts_the_pause_short_while_the_store_is_away() {
    // A commit of this host's says so as well: the store has taken it.
    for say in [Nudge::wake, |nudge: &Nudge| nudge.committed(Revision::new("written"))] {
        let (memory, faults, nudge) = (MemoryStore::new(), Faults::none(), Nudge::new());
        let store = Arc::new(FaultyStore::new(Arc::new(memory), faults.clone()));
        faults.set_away(true);
        let mut events = store.follow(nudge.clone());
        // After many failures the pauses are long.
        for _ in 0..40 {
            events.next().await.unwrap().unwrap_err();
        }
        faults.set_away(false);
        let waker = tokio::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            say(&nudge);
        });
        let start = Instant::now();
        assert!(matches!(events.next().await.unwrap().unwrap(), Event::Reset(_)));
        assert!(start.elapsed() <= Duration::from_millis(3), "{:?}", start.elapsed());
        waker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_needs_no_reset() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = Arc::new(FaultyStore::new(Arc::new(memory.clone()), faults.clone()));
    let mut events = store.follow(Nudge::new());
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Reset(_)));
    faults.set_away(true);
    for _ in 0..5 {
        events.next().await.unwrap().unwrap_err();
    }
    write(&memory, "1").await;
    faults.set_away(false);
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Delta(_)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_without_news_says_so() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    write(&memory, "1").await;
    let store = Arc::new(FaultyStore::new(Arc::new(memory), faults.clone()));
    let mut events = store.follow(Nudge::new());
    let Event::Reset(known) = events.next().await.unwrap().unwrap() else {
        panic!("the first event is a reset")
    };
    faults.set_away(true);
    events.next().await.unwrap().unwrap_err();
    faults.set_away(false);
    let Event::Delta(back) = events.next().await.unwrap().unwrap() else { panic!("nothing was lost") };
    assert_eq!((back.revision, back.changes.len()), (known.revision, 0));
}

#[tokio::test(start_paused = true)]
async fn history_said_to_be_gone_at_a_known_revision_needs_no_reset() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = Arc::new(FaultyStore::new(Arc::new(memory.clone()), faults.clone()));
    let mut events = store.follow(Nudge::new());
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Reset(_)));
    faults.next(Fault::HistoryGone);
    let writer = tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        write(&memory, "1").await;
    });
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Delta(_)));
    writer.await.unwrap();
}

/// A store whose watches give scripted errors, one each.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<Error>>);

#[async_trait]
impl EndpointStore for Scripted {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::empty(Revision::new("only")))
    }

    async fn commit(&self, base: &Revision, _: Batch) -> Result<Revision> {
        Ok(base.clone())
    }

    fn watch(&self, _: Revision) -> BoxStream<'static, Result<Delta>> {
        let error = self.0.lock().unwrap().pop_front().expect("follow watches no more often than scripted");
        stream::iter([Err(error)]).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_always_says_start_over_is_told_and_does_not_spin() {
    let script = (0..6).map(|_| Error::history_gone("gone")).collect();
    let mut events = Arc::new(Scripted(Mutex::new(script))).follow(Nudge::new());
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Reset(_)));
    let start = Instant::now();
    for _ in 0..5 {
        events.next().await.unwrap().unwrap_err();
    }
    assert!(start.elapsed() > Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_follow_goes_on() {
    let script = (0..4).map(|_| Error::refused("a wrong password")).collect();
    let mut events = Arc::new(Scripted(Mutex::new(script))).follow(Nudge::new());
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Reset(_)));
    for _ in 0..3 {
        assert_eq!(events.next().await.unwrap().unwrap_err().to_string(), "a wrong password");
        assert!(
            matches!(events.next().await.unwrap().unwrap(), Event::Delta(back) if back.changes.is_empty())
        );
    }
}
