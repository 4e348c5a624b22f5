//! Waits for a condition with a deadline.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `look` gives something, and gives that.
///
/// An error of `look` ends the waiting; "not yet" is `Ok(None)`.
///
/// # Errors
/// Says what was waited for, and for how long.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if begun.elapsed() > limit {
            return Err(Failure::new(format!("waited {} s in vain: {what}", limit.as_secs())));
        }
        sleep(PAUSE);
    }
}

/// Waits until a condition holds and gives how long that took.
///
/// # Errors
/// As [`until`].
pub(crate) fn holds(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Outcome<bool>,
) -> Outcome<Duration> {
    let begun = Instant::now();
    until(what, limit, || Ok(condition()?.then_some(())))?;
    Ok(begun.elapsed())
}

/// Looks all the while that something stays as it is.
///
/// # Errors
/// Says what changed.
pub(crate) fn stays(what: &str, span: Duration, mut condition: impl FnMut() -> Outcome<bool>) -> Outcome {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if !condition()? {
            let after = begun.elapsed().as_secs_f32();
            return Err(Failure::new(format!("did not stay so, seen after {after:.1} s: {what}")));
        }
        sleep(PAUSE);
    }
    Ok(())
}
