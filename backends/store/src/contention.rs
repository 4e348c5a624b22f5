//! How widely writers who get in each other's way spread their attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Retry, Snapshot};

/// The window from which a writer that lost a race draws its pause.
///
/// How many others there are can't be asked, but it shows. Where the store's own work is what takes long, an attempt in
/// a crowd takes as long as the crowd is large, so the first window is a multiple of the attempt. After that the others'
/// commits are counted: if so many commits succeed while one attempt lasts, then attempts are made at a rate at which
/// that is to be expected, and the window follows, up or down.
#[derive(Debug)]
pub(crate) struct Contention {
    shortest: Duration,
    longest: Duration,
    window: Option<Duration>,
    seen: Option<(Instant, Snapshot)>,
    /// How many records the others changed in a second, between the last two snapshots.
    rate: Option<f64>,
}

/// The first window is so many times the attempt that lost.
const FIRST: u32 = 10;

/// How many attempts of all writers begin while one lasts, at best. More waste the store's time on attempts that lose,
/// fewer leave it idle; an attempt costs a server more than a pause does, so rather fewer.
const CROWD: f64 = 0.6;

/// By how much one attempt may change the window: what is seen in so short a time is mostly chance.
const STEP: std::ops::RangeInclusive<f64> = 0.3..=4.0;

/// A later window is at most so many times the time that the writer has been trying: who has waited so long is likelier
/// among the last than among the first, and a window drawn too wide by chance would make it the very last.
const PATIENCE: f64 = 2.0;

impl Contention {
    pub(crate) fn new(retry: Retry) -> Self {
        let longest = retry.cap.saturating_mul(Retry::CAPS_OF_A_CROWD);
        Self { shortest: (retry.base / 32).min(longest), longest, window: None, seen: None, rate: None }
    }

    /// Learns how much the others wrote since the snapshot before.
    pub(crate) fn saw(&mut self, snapshot: Snapshot) {
        let now = Instant::now();
        if let Some((before, old)) = &self.seen {
            let seconds = now.duration_since(*before).as_secs_f64();
            self.rate = (seconds > 0.0).then(|| changes(old, &snapshot) as f64 / seconds);
        }
        self.seen = Some((now, snapshot));
    }

    /// Returns the window after an attempt that lost and took so long, the last one in so long a time.
    pub(crate) fn lost(&mut self, took: Duration, trying: Duration) -> Duration {
        let window = match (self.window, self.rate) {
            (None, _) => took.saturating_mul(FIRST),
            (Some(window), Some(rate)) if rate > 0.0 => {
                // Attempts that begin at random succeed if none of the others' commits falls into them: of `crowd`
                // attempts during one, `crowd * exp(-commits)` do. Beyond 6 commits the factor is cut anyway.
                let commits = (rate * took.as_secs_f64()).min(6.0);
                let crowd = commits * commits.exp();
                let window = window.mul_f64((crowd / CROWD).clamp(*STEP.start(), *STEP.end()));
                window.min(trying.mul_f64(PATIENCE))
            }
            // It lost against nothing that shows.
            (Some(window), _) => window.saturating_mul(2),
        };
        let window = window.clamp(self.shortest, self.longest);
        self.window = Some(window);
        window
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
    async fn second_window(records: usize) -> Duration {
        let mut contention = contention();
        contention.saw(snapshot(1));
        assert_eq!(contention.lost(SECOND / 2, SECOND / 2), 5 * SECOND);
        tokio::time::advance(SECOND).await;
        contention.saw(snapshot(1 + records));
        contention.lost(SECOND / 4, 6 * SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_follows_what_the_others_write() {
        let first = 5 * SECOND;
        assert_eq!(second_window(0).await, 2 * first, "lost against nothing");
        let few = second_window(1).await;
        assert!(few < first && few > first / 2, "{few:?}");
        let many = second_window(3).await;
        assert!(many > first && many <= 3 * first, "{many:?}");
        assert_eq!(second_window(100).await, 12 * SECOND, "no more than the time it took so far allows");
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_has_bounds() {
        let mut contention = contention();
        assert_eq!(contention.lost(Duration::ZERO, SECOND), SECOND / 64);
        for _ in 0..30 {
            contention.lost(SECOND, SECOND);
        }
        assert_eq!(contention.lost(SECOND, SECOND), 100 * SECOND);
    }

    #[test]
    fn counts_what_came_went_and_changed() {
        let (old, mut new) = (snapshot(4), snapshot(5));
        new.records.remove(&Key::parse("1").unwrap());
        new.records.insert(Key::parse("2").unwrap(), "other".into());
        assert_eq!(changes(&old, &new), 3);
    }
}
