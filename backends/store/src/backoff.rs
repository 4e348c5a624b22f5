//! Pauses that grow and never coincide.

use std::time::Duration;

/// Windows that double up to a cap; a pause is drawn from the whole of its window ("full jitter"), so that hosts which
/// failed together don't try again together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    window: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self { first, cap, window: first }
    }

    /// Draws a pause and doubles the window.
    pub(crate) fn pause(&mut self) -> Duration {
        self.pause_up_to(self.cap)
    }

    /// As [`Self::pause`], for this once under another cap; the window may then grow up to that.
    pub(crate) fn pause_up_to(&mut self, cap: Duration) -> Duration {
        let window = self.window.min(cap);
        self.window = window.saturating_mul(2).min(cap);
        window.mul_f64(fastrand::f64())
    }

    /// Makes the window at least so long: on a slow store attempts overlap more, so they are spread wider.
    pub(crate) fn widen(&mut self, window: Duration) {
        self.window = self.window.max(window).min(self.cap);
    }

    /// Goes back to the first window, after a success.
    pub(crate) fn reset(&mut self) {
        self.window = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn windows_double_up_to_the_cap_and_reset() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        for window in [1, 2, 4, 5, 5] {
            assert_eq!(backoff.window, window * SECOND);
            assert!(backoff.pause() <= window * SECOND);
        }
        backoff.reset();
        assert_eq!(backoff.window, SECOND);
    }

    #[test]
    fn a_slow_attempt_widens_the_window_within_the_cap() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        backoff.widen(3 * SECOND);
        assert_eq!(backoff.window, 3 * SECOND);
        backoff.widen(2 * SECOND);
        assert_eq!(backoff.window, 3 * SECOND);
        backoff.widen(60 * SECOND);
        assert_eq!(backoff.window, 5 * SECOND);
    }

    #[test]
    fn a_base_over_the_cap_is_cut_to_it() {
        assert_eq!(Backoff::new(9 * SECOND, SECOND).window, SECOND);
    }

    #[test]
    fn pauses_use_the_whole_window() {
        let pauses: Vec<_> = (0..400).map(|_| Backoff::new(SECOND, SECOND).pause()).collect();
        assert!(pauses.iter().any(|pause| *pause < SECOND / 4));
        assert!(pauses.iter().any(|pause| *pause > SECOND * 3 / 4));
    }
}
