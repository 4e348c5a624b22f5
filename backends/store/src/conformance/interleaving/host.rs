//! One host: it writes, it follows, it drops what it began and opens the store again.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use futures::{FutureExt as _, StreamExt as _, future::join};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    super::Stage,
    disturbance::{Way, millis},
    ledger::Ledger,
    operation::{Id, LOG, names},
    recorder::Recorder,
};
use crate::{EndpointStore as _, Error, Event, Nudge, Result, Snapshot, StoreExt as _, transact::Retry};

pub(super) struct Host {
    pub(super) name: char,
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) stage: Arc<dyn Stage>,
    pub(super) way: Arc<Way>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) patience: Duration,
    pub(super) retry: Retry,
    store: Arc<Recorder>,
    follower: Follower,
    /// An old snapshot, to commit on later.
    kept: Option<Snapshot>,
    operations: u32,
}

impl Host {
    pub(super) async fn new(
        name: char,
        seed: u64,
        stage: &Arc<dyn Stage>,
        ledger: &Arc<Ledger>,
        patience: Duration,
        retry: Retry,
    ) -> Self {
        // Each host draws from a stream of its own, so that one that is late doesn't change what another draws.
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(u32::from(name)));
        let way = Arc::new(Way::new(&**stage, &mut rng).await);
        let inner = way.open(&**stage).await;
        let store = Arc::new(Recorder { inner, ledger: ledger.clone(), host: name, patience });
        let follower = Follower::start(store.clone());
        let (stage, ledger) = (stage.clone(), ledger.clone());
        Self {
            name,
            seed,
            rng,
            stage,
            way,
            ledger,
            patience,
            retry,
            store,
            follower,
            kept: None,
            operations: 0,
        }
    }

    /// Does a few operations, one after the other.
    pub(super) async fn run(mut self) -> Self {
        let (shortest, longest) = if self.way.has_network() { (0, 40) } else { (0, 3) };
        for _ in 0..self.rng.u32(6..=12) {
            sleep(millis(&mut self.rng, shortest, longest)).await;
            if self.rng.u32(0..4) == 0 {
                self.follower.nudge.wake();
            }
            match self.rng.u32(0..20) {
                0..10 => self.transact().await,
                10..14 => self.commit_once().await,
                14 | 15 => self.commit_twice_at_once().await,
                16 | 17 => self.drop_a_commit().await,
                18 => self.look().await,
                _ => self.reopen().await,
            }
        }
        self
    }

    fn next(&mut self) -> Id {
        self.operations += 1;
        Id::new(self.seed, self.name, self.operations)
    }

    async fn transact(&mut self) {
        let mut retry = self.retry;
        if self.rng.u32(0..4) == 0 {
            retry.deadline = Some(millis(&mut self.rng, 0, 200));
        }
        // What it came to, the ledger knows.
        let _ = self.write(retry).await;
    }

    /// Does one operation by [`StoreExt::transact`](crate::StoreExt::transact).
    async fn write(&mut self, retry: Retry) -> Result<()> {
        let id = self.next();
        self.ledger.note(format!("{}: transact {id}", self.name));
        let edit = |snapshot: &Snapshot| {
            let log = snapshot.records.get(LOG).cloned().unwrap_or_default();
            Ok((!names(&log).contains(&id)).then(|| id.batch_on(snapshot)))
        };
        self.store.transact(retry, edit).await?;
        self.ledger.done(&id);
        self.ledger.note(format!("{}: {id} is done", self.name));
        Ok(())
    }

    /// Returns a snapshot to commit on, which may be an old one.
    async fn base(&mut self) -> Option<Snapshot> {
        let old = self.kept.take();
        if let Some(old) = old.filter(|_| self.rng.bool()) {
            self.ledger.note(format!("{}: takes the old base {}", self.name, old.revision));
            return Some(old);
        }
        let base = self.store.snapshot().await.ok();
        self.kept = base.clone();
        if self.rng.u32(0..3) == 0 {
            // So that others come first more often.
            sleep(millis(&mut self.rng, 0, 10)).await;
        }
        base
    }

    async fn commit_once(&mut self) {
        let Some(base) = self.base().await else { return };
        let id = self.next();
        self.ledger.note(format!("{}: commit {id}", self.name));
        let _ = self.store.commit(&base.revision, id.batch_on(&base)).await;
    }

    /// Commits two batches on one base through one handle: one of them at most may happen.
    async fn commit_twice_at_once(&mut self) {
        let Some(base) = self.base().await else { return };
        let (left, right) = (self.next(), self.next());
        self.ledger.note(format!("{}: commit {left} and {right} at once", self.name));
        let commit = |id: &Id| self.store.commit(&base.revision, id.batch_on(&base));
        let _ = join(commit(&left), commit(&right)).await;
    }

    async fn drop_a_commit(&mut self) {
        let Some(base) = self.base().await else { return };
        let (id, polls, pause) = (self.next(), self.rng.u32(0..4), millis(&mut self.rng, 0, 60));
        self.ledger.note(format!("{}: drop the commit {id} after {polls} polls or {pause:?}", self.name));
        let mut commit = self.store.commit(&base.revision, id.batch_on(&base));
        for _ in 0..polls {
            if futures::poll!(&mut commit).is_ready() {
                return;
            }
        }
        if self.way.has_network() || self.rng.bool() {
            let _ = timeout(pause, &mut commit).await;
        } else {
            let _ = (&mut commit).now_or_never();
        }
    }

    async fn look(&mut self) {
        self.kept = self.store.snapshot().await.ok();
    }

    /// Opens the store again, as after a new installation of the host, and maybe follows it there.
    async fn reopen(&mut self) {
        self.ledger.note(format!("{}: opens the store again", self.name));
        let inner = self.way.open(&*self.stage).await;
        let Recorder { ledger, host, patience, .. } = &*self.store;
        let again = Recorder { inner, ledger: ledger.clone(), host: *host, patience: *patience };
        self.store = Arc::new(again);
        if self.rng.bool() {
            self.follower = Follower::start(self.store.clone());
        }
    }

    /// Does one last operation, which must succeed, since all trouble is over.
    pub(super) async fn write_last(&mut self) {
        let deadline = self.retry.deadline.unwrap_or(4 * self.patience);
        if let Err(error) = self.write(Retry { deadline: Some(deadline), ..self.retry }).await {
            self.ledger.fail(format!(
                "host {} can't write within {deadline:?} after all trouble is over: {error:?}",
                self.name
            ));
        }
    }

    /// Reads the last state.
    pub(super) async fn read_last(&self) -> Result<Snapshot> {
        let mut last = Err(Error::away("not asked"));
        for _ in 0..10 {
            last = self.store.snapshot().await;
            if last.is_ok() {
                break;
            }
            sleep(self.retry.base).await;
        }
        last
    }

    /// Waits until the follower has seen the last state.
    pub(super) async fn catch_up(&mut self, operations: usize) {
        let Follower { nudge, seen, .. } = &mut self.follower;
        let caught_up = timeout(self.patience, async {
            // A follower's pauses may take half a minute, which a nudge cuts short. It does nothing for one that is stuck.
            let nudging = async {
                loop {
                    nudge.wake();
                    sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::select! {
                () = nudging => {}
                // The sender ends only with a follower that failed, which the ledger knows.
                _ = seen.wait_for(|seen| *seen >= operations) => {}
            }
        });
        if caught_up.await.is_err() {
            self.ledger.fail(format!(
                "the follower of host {} is stuck: it has seen {} of {operations} operations {:?} after the last",
                self.name,
                *self.follower.seen.borrow(),
                self.patience
            ));
        }
    }
}

/// A task that follows the store and checks each state on its way.
struct Follower {
    nudge: Nudge,
    /// How many operations it has seen.
    seen: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Follower {
    fn start(store: Arc<Recorder>) -> Self {
        let (nudge, (tell, seen)) = (Nudge::new(), watch::channel(0));
        let task = tokio::spawn(follow(store, nudge.clone(), tell));
        Self { nudge, seen, task }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(store: Arc<Recorder>, nudge: Nudge, tell: watch::Sender<usize>) {
    let (ledger, host) = (store.ledger.clone(), store.host);
    let mut events = store.follow(nudge);
    let mut state: Option<Snapshot> = None;
    while let Some(event) = events.next().await {
        let what = match event {
            Ok(Event::Reset(snapshot)) => {
                ledger.count(|counts| counts.resets += 1);
                state = Some(snapshot);
                "a reset"
            }
            Ok(Event::Delta(delta)) => match &mut state {
                Some(state) => {
                    state.apply(&delta);
                    "a delta"
                }
                None => {
                    return ledger.fail(format!("the follower of host {host} got a delta before any reset"));
                }
            },
            // The recorder has judged it.
            Err(_) => continue,
        };
        let Some(state) = &state else { continue };
        let seen = ledger.observe(&format!("{what} of the follower of host {host}"), state, 0);
        let before = tell.send_replace(seen);
        if seen < before {
            return ledger.fail(format!(
                "{what} of the follower of host {host} went back from {before} operations to {seen}"
            ));
        }
    }
    ledger.fail(format!("the follower of host {host} ended"));
}
