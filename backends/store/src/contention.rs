//! How widely writers who get in each other's way spread their attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Retry, Snapshot};

/// The window from which a writer that lost a race draws its pause.
///
/// How many others there are can't be asked, but it shows. Where the store's own work is what takes long, an attempt in
/// a crowd takes as long as the crowd is large, so the first window is a multiple of the attempt. After that the others'
/// commits are counted. They tell how many attempts all writers begin in a second; from that and from the window follows
/// how many writers there were, and how many of them are left for the next one.
#[derive(Debug)]
pub(crate) struct Contention {
    shortest: Duration,
    longest: Duration,
    window: Option<Duration>,
    seen: Option<(Instant, Snapshot)>,
    /// How many records the others changed between the last two snapshots, and in how many seconds.
    others: (f64, f64),
}

/// The first window is so many times the attempt that lost.
const FIRST: f64 = 4.0;

/// How many attempts of all writers begin while one lasts, at best. More waste the store's time on attempts that lose,
/// fewer leave it idle.
const CROWD: f64 = 1.0;

/// What is held for likely before anything was seen: half a commit in half an attempt. It keeps a short pause, in which
/// there was none by chance, from meaning that nobody is there.
const BEFOREHAND: f64 = 0.5;

/// By how much one attempt may change the window: what is seen in so short a time is mostly chance.
const STEP: std::ops::RangeInclusive<f64> = 0.3..=4.0;

/// A later window is at most so many times the time that the writer has been trying: who has waited so long is likelier
/// among the last than among the first, and a window drawn too wide by chance would make it the very last.
const PATIENCE: f64 = 1.0;

impl Contention {
    pub(crate) fn new(retry: Retry) -> Self {
        let longest = retry.cap.saturating_mul(Retry::CAPS_OF_A_CROWD);
        Self {
            shortest: (retry.base / 32).min(longest),
            longest,
            window: None,
            seen: None,
            others: (0.0, 0.0),
        }
    }

    /// Learns how much the others wrote since the snapshot before.
    pub(crate) fn saw(&mut self, snapshot: Snapshot) {
        let now = Instant::now();
        self.others = match &self.seen {
            Some((before, old)) => {
                (changes(old, &snapshot) as f64, now.duration_since(*before).as_secs_f64())
            }
            None => (0.0, 0.0),
        };
        self.seen = Some((now, snapshot));
    }

    /// Returns the window after an attempt that lost and took so long, the last one in so long a time.
    pub(crate) fn lost(&mut self, took: Duration, trying: Duration) -> Duration {
        let window = match self.window {
            None => took.mul_f64(FIRST),
            Some(window) => self.next(window, took).min(trying.mul_f64(PATIENCE)),
        };
        let window = window.clamp(self.shortest, self.longest);
        self.window = Some(window);
        window
    }

    fn next(&self, window: Duration, took: Duration) -> Duration {
        let attempt = took.as_secs_f64();
        let (commits, seconds) = self.others;
        let commits = commits + BEFOREHAND;
        let rate = commits / (seconds + attempt * BEFOREHAND).max(f64::MIN_POSITIVE);
        // Attempts that begin at random succeed if none of the others' commits falls into them (Abramson's ALOHA): for
        // each that does, there are `exp` of what is expected to fall into it. Beyond 2 the step is cut anyway.
        let begun = rate * (rate * attempt).min(2.0).exp();
        let left = (begun * window.as_secs_f64() - commits).max(1.0);
        let factor = left * attempt / CROWD / window.as_secs_f64().max(f64::MIN_POSITIVE);
        window.mul_f64(factor.clamp(*STEP.start(), *STEP.end()))
    }
}

/// Counts the records that differ.
fn changes(old: &Snapshot, new: &Snapshot) -> usize {
    let gone = old.records.keys().filter(|key| !new.records.contains_key(*key)).count();
    let other = new.records.iter().filter(|(key, bytes)| old.records.get(*key) != Some(*bytes)).count();
    gone + other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Revision};

    const SECOND: Duration = Duration::from_secs(1);

    fn snapshot(records: usize) -> Snapshot {
        let records =
            (0..records).map(|number| (Key::parse(&number.to_string()).unwrap(), "".into())).collect();
        Snapshot { revision: Revision::new(""), records, strays: Vec::new() }
    }

    fn contention() -> Contention {
        Contention::new(Retry { base: SECOND / 2, cap: 10 * SECOND, deadline: None })
    }

    /// Loses twice, while the others write so many records in the second between the snapshots.
    async fn second_window(records: usize) -> f64 {
        let mut contention = contention();
        contention.saw(snapshot(1));
        assert_eq!(contention.lost(SECOND / 2, SECOND / 2), 2 * SECOND);
        tokio::time::advance(SECOND).await;
        contention.saw(snapshot(1 + records));
        contention.lost(SECOND / 4, 6 * SECOND).as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_follows_what_the_others_write() {
        let none = second_window(0).await;
        assert!((0.59..0.61).contains(&none), "nobody wrote meanwhile, so few are left: {none}");
        let few = second_window(2).await;
        assert!((0.6..2.0).contains(&few), "{few}");
        let many = second_window(4).await;
        assert!((2.0..6.0).contains(&many), "{many}");
        let most = second_window(100).await;
        assert!((5.99..6.01).contains(&most), "no more than the time it took so far allows: {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_has_bounds() {
        let mut contention = contention();
        contention.saw(snapshot(0));
        assert_eq!(contention.lost(Duration::ZERO, SECOND), SECOND / 64);
        tokio::time::advance(SECOND).await;
        contention.saw(snapshot(100));
        for _ in 0..30 {
            contention.lost(SECOND, 1_000 * SECOND);
        }
        assert_eq!(contention.lost(SECOND, 1_000 * SECOND), 100 * SECOND);
    }

    #[test]
    fn counts_what_came_went_and_changed() {
        let (old, mut new) = (snapshot(4), snapshot(5));
        new.records.remove(&Key::parse("1").unwrap());
        new.records.insert(Key::parse("2").unwrap(), "other".into());
        assert_eq!(changes(&old, &new), 3);
    }
}
