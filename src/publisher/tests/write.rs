//! Writing on what is known, and reading first where that is old.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{Delta, EndpointStore, Error, Result};

use super::*;
use crate::fleet::Source;

/// A memory store that counts how often it's read and written to.
#[derive(Debug, Default, Clone)]
struct Counting {
    records: MemoryStore,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// Whether the answers to commits are lost on their way.
    loses_answers: bool,
}

#[async_trait]
impl EndpointStore for Counting {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.records.snapshot().await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let answer = self.records.commit(base, batch).await;
        if self.loses_answers { Err(Error::away("the answer is lost")) } else { answer }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        self.records.watch(after)
    }
}

impl Counting {
    async fn put(&self, name: &str, text: String) {
        let batch = Batch::new("another host publishes").put(key(name), text);
        self.records.transact(Retry::default(), |_| Ok(Some(batch.clone()))).await.unwrap();
    }

    /// Returns what a host knows that has just looked.
    async fn view(&self) -> View {
        let snapshot = self.records.snapshot().await.unwrap();
        let records = Arc::new(parse_all(&snapshot.records));
        View { source: Source::Store, revision: Some(snapshot.revision), records, ..View::default() }
    }

    /// Lets a host that knows of a view publish, and returns how often that read and how often it wrote.
    async fn publish(&self, view: &View, prefix: &str) -> (Result<Granted>, usize, usize) {
        let state = tempfile::tempdir().unwrap();
        let views = watch::Sender::new(Arc::default()).subscribe();
        let (publisher, _senders) = publisher("git", Arc::new(self.clone()), &state, views, &[prefix]);
        let written = publisher.write(&claims("10.1.1.48", &[prefix]), &Wishes::default(), view).await;
        (written, self.reads.swap(0, Ordering::Relaxed), self.writes.swap(0, Ordering::Relaxed))
    }

    async fn holds(&self, prefix: &str) -> bool {
        let records = self.records.snapshot().await.unwrap().records;
        records
            .get(&key("10.1.1.48.json"))
            .is_some_and(|bytes| bytes.windows(prefix.len()).any(|part| part == prefix.as_bytes()))
    }
}

#[tokio::test]
async fn a_host_that_knows_the_store_writes_without_reading() {
    let store = Counting::default();
    store.put("10.1.1.51.json", record("10.1.1.51", OTHER_ID, "10.1.51.0/24")).await;
    let (written, reads, writes) = store.publish(&store.view().await, "10.1.48.0/24").await;
    assert!(written.is_ok() && store.holds("10.1.48.0/24").await, "{written:?}");
    assert_eq!((reads, writes), (0, 1));
    let (written, reads, writes) = store.publish(&store.view().await, "10.1.48.0/24").await;
    assert!(written.is_ok(), "{written:?}");
    assert_eq!((reads, writes), (1, 0), "there is nothing to write, which the store itself must say");
}

#[tokio::test]
async fn a_host_that_knows_of_an_older_store_reads_and_writes_again() {
    let store = Counting::default();
    let old = store.view().await;
    store.put("10.1.1.51.json", record("10.1.1.51", OTHER_ID, "10.1.51.0/24")).await;
    let (written, reads, writes) = store.publish(&old, "10.1.48.0/24").await;
    assert!(written.is_ok() && store.holds("10.1.48.0/24").await, "{written:?}");
    assert_eq!((reads, writes), (1, 2));
    // Nor is anything taken from another that came meanwhile.
    let (written, ..) = store.publish(&old, "10.1.51.0/24").await;
    assert!(written.unwrap_err().to_string().contains("overlaps"));
    assert!(!store.holds("10.1.51.0/24").await);
}

#[tokio::test]
async fn a_refusal_is_the_store_s_and_not_that_of_an_old_view() {
    let store = Counting::default();
    store.put("10.1.1.51.json", record("10.1.1.51", OTHER_ID, "10.1.48.0/24")).await;
    let old = store.view().await;
    store.put("10.1.1.51.json", record("10.1.1.51", OTHER_ID, "10.1.51.0/24")).await;
    let (written, reads, writes) = store.publish(&old, "10.1.48.0/24").await;
    assert!(written.is_ok() && store.holds("10.1.48.0/24").await, "{written:?}");
    assert_eq!((reads, writes), (1, 1));
}

#[tokio::test]
async fn what_is_not_as_the_store_is_is_nothing_to_go_by() {
    let store = Counting::default();
    let known = store.view().await;
    for view in [
        View { source: Source::Disk, ..known.clone() },
        View { away: Some("it is away".to_owned()), ..known.clone() },
        View { held: Some("one is kept".to_owned()), ..known.clone() },
        View { revision: None, ..known.clone() },
    ] {
        assert_eq!(view.as_the_store_is(), None, "{view:?}");
    }
    let (written, reads, _) = store.publish(&View { source: Source::Disk, ..known }, "10.1.48.0/24").await;
    assert!(written.is_ok(), "{written:?}");
    assert_eq!(reads, 1);
}

#[tokio::test]
async fn the_others_hear_of_a_commit_whose_answer_was_lost() {
    let store = Counting { loses_answers: true, ..Counting::default() };
    let view = store.view().await;
    let state = tempfile::tempdir().unwrap();
    let views = watch::Sender::new(Arc::default()).subscribe();
    let (publisher, _senders) = publisher("git", Arc::new(store.clone()), &state, views, &["10.1.48.0/24"]);
    let told = publisher.nudge.commits();
    let written = publisher.write(&claims("10.1.1.48", &["10.1.48.0/24"]), &Wishes::default(), &view).await;
    assert!(written.is_ok() && store.holds("10.1.48.0/24").await, "{written:?}");
    assert_eq!(store.writes.load(Ordering::Relaxed), 1);
    assert_eq!(*told.borrow(), store.view().await.revision);
}
