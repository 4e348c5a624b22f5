//! `watch` for stores that can't push events.

use std::{future::Future, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, trace};

pub use crate::pace::Interval;
use crate::{Delta, Nudge, Remedy, Result, Revision, nudge::Hint};

/// The longest time between two looks at a store that answers with errors, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When to look again after a hint that brought nothing: a server of several machines may show what was pushed a moment
/// later. After the last, the hint was for nothing.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// A hint that comes so soon after news is likely of what these brought along, by another host that wrote just before: one
/// look finds out, and there is no other.
const SETTLED: Duration = Duration::from_secs(2);

/// So many hosts may look at one instant; with each further one the looks are spread a little wider, since a server has to
/// answer them one after another anyway.
const TOGETHER: usize = 8;
const SPREAD_PER_HOST: Duration = Duration::from_micros(250);
const WIDEST_SPREAD: Duration = Duration::from_millis(250);

/// Looks every `interval` (give or take a tenth), and at every nudge, for what changed after a revision.
///
/// `look` is given the last revision and returns `None` when the store is still there. The first look is made at once,
/// since the store may have changed between the caller's snapshot and now. A nudge that comes while `look` runs leads
/// to another look.
///
/// What this host [has written](Nudge::committed) is looked for at once as well. `look` may answer that with what the store
/// remembers of it, as long as nobody asked for anything else: where it brings just that revision on another occasion, it
/// is called again.
///
/// A [hint](Nudge::hint) for a revision that was seen lately leads to none. Else a look is made at once, and where it finds
/// nothing a few more within seconds. Hints that bring nothing cost a look a second at most, after the first few.
///
/// An error is handed on. After [`RetryLater`](Remedy::RetryLater) and [`RunAgain`](Remedy::RunAgain) the poller goes
/// on, with pauses that double from the interval to a minute, and no shorter than what the
/// [error asks for](crate::Error::pause), nudged or not; after [`StartOver`](Remedy::StartOver) and
/// [`GiveUp`](Remedy::GiveUp) the stream ends. It works only while it is read.
pub fn poll<L, F>(
    after: Revision,
    interval: impl Into<Interval>,
    nudge: Nudge,
    look: L,
) -> BoxStream<'static, Result<Delta>>
where
    L: FnMut(Revision) -> F + Send + 'static,
    F: Future<Output = Result<Option<Delta>>> + Send + 'static,
{
    nudge.poller_listens();
    nudge.saw(&after);
    let (wakes, hints, commits) = (nudge.listen(), nudge.hints(), nudge.commits());
    let poller = Poller {
        after,
        interval: interval.into(),
        failures: 0,
        wakes,
        hints,
        commits,
        nudge,
        next: Next::Look(Why::Told),
        chase: None,
        look,
    };
    stream::unfold(poller, async |mut poller| poller.next().await.map(|item| (item, poller))).boxed()
}

struct Poller<L> {
    after: Revision,
    interval: Interval,
    /// Looks in a row that ended with an error.
    failures: u32,
    wakes: watch::Receiver<u64>,
    hints: watch::Receiver<Hint>,
    /// What this host has written.
    commits: watch::Receiver<Option<Revision>>,
    /// Kept also so that `wakes` never finds the sender gone.
    nudge: Nudge,
    next: Next,
    chase: Option<Chase>,
    look: L,
}

enum Next {
    Look(Why),
    Pause,
    End,
}

/// Why a look is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Nobody said anything.
    Due,
    /// Somebody said so.
    Told,
    /// There is a hint that has brought nothing yet.
    Hinted,
    /// This host has written.
    Own,
}

/// A hint that has brought nothing yet.
struct Chase {
    due: Instant,
    /// Looks that were made for it, each of which took a token.
    looks: u32,
    /// Whether it came right after other news.
    late: bool,
}

