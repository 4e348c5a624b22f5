//! Random interleavings find stores that break the contract now and then, each in a way of its own.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use ipvland_store::{
    Batch, Delta, EndpointStore, Error, MemoryStore, Remedy, Result, Retry, Revision, Snapshot,
    conformance::{Fixture, Stage, run_seeds},
};

/// What goes wrong in one of so many calls that can go so wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// A batch is applied, though another host was first.
    AppliesAConflict,
    /// Another host's records are replaced by those of the base: a push by force.
    LosesAnUpdate,
    /// A commit is acknowledged, and nothing is written.
    ForgetsACommit,
    /// A commit is told that another host was first, and is written.
    DeniesACommit,
    /// A snapshot shows a part of the last batch.
    TearsABatch,
    /// A snapshot is an old one.
    ReadsTheOld,
    /// A delta lacks one of its changes.
    SkipsAChange,
    /// A watch skips a delta.
    SkipsADelta,
    /// After its first error a handle's watches show nothing any more.
    StuckAfterAnError,
    /// A bad network sends for an operator.
    GivesUp,
}

/// One in so many calls goes wrong.
const RARELY: u64 = 20;

#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    flaw: Flaw,
    calls: Arc<AtomicU64>,
    last: Arc<Mutex<Option<Snapshot>>>,
    failed: Arc<AtomicBool>,
}

impl Broken {
    fn now(&self, flaw: Flaw) -> bool {
        self.flaw == flaw && self.calls.fetch_add(1, Ordering::Relaxed) % RARELY == RARELY - 1
    }

    /// Applies a batch at the newest revision, whichever that is.
    async fn force(&self, batch: Batch) -> Result<Revision> {
        loop {
            let newest = self.inner.snapshot().await?.revision;
            match self.inner.commit(&newest, batch.clone()).await {
                Err(error) if error.remedy() == Remedy::RunAgain => {}
                answer => return answer,
            }
        }
    }
}

#[async_trait]
impl EndpointStore for Broken {
    async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.inner.snapshot().await?;
        if self.now(Flaw::GivesUp) {
            return Err(Error::refused("the network is bad"));
        }
        if self.now(Flaw::ReadsTheOld)
            && let Some(old) = self.last.lock().unwrap().clone()
        {
            return Ok(old);
        }
        *self.last.lock().unwrap() = Some(snapshot.clone());
        if self.now(Flaw::TearsABatch) {
            let first = snapshot.records.keys().next().cloned();
            first.map(|key| snapshot.records.remove(&key));
        }
        Ok(snapshot)
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        if self.now(Flaw::ForgetsACommit) {
            return Ok(base.clone());
        }
        if self.now(Flaw::DeniesACommit) {
            self.inner.commit(base, batch).await?;
            return Err(Error::conflict("another host was first"));
        }
        let conflict = match self.inner.commit(base, batch.clone()).await {
            Err(error) if error.remedy() == Remedy::RunAgain => error,
            answer => return answer,
        };
        if self.now(Flaw::AppliesAConflict) {
            self.force(batch).await?;
        } else if self.now(Flaw::LosesAnUpdate) {
            return self.force(batch).await;
        }
        Err(conflict)
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let (flaw, calls, failed) = (self.flaw, self.calls.clone(), self.failed.clone());
        let now = move || calls.fetch_add(1, Ordering::Relaxed) % RARELY == RARELY - 1;
        if flaw == Flaw::StuckAfterAnError {
            if failed.load(Ordering::Relaxed) {
                return stream::pending().boxed();
            }
            if now() {
                failed.store(true, Ordering::Relaxed);
                return stream::iter([Err(Error::away("the store is away"))]).boxed();
            }
        }
        self.inner
            .watch(after)
            .filter_map(move |item| {
                let item = match item {
                    Ok(_) if flaw == Flaw::SkipsADelta && now() => None,
                    Ok(mut delta) if flaw == Flaw::SkipsAChange && now() => {
                        delta.changes.pop_first();
                        Some(Ok(delta))
                    }
                    item => Some(item),
                };
                async { item }
            })
            .boxed()
    }
}

/// All stages count together, so that what is rare in one does go wrong in some.
struct BrokenFixture(Flaw, Arc<AtomicU64>);

#[async_trait]
impl Fixture for BrokenFixture {
    async fn fresh(&self) -> Box<dyn Stage> {
        let (store, calls) = (MemoryStore::new(), self.1.clone());
        let stage = BrokenStage { store, flaw: self.0, calls, last: Arc::default() };
        Box::new(stage)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn retry(&self) -> Retry {
        Retry { base: Duration::from_millis(1), cap: Duration::from_millis(50), ..Retry::default() }
    }
}

struct BrokenStage {
    store: MemoryStore,
    flaw: Flaw,
    calls: Arc<AtomicU64>,
    last: Arc<Mutex<Option<Snapshot>>>,
}

#[async_trait]
impl Stage for BrokenStage {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        let (inner, calls, last) = (self.store.clone(), self.calls.clone(), self.last.clone());
        Arc::new(Broken { inner, flaw: self.flaw, calls, last, failed: Arc::default() })
    }
}

/// Returns why the seeds fail.
fn found(flaw: Flaw, seeds: u64) -> Option<String> {
    let why = catch_unwind(|| run_seeds(&BrokenFixture(flaw, Arc::default()), 0..seeds)).err()?;
    Some(why.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn each_rare_flaw_is_found_within_a_few_seeds_and_told() {
    let words: BTreeMap<&str, (Flaw, &[&str])> = [
        (
            "a conflict applied",
            (Flaw::AppliesAConflict, &["others saw", "nothing was written", "no operations make"][..]),
        ),
        ("an update lost", (Flaw::LosesAnUpdate, &["others saw", "is lost", "no operations make"])),
        ("a commit forgotten", (Flaw::ForgetsACommit, &["at revision", "acknowledged"])),
        ("a commit denied", (Flaw::DeniesACommit, &["nothing was written"])),
        ("a torn batch", (Flaw::TearsABatch, &["no operations make"])),
        ("an old read", (Flaw::ReadsTheOld, &["acknowledged before the call"])),
        ("a change skipped", (Flaw::SkipsAChange, &["no operations make"])),
        ("a delta skipped", (Flaw::SkipsADelta, &["no operations make", "is stuck"])),
        ("a watch stuck", (Flaw::StuckAfterAnError, &["is stuck"])),
        ("an operator sent for", (Flaw::GivesUp, &["gave up"])),
    ]
    .into();
    assert_eq!(found(Flaw::None, 20), None);
    for (name, (flaw, signs)) in words {
        // Which step a flaw falls into is chance too: a clock decides who of several is first.
        let why = found(flaw, 100).unwrap_or_else(|| panic!("{name} is not found"));
        assert!(signs.iter().any(|sign| why.contains(sign)), "{name} is told as: {why}");
        assert!(
            why.contains("CONFORMANCE_SEED=") && why.contains("each_rare_flaw"),
            "how to play it again: {why}"
        );
    }
}
