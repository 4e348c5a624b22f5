//! A store around a store, with faults injected.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use crate::{Batch, Delta, EndpointStore, Error, Result, Revision, Snapshot};

/// What can go wrong at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call, or the item of a watch, doesn't reach the store.
    Away,
    /// A commit is done, and its answer is [`RetryLater`](crate::Remedy::RetryLater).
    LostAnswer,
    /// A commit is told that another host was first; nothing is written.
    Conflict,
    /// A watch is told that history is gone, and ends.
    HistoryGone,
    /// A watch ends without an error.
    StreamEnds,
}

/// The faults of one store. Clones are one plan, so that it can be changed while the store is in use.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    /// Besides the plan, so that a watch that waits for a change hears of it.
    away: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Plan {
    script: VecDeque<Fault>,
    random: Option<(fastrand::Rng, f64)>,
}

impl Faults {
    /// Makes a plan without faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Makes a plan that lets a share of all calls, between 0 and 1, fail. The same seed draws the same faults.
    pub fn random(seed: u64, share: f64) -> Self {
        let random = Some((fastrand::Rng::with_seed(seed), share));
        Self { plan: Arc::new(Mutex::new(Plan { random, ..Plan::default() })), ..Self::default() }
    }

    /// Injects a fault at the next call that can have it.
    pub fn next(&self, fault: Fault) {
        self.lock().script.push_back(fault);
    }

    /// Makes the store unreachable, or reachable again. A watch that is open ends with an error as its store goes away.
    pub fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Ends all faults: the store is reachable, nothing is drawn, and what was to come does not.
    pub fn calm(&self) {
        *self.lock() = Plan::default();
        self.set_away(false);
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws the fault of a call that can have one of `possible`.
    fn draw(&self, possible: &[Fault]) -> Option<Fault> {
        if *self.away.borrow() {
            return Some(Fault::Away);
        }
        let mut plan = self.lock();
        if let Some(at) = plan.script.iter().position(|fault| possible.contains(fault)) {
            return plan.script.remove(at);
        }
        let (rng, share) = plan.random.as_mut()?;
        let fails = rng.f64() < *share;
        let fault = rng.choice(possible).copied();
        fault.filter(|_| fails)
    }
}

/// A store whose calls fail as [`Faults`] says.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn EndpointStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts faults around a store.
    pub fn new(inner: Arc<dyn EndpointStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

fn away() -> Error {
    Error::away("the store is away (injected)")
}

#[async_trait]
impl EndpointStore for FaultyStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        match self.faults.draw(&[Fault::Away]) {
            Some(_) => Err(away()),
            None => self.inner.snapshot().await,
        }
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        match self.faults.draw(&[Fault::Away, Fault::LostAnswer, Fault::Conflict]) {
            None => self.inner.commit(base, batch).await,
            Some(Fault::Conflict) => Err(Error::conflict("another host was first (injected)")),
            Some(Fault::LostAnswer) => {
                self.inner.commit(base, batch).await?;
                Err(Error::away("the answer to a commit was lost (injected)"))
            }
            Some(_) => Err(away()),
        }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let state = Some((self.inner.watch(after), self.faults.away.subscribe(), self.faults.clone()));
        stream::unfold(state, async |state| {
            let (mut inner, mut away_now, faults) = state?;
            match faults.draw(&[Fault::Away, Fault::HistoryGone, Fault::StreamEnds]) {
                Some(Fault::HistoryGone) => {
                    return Some((Err(Error::history_gone("history is gone (injected)")), None));
                }
                Some(Fault::StreamEnds) => return None,
                // The next item is no nearer while the store is away, so the stream ends, as it may.
                Some(_) => return Some((Err(away()), None)),
                None => {}
            }
            let item = tokio::select! {
                biased;
                // The sender lives in `faults`, so that waiting can't fail.
                () = async { _ = away_now.wait_for(|away| *away).await } => None,
                item = inner.next() => Some(item?),
            };
            match item {
                Some(item) => Some((item, Some((inner, away_now, faults)))),
                None => Some((Err(away()), None)),
            }
        })
        .boxed()
    }
}