impl<L, F> Poller<L>
where
    L: FnMut(Revision) -> F,
    F: Future<Output = Result<Option<Delta>>>,
{
    async fn next(&mut self) -> Option<Result<Delta>> {
        loop {
            let why = match self.next {
                Next::Look(why) => {
                    if let Some(rest) = self.nudge.rest_until() {
                        tokio::time::sleep_until(rest).await;
                    }
                    why
                }
                Next::Pause => self.wait().await,
                Next::End => return None,
            };
            // Wakes up to here are answered by this look; one that comes during it is not.
            if why != Why::Own {
                self.wakes.borrow_and_update();
            }
            let own = self.commits.borrow_and_update().clone();
            trace!(after = %self.after, "Looking for changes in the store");
            self.next = Next::Pause;
            self.begin(why);
            match (self.look)(self.after.clone()).await {
                Ok(Some(delta)) => {
                    self.failures = 0;
                    self.after = delta.revision.clone();
                    if own.as_ref() == Some(&self.after) {
                        self.found_own(why);
                    } else {
                        self.found(why);
                    }
                    return Some(Ok(delta));
                }
                Ok(None) => {
                    self.failures = 0;
                    self.found_nothing(why);
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    self.chase = None;
                    if let Some(pause) = error.pause() {
                        self.nudge.rest(pause);
                    }
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
    /// Notes that a look begins.
    fn begin(&mut self, why: Why) {
        let mut state = self.nudge.state();
        state.counts.looks += 1;
        if let (Why::Hinted, Some(chase)) = (why, &mut self.chase) {
            state.bucket.take(Instant::now());
            chase.looks += 1;
        }
        state.counts.interval = Some(state.pace.interval(self.interval, state.hosts));
    }

    /// Notes that a look brought news.
    fn found(&mut self, why: Why) {
        self.nudge.saw(&self.after);
        let chase = self.chase.take();
        let mut state = self.nudge.state();
        match (chase, why) {
            (Some(chase), _) => {
                state.bucket.give(chase.looks);
                state.counts.true_hints += 1;
                state.pace.hint_brought_news();
            }
            (None, Why::Due) => state.pace.found_news(),
            (None, _) => {}
        }
        state.counts.interval = Some(state.pace.interval(self.interval, state.hosts));
    }

    /// Notes that a look brought what this host has written, which says nothing of the others.
    fn found_own(&mut self, why: Why) {
        self.nudge.saw(&self.after);
        if let Some(chase) = &mut self.chase {
            // It may have brought what the hint was for, too.
            chase.late = true;
        }
        if why != Why::Own {
            self.next = Next::Look(why);
        }
    }

    /// Notes that a look brought nothing, and decides whether to look again for a hint.
    fn found_nothing(&mut self, why: Why) {
        let now = Instant::now();
        let mut state = self.nudge.state();
        if why == Why::Due {
            let interval = state.pace.interval(self.interval, state.hosts);
            state.pace.found_nothing(interval);
            state.counts.interval = Some(state.pace.interval(self.interval, state.hosts));
        }
        if why != Why::Hinted {
            return;
        }
        let Some(chase) = &mut self.chase else { return };
        let again = AGAIN.get(chase.looks.saturating_sub(1) as usize).filter(|_| !chase.late);
        match again.map(|pause| now + *pause) {
            // Without a token for it, the hint is given up: the bucket is empty of hints that bring nothing.
            Some(due) if state.bucket.ready(now) <= due => chase.due = due,
            _ => {
                self.chase = None;
                state.counts.false_hints += 1;
            }
        }
    }

    /// Waits until the next look is due, or there is a wake or a hint that no look has answered.
    async fn wait(&mut self) -> Why {
        let pause = {
            let state = self.nudge.state();
            let interval = state.pace.interval(self.interval, state.hosts);
            let doublings = self.failures.saturating_sub(1).min(16);
            interval.saturating_mul(1 << doublings).min(interval.max(LONGEST_PAUSE))
        };
        let pause = pause.mul_f64(0.9 + 0.2 * fastrand::f64());
        let begun = Instant::now();
        let mut due = begun + pause;
        // Who asks to be left alone asks all hosts, which must not come back at one instant.
        if let Some(rest) = self.nudge.rest_until().filter(|rest| *rest > begun) {
            debug!(pause_ms = (rest - begun).as_millis() as u64, "The store asks to be left alone");
            tokio::time::sleep_until(rest + pause.min(LONGEST_PAUSE).mul_f64(fastrand::f64() / 4.0)).await;
            due = due.max(Instant::now());
        }
        loop {
            let chased = self.chase.as_ref().map(|chase| chase.due);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    debug!(interval_ms = pause.as_millis() as u64, "Interval expired");
                    return Why::Due;
                }
                _ = self.wakes.changed() => {
                    debug!("Nudged to look at the store");
                    return Why::Told;
                }
                Ok(()) = self.commits.changed() => return Why::Own,
                _ = self.hints.changed() => self.heard(),
                () = sleep_until(chased) => {
                    debug!("Looking at the store for a hint");
                    return Why::Hinted;
                }
            }
        }
    }

    /// Takes a hint, unless a look has brought what it hints at.
    fn heard(&mut self) {
        let revision = self.hints.borrow_and_update().revision.clone();
        if revision.is_some_and(|revision| self.nudge.knows(&revision)) {
            return;
        }
        let now = Instant::now();
        let mut state = self.nudge.state();
        let late = state.newest_at.is_some_and(|newest| now.duration_since(newest) < SETTLED);
        match &mut self.chase {
            // The looks that are due for another hint are for this one as well. It may be the true one.
            Some(chase) => {
                chase.due = chase.due.min(state.bucket.ready(now));
                chase.late &= late;
            }
            None => {
                let crowd = state.alive.saturating_sub(TOGETHER);
                let spread = SPREAD_PER_HOST.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX));
                let spread = spread.min(WIDEST_SPREAD).mul_f64(fastrand::f64());
                let due = state.bucket.ready(now).max(now + spread);
                self.chase = Some(Chase { due, looks: 0, late });
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
