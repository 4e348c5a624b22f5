//! Other writers and faults while a copy runs.

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{
    Delta, Result, Revision,
    conformance::{Fault, Faults, FaultyStore},
};
use tokio::sync::Mutex;

use super::*;

/// A store whose commits are each preceded by another host's.
#[derive(Debug)]
struct Meddled {
    inner: MemoryStore,
    others: Mutex<Vec<Batch>>,
}

#[async_trait]
impl EndpointStore for Meddled {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        if let Some(other) = self.others.lock().await.pop() {
            let now = self.inner.snapshot().await?.revision;
            self.inner.commit(&now, other).await?;
        }
        self.inner.commit(base, batch).await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        self.inner.watch(after)
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_writes_to_the_target_meanwhile_is_not_overwritten() {
    let two = Two::new().await;
    let moved = record(A, ID, "10.1.148.0/24");
    let others = vec![Batch::new("web-1 publishes").put(key(A), moved.clone())];
    let to = Meddled { inner: two.to.clone(), others: Mutex::new(others) };
    // Not even by force: nobody had seen that record when the copy was ordered.
    let copied = copy_between(Arc::new(two.from.clone()), Arc::new(to), two.state.path(), FORCE).await;
    let (words, complete, lines) = copied.unwrap();
    assert!(words.contains(": 2 copied") && words.contains("1 kept") && complete, "{words}");
    assert!(lines[0].contains("meanwhile"), "{lines:?}");
    assert_eq!(records(&two.to).await[&key(A)], moved);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_meanwhile_is_told_and_the_next_copy_has_it() {
    let two = Two::new().await;
    let new = record(B, ID, "10.1.151.0/24");
    // The other host's commit goes to the source while the copy commits to the target.
    #[derive(Debug)]
    struct Elsewhere(MemoryStore, MemoryStore, Bytes);
    #[async_trait]
    impl EndpointStore for Elsewhere {
        async fn snapshot(&self) -> Result<Snapshot> {
            self.0.snapshot().await
        }
        async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
            change(&self.1, B, Some(self.2.clone())).await;
            self.0.commit(base, batch).await
        }
        fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
            self.0.watch(after)
        }
    }
    let to = Elsewhere(two.to.clone(), two.from.clone(), new.clone());
    let copied = copy_between(Arc::new(two.from.clone()), Arc::new(to), two.state.path(), PLAIN).await;
    let (_, complete, lines) = copied.unwrap();
    assert!(!complete && lines[0].starts_with("changed 10.1.1.51.json"), "{lines:?}");
    let (words, complete, _) = two.copy(PLAIN).await;
    assert!(words.contains(": 1 copied") && complete, "{words}");
    assert_eq!(records(&two.to).await[&key(B)], new);
}

#[tokio::test(start_paused = true)]
async fn faults_of_either_store_are_ridden_out_and_a_store_that_stays_away_is_told() {
    for fault in [Fault::Away, Fault::LostAnswer, Fault::Conflict] {
        let two = Two::new().await;
        let faults = Faults::none();
        let to = Arc::new(FaultyStore::new(Arc::new(two.to.clone()), faults.clone()));
        faults.next(fault);
        let copied = copy_between(Arc::new(two.from.clone()), to, two.state.path(), PLAIN).await.unwrap();
        assert!(copied.0.contains(": 3 copied") && copied.1, "{fault:?}: {}", copied.0);
        assert_eq!(records(&two.to).await, records(&two.from).await);
    }
    let two = Two::new().await;
    let faults = Faults::none();
    faults.set_away(true);
    let from = Arc::new(FaultyStore::new(Arc::new(two.from.clone()), faults));
    match copy_between(from, Arc::new(two.to.clone()), two.state.path(), PLAIN).await {
        Err(Trouble::Failed(words)) => {
            assert_eq!(words, "cannot read the store git (/git): the store is away (injected)");
        }
        other => panic!("{other:?}"),
    }
}
