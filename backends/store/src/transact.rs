//! Read, edit, compare-and-swap; and again when another host was first.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::{
    Batch, EndpointStore, Error, Remedy, Result, Revision, Snapshot, backoff::Backoff, contention::Contention,
};

/// How long, and how often, [`transact`] tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// The longest pause after the first attempt that found the store away; it doubles with each further one. The pause
    /// itself is drawn at random between nothing and that (full jitter), so that hosts that failed together don't come
    /// back together. Where an attempt took long, the longest pause is four times that, if that is more.
    ///
    /// After a lost race the pause is drawn likewise, but how long it may be follows from how long the attempt took and
    /// how much the others wrote meanwhile: the more writers, the wider they spread. It's no less than a 32nd of this.
    pub base: Duration,
    /// The longest pause while the store is away; after lost races, a tenth of the longest.
    pub cap: Duration,
    /// No attempt starts later than this after the call; `None` tries for ever.
    pub deadline: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(12), deadline: None }
    }
}

impl Retry {
    /// How many times the cap a pause after lost races may last: hundreds of writers take their time, also where the store
    /// isn't away and each of them is fast.
    pub(crate) const CAPS_OF_A_CROWD: u32 = 10;
}

/// Windows are at least so many times the duration of an attempt.
const WINDOW_PER_ATTEMPT: u32 = 4;

/// Reading counts for at most so many times the writing of a lost attempt: more is no work of a crowd's, but a store that
/// was away and came back while it was asked, and nobody need spread by that.
const READING_PER_WRITING: u32 = 8;

/// Runs `edit` on a fresh snapshot and commits what it returns, until that succeeds; returns the store's revision then.
///
/// `edit` returns `None` where there is nothing to do; so does a batch that changes nothing. The snapshot's revision is
/// returned then. `edit` MUST be idempotent: when the answer to a commit is lost it runs again, on a snapshot that
/// shows what it wrote.
///
/// What each [`Remedy`] leads to:
///
/// - [`RunAgain`](Remedy::RunAgain), [`RetryLater`](Remedy::RetryLater): a pause, then a new snapshot. The pause after
///   [`RetryLater`](Remedy::RetryLater) is no shorter than what the [store asked for](Error::pause).
/// - [`StartOver`](Remedy::StartOver): a new snapshot at once; after a pause where that was the answer before, too.
/// - [`GiveUp`](Remedy::GiveUp): the error is returned.
///
/// # Errors
/// What `edit` returns, untouched and at once; the store's [`GiveUp`](Remedy::GiveUp); the store's last error when
/// [`Retry::deadline`] is over, and before where the store asked to be left alone for longer than that.
pub async fn transact<S, F>(store: &S, retry: Retry, mut edit: F) -> Result<Revision>
where
    S: EndpointStore + ?Sized,
    F: FnMut(&Snapshot) -> Result<Option<Batch>> + Send,
{
    let start = Instant::now();
    let mut backoff = Backoff::new(retry.base, retry.cap);
    let mut contention = Contention::new(retry);
    let mut started_over = false;
    let mut attempt = 0u64;
    loop {
        attempt += 1;
        let began = Instant::now();
        let (error, writing) = match attempt_once(store, &mut edit, &mut contention).await {
            Outcome::Done(revision) => {
                debug!(attempt, %revision, "The store has what was asked for");
                return Ok(revision);
            }
            Outcome::Edit(error) => return Err(error),
            Outcome::Read(error) => (error, None),
            Outcome::Write(error, took) => (error, Some(took)),
        };
        let again_at_once = match error.remedy() {
            Remedy::GiveUp => return Err(error),
            Remedy::RunAgain | Remedy::RetryLater => false,
            Remedy::StartOver => !started_over,
        };
        started_over = error.remedy() == Remedy::StartOver;
        let left = retry.deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            debug!(attempt, %error, "Time is over, no further attempt");
            return Err(error);
        }
        if again_at_once {
            debug!(attempt, %error, "Trying again at once");
            continue;
        }
        let (took, left) = (began.elapsed(), left.unwrap_or(Duration::MAX));
        let asked = error.pause().unwrap_or_default();
        if asked > left {
            debug!(attempt, %error, "The store asks to be left alone for longer than there is time");
            return Err(error);
        }
        let pause = if error.remedy() == Remedy::RunAgain {
            // From the window and not from what is left of it, lest a crowd that began together meets at the deadline.
            let work = writing.map_or(took, |writing| took.min(writing * (1 + READING_PER_WRITING)));
            contention.lost(work, start.elapsed()).min(left).mul_f64(fastrand::f64())
        } else {
            backoff.widen(took.saturating_mul(WINDOW_PER_ATTEMPT));
            // A pause is cut at the deadline, so that the last attempt is made there and not given away.
            // What the store asked for comes first, and the rest spreads those whom it asked.
            left.min(asked + backoff.pause())
        };
        debug!(attempt, %error, pause_ms = pause.as_millis() as u64, "Trying again after a pause");
        tokio::time::sleep(pause).await;
    }
}

/// How one attempt ended; tells the caller's own errors from the store's, which alone are worth another attempt.
enum Outcome {
    Done(Revision),
    Edit(Error),
    /// The store's, of the snapshot.
    Read(Error),
    /// The store's, of the commit, and how long that took.
    Write(Error, Duration),
}

async fn attempt_once<S, F>(store: &S, edit: &mut F, contention: &mut Contention) -> Outcome
where
    S: EndpointStore + ?Sized,
    F: FnMut(&Snapshot) -> Result<Option<Batch>> + Send,
{
    let snapshot = match store.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(error) => return Outcome::Read(error),
    };
    let batch = match edit(&snapshot) {
        Ok(Some(batch)) if !batch.is_noop_on(&snapshot) => batch,
        Ok(_) => return Outcome::Done(snapshot.revision),
        Err(error) => return Outcome::Edit(error),
    };
    let base = snapshot.revision.clone();
    contention.saw(snapshot);
    let began = Instant::now();
    match store.commit(&base, batch).await {
        Ok(revision) => Outcome::Done(revision),
        Err(error) => Outcome::Write(error, began.elapsed()),
    }
}
