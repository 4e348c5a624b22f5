//! `watch` for stores that can't push events.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;
use tracing::{debug, trace};

use crate::{Delta, Remedy, Result, Revision};

/// Wakes whoever waits for the next look at a store: "look now". Clones are one nudge.
#[derive(Debug, Clone)]
pub struct Nudge(Arc<watch::Sender<u64>>);

impl Nudge {
    /// Makes a nudge that nobody has given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Wakes all pollers that hold a clone; one that is looking at the moment looks again.
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns a listener that has seen every wake so far.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Default for Nudge {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest time between two looks at a store that answers with errors, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The shortest time between two looks, whatever the interval: zero would never leave the processor alone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Looks every `interval` (give or take a tenth), and at every nudge, for what changed after a revision.
///
/// `look` is given the last revision and returns `None` when the store is still there. The first look is made at once,
/// since the store may have changed between the caller's snapshot and now. A nudge that comes while `look` runs leads
/// to another look.
///
/// An error is handed on. After [`RetryLater`](Remedy::RetryLater) and [`RunAgain`](Remedy::RunAgain) the poller goes
/// on, with pauses that double from `interval` to a minute; after [`StartOver`](Remedy::StartOver) and
/// [`GiveUp`](Remedy::GiveUp) the stream ends. It works only while it is read.
pub fn poll<L, F>(
    after: Revision,
    interval: Duration,
    nudge: Nudge,
    look: L,
) -> BoxStream<'static, Result<Delta>>
where
    L: FnMut(Revision) -> F + Send + 'static,
    F: Future<Output = Result<Option<Delta>>> + Send + 'static,
{
    let interval = interval.max(SHORTEST_PAUSE);
    let poller =
        Poller { after, interval, failures: 0, wakes: nudge.listen(), _nudge: nudge, next: Next::Look, look };
    stream::unfold(poller, async |mut poller| poller.next().await.map(|item| (item, poller))).boxed()
}

struct Poller<L> {
    after: Revision,
    interval: Duration,
    /// Looks in a row that ended with an error.
    failures: u32,
    wakes: watch::Receiver<u64>,
    /// Kept so that `wakes` never finds the sender gone.
    _nudge: Nudge,
    next: Next,
    look: L,
}

enum Next {
    Look,
    Pause,
    End,
}

impl<L, F> Poller<L>
where
    L: FnMut(Revision) -> F,
    F: Future<Output = Result<Option<Delta>>>,
{
    async fn next(&mut self) -> Option<Result<Delta>> {
        loop {
            match self.next {
                Next::Look => {}
                Next::Pause => self.wait().await,
                Next::End => return None,
            }
            // Wakes up to here are answered by this look; one that comes during it is not.
            self.wakes.borrow_and_update();
            trace!(after = %self.after, "Looking for changes in the store");
            self.next = Next::Pause;
            match (self.look)(self.after.clone()).await {
                Ok(delta) => {
                    self.failures = 0;
                    if let Some(delta) = delta {
                        self.after = delta.revision.clone();
                        return Some(Ok(delta));
                    }
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    match error.remedy() {
                        Remedy::RetryLater | Remedy::RunAgain => {}
                        Remedy::StartOver | Remedy::GiveUp => self.next = Next::End,
                    }
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<L> Poller<L> {
    /// Waits until the next look is due or a wake comes that no look has answered.
    async fn wait(&mut self) {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = self.interval.saturating_mul(1 << doublings).min(self.interval.max(LONGEST_PAUSE));
        let pause = pause.mul_f64(0.9 + 0.2 * fastrand::f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => debug!(interval_ms = pause.as_millis() as u64, "Interval expired"),
            _ = self.wakes.changed() => debug!("Nudged to look at the store"),
        }
    }
}
