//! The suite finds stores that break the contract: each of these has one fault, and the case for it must fail.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{panic::catch_unwind, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ipvland_store::{
    Batch, Delta, EndpointStore, MemoryStore, Result, Revision, Snapshot,
    conformance::{self, Fixture, Stage},
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    LastWriterWins,
    NeverNoop,
    HalfBatches,
    SkipsRemovals,
    SilentWatch,
}

#[derive(Debug)]
struct Broken(MemoryStore, Flaw);

#[async_trait]
impl EndpointStore for Broken {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.0.snapshot().await
    }

    async fn commit(&self, base: &Revision, mut batch: Batch) -> Result<Revision> {
        match self.1 {
            Flaw::LastWriterWins => loop {
                let newest = self.0.snapshot().await?.revision;
                if let Ok(revision) = self.0.commit(&newest, batch.clone()).await {
                    return Ok(revision);
                }
            },
            Flaw::NeverNoop => {
                self.0.plant(b"touched", fastrand::u64(..).to_string());
                let newest = self.0.snapshot().await?.revision;
                self.0.commit(&newest, batch).await
            }
            Flaw::HalfBatches => {
                let rest = batch.changes.split_off("right");
                let first = self.0.commit(base, batch).await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
                self.0.commit(&first, Batch { subject: "the rest".into(), changes: rest }).await
            }
            Flaw::None | Flaw::SkipsRemovals | Flaw::SilentWatch => self.0.commit(base, batch).await,
        }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let flaw = self.1;
        match flaw {
            Flaw::SilentWatch => stream::pending().boxed(),
            _ => self
                .0
                .watch(after)
                .map(move |item| {
                    let mut delta = item?;
                    delta.changes.retain(|_, change| flaw != Flaw::SkipsRemovals || change.is_some());
                    Ok(delta)
                })
                .boxed(),
        }
    }
}

struct BrokenFixture(Flaw);

#[async_trait]
impl Fixture for BrokenFixture {
    async fn fresh(&self) -> Box<dyn Stage> {
        Box::new(BrokenStage(MemoryStore::new(), self.0))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }
}

struct BrokenStage(MemoryStore, Flaw);

#[async_trait]
impl Stage for BrokenStage {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        Arc::new(Broken(self.0.clone(), self.1))
    }
}

#[test]
fn each_flaw_is_found_by_its_case() {
    for (flaw, case) in [
        (Flaw::LastWriterWins, "a_stale_base_conflicts_and_writes_nothing"),
        (Flaw::LastWriterWins, "a_revision_never_given_out_is_refused_and_writes_nothing"),
        (Flaw::LastWriterWins, "concurrent_writers_lose_nothing"),
        (Flaw::LastWriterWins, "of_two_first_commits_one_wins_and_both_land"),
        (Flaw::NeverNoop, "a_batch_without_effect_makes_no_revision"),
        (Flaw::HalfBatches, "a_batch_is_never_seen_half"),
        (Flaw::SkipsRemovals, "a_watch_ends_at_the_snapshot"),
        (Flaw::SilentWatch, "a_watch_sees_another_handles_commit"),
    ] {
        conformance::run(case, &BrokenFixture(Flaw::None));
        let found = catch_unwind(|| conformance::run(case, &BrokenFixture(flaw)));
        assert!(found.is_err(), "{case} does not find {flaw:?}");
    }
}

#[test]
fn what_is_not_declared_as_lacking_fails() {
    for case in ["strays_are_named_and_harm_nothing", "lost_history_starts_over", "no_secret_is_shown"] {
        assert!(catch_unwind(|| conformance::run(case, &BrokenFixture(Flaw::None))).is_err(), "{case}");
    }
}
