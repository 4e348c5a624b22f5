//! What cases are made of: calls to a store, each with patience.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Ability, Fixture, Staged};
use crate::{
    Batch, Delta, EndpointStore, Error, Event, Key, Remedy, Result, Revision, Snapshot, StoreExt,
    transact::Retry,
};

/// A handle on the store, and how long to wait for it. Clones are one handle.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) store: Arc<dyn EndpointStore>,
    pub(super) patience: Duration,
    pub(super) retry: Retry,
    flaky: bool,
}

pub(super) fn key(name: &str) -> Key {
    Key::parse(name).expect("a case uses valid keys")
}

pub(super) fn put(name: &str, bytes: impl Into<Bytes>) -> Batch {
    Batch::new(format!("write {name}")).put(key(name), bytes)
}

/// Tells whether something was staged, and fails where that isn't what the fixture says.
pub(super) fn is_staged(fixture: &dyn Fixture, ability: Ability, staged: Staged) -> bool {
    let lacks = fixture.lacks().iter().find(|(lacking, _)| *lacking == ability);
    match (staged, lacks) {
        (Ok(()), None) => true,
        (Err(_), Some(_)) => false,
        (Ok(()), Some((_, why))) => {
            panic!("the fixture says that it lacks {ability:?} ({why}), and its stage has it")
        }
        (Err(_), None) => {
            panic!("not stageable: {ability:?}; the fixture must stage it, or say why it lacks it")
        }
    }
}

impl Host {
    pub(super) fn new(fixture: &dyn Fixture, store: Arc<dyn EndpointStore>) -> Self {
        Self { store, patience: fixture.patience(), retry: fixture.retry(), flaky: fixture.is_flaky() }
    }

    /// Waits for a call, no longer than patience says.
    pub(super) async fn within<T>(&self, what: &str, call: impl Future<Output = T>) -> T {
        timeout(self.patience, call)
            .await
            .unwrap_or_else(|_| panic!("{what} does not end within {:?}", self.patience))
    }

    /// Fails on an error that only a flaky store may give.
    async fn bear(&self, what: &str, error: Error) {
        assert!(self.flaky, "{what} failed: {error:?}");
        sleep(Duration::from_millis(1)).await;
    }

    pub(super) async fn snapshot(&self) -> Snapshot {
        loop {
            match self.within("snapshot", self.store.snapshot()).await {
                Ok(snapshot) => return snapshot,
                Err(error) if error.remedy() == Remedy::RetryLater => self.bear("snapshot", error).await,
                Err(error) => panic!("snapshot failed: {error:?}"),
            }
        }
    }

    /// Commits as [`EndpointStore::commit`] does; where a flaky store leaves it open, finds out.
    pub(super) async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        loop {
            let error = match self.within("commit", self.store.commit(base, batch.clone())).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            if !self.flaky || error.remedy() == Remedy::GiveUp {
                return Err(error);
            }
            let snapshot = self.snapshot().await;
            if snapshot.revision == *base {
                self.bear("commit", error).await;
            } else if error.remedy() == Remedy::RetryLater && batch.is_noop_on(&snapshot) {
                return Ok(snapshot.revision);
            } else {
                return Err(Error::conflict("the store is not at the base"));
            }
        }
    }

    /// Writes by [`StoreExt::transact`].
    pub(super) async fn write(&self, batch: Batch) -> Revision {
        let written = self.store.transact(self.retry, |_| Ok(Some(batch.clone()))).await;
        written.unwrap_or_else(|error| panic!("{} failed: {error:?}", batch.subject))
    }

    /// Watches until the records are those wanted; returns them as the deltas gave them.
    pub(super) async fn watch_until(&self, from: Snapshot, wanted: &BTreeMap<Key, Bytes>) -> Snapshot {
        let mut model = from;
        let deadline = Instant::now() + self.patience;
        let mut deltas = self.store.watch(model.revision.clone());
        while model.records != *wanted {
            match tokio::time::timeout_at(deadline, deltas.next()).await {
                Ok(Some(Ok(delta))) => model.apply(&delta),
                Ok(Some(Err(error))) => {
                    if error.remedy() == Remedy::StartOver && self.flaky {
                        model = self.snapshot().await;
                    }
                    self.bear("watch", error).await;
                    deltas = self.store.watch(model.revision.clone());
                }
                Ok(None) if self.flaky => deltas = self.store.watch(model.revision.clone()),
                Ok(None) => panic!("watch ended without an error"),
                Err(_) => panic!("watch did not show all in {:?}, but {model:?}", self.patience),
            }
        }
        model
    }

    /// Returns the first error of a watch, or of the next one where a flaky store gave [`Remedy::RetryLater`].
    pub(super) async fn watch_error(&self, after: &Revision) -> (Error, BoxStream<'static, Result<Delta>>) {
        loop {
            let mut deltas = self.store.watch(after.clone());
            match self.within("an error from watch", deltas.next()).await {
                Some(Err(error)) if error.remedy() == Remedy::RetryLater && self.flaky => {
                    self.bear("watch", error).await;
                }
                Some(Err(error)) => return (error, deltas),
                None if self.flaky => {}
                other => panic!("watch gave {other:?}, not an error"),
            }
        }
    }

    /// Reads a follow until the records are those wanted; returns how many resets came.
    pub(super) async fn follow_until(
        &self,
        events: &mut BoxStream<'static, Result<Event>>,
        model: &mut Option<Snapshot>,
        wanted: &BTreeMap<Key, Bytes>,
    ) -> usize {
        // Backoff may take its longest pause, and then the change its longest way.
        let deadline = Instant::now() + self.patience + Duration::from_secs(60);
        let mut resets = 0;
        while model.as_ref().is_none_or(|model| model.records != *wanted) {
            let event = tokio::time::timeout_at(deadline, events.next()).await;
            match event.unwrap_or_else(|_| panic!("follow did not converge, but is at {model:?}")) {
                None => panic!("follow ended"),
                Some(Ok(Event::Reset(snapshot))) => {
                    resets += 1;
                    *model = Some(snapshot);
                }
                Some(Ok(Event::Delta(delta))) => model.as_mut().expect("a reset comes first").apply(&delta),
                Some(Err(error)) => assert_ne!(error.remedy(), Remedy::GiveUp, "follow: {error:?}"),
            }
        }
        resets
    }
}
