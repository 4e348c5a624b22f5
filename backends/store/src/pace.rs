//! How often a poller looks by itself.

use std::time::Duration;

/// How often to look without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Always so long, as an operator wants it.
    Pinned(Duration),
    /// So long at first. It is stretched with the number of hosts, grows while news come by hints, and is back at its
    /// beginning when a look finds news that nobody has hinted at.
    Adaptive(Duration),
}

impl From<Duration> for Interval {
    fn from(interval: Duration) -> Self {
        Self::Pinned(interval)
    }
}

/// The shortest interval: zero would never leave the processor alone.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long hints may make an interval.
const LONGEST: Duration = Duration::from_secs(300);

/// A fleet's share of the store: all its hosts together look no more than 20 times a second. A Git server on two cores
/// answers about 300 looks a second, and has other things to do.
const PER_HOST: Duration = Duration::from_millis(50);

/// By how much the interval grows at a time.
const GROWTH: f64 = 1.5;

/// The state of an interval. It outlives the poller, which begins anew after each trouble.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    grown: Duration,
    /// Whether news came by a hint since it has grown last.
    hinted: bool,
}

impl Pace {
    /// Returns the interval in a fleet of so many hosts.
    pub(crate) fn interval(&self, interval: Interval, hosts: usize) -> Duration {
        match interval {
            Interval::Pinned(interval) => interval.max(SHORTEST),
            Interval::Adaptive(first) => {
                let share = PER_HOST.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX));
                first.max(self.grown).max(share).max(SHORTEST)
            }
        }
    }

    /// A hint brought news: hints work.
    pub(crate) fn hint_brought_news(&mut self) {
        self.hinted = true;
    }

    /// A look that was due by itself found nothing; what was new since the one before was hinted.
    pub(crate) fn found_nothing(&mut self, interval: Duration) {
        if std::mem::take(&mut self.hinted) {
            self.grown = interval.mul_f64(GROWTH).min(LONGEST);
        }
    }

    /// A look that was due by itself found news: hints get lost, or somebody writes who gives none.
    pub(crate) fn found_news(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Interval = Interval::Adaptive(Duration::from_secs(10));

    #[test]
    fn a_fleet_looks_twenty_times_a_second_at_most() {
        let pace = Pace::default();
        for (hosts, seconds) in [(0, 10), (1, 10), (200, 10), (1_000, 50), (10_000, 500)] {
            assert_eq!(pace.interval(FIRST, hosts).as_secs(), seconds, "{hosts} hosts");
        }
        let pinned = Interval::from(Duration::from_secs(2));
        assert_eq!(pace.interval(pinned, 10_000).as_secs(), 2);
        assert_eq!(pace.interval(Duration::ZERO.into(), 1), SHORTEST);
    }

    #[test]
    fn it_grows_while_hints_work_and_shrinks_when_they_do_not() {
        let mut pace = Pace::default();
        let mut last = Duration::ZERO;
        pace.found_nothing(pace.interval(FIRST, 1));
        assert_eq!(pace.interval(FIRST, 1).as_secs(), 10, "nothing new says nothing of hints");
        for _ in 0..20 {
            pace.hint_brought_news();
            pace.found_nothing(pace.interval(FIRST, 1));
            let now = pace.interval(FIRST, 1);
            assert!(now > last || now == LONGEST, "{now:?}");
            last = now;
        }
        assert_eq!(last, LONGEST);
        pace.found_news();
        assert_eq!(pace.interval(FIRST, 1).as_secs(), 10);
    }
}
