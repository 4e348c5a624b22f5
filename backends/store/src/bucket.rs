//! What looks that may be for nothing cost.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket: it holds a few tokens, and one comes every second.
///
/// A look for a hint takes one, and gives it back where the hint proved true. So news in quick succession are seen at once,
/// and hints for nothing cost the store no more than a look a second, however many come.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// As of `counted`.
    tokens: f64,
    counted: Option<Instant>,
}

/// The most tokens: what one hint for nothing may take at once, its further looks included.
const MOST: f64 = 4.0;

/// How long one token takes to come.
const PERIOD: Duration = Duration::from_secs(1);

impl Bucket {
    pub(crate) fn full() -> Self {
        Self { tokens: MOST, counted: None }
    }

    fn count(&mut self, now: Instant) {
        if let Some(counted) = self.counted {
            let came = now.saturating_duration_since(counted).as_secs_f64() / PERIOD.as_secs_f64();
            self.tokens = (self.tokens + came).min(MOST);
        }
        self.counted = Some(now);
    }

    /// Returns when there is a token.
    pub(crate) fn ready(&mut self, now: Instant) -> Instant {
        self.count(now);
        now + PERIOD.mul_f64((1.0 - self.tokens).max(0.0))
    }

    /// Takes a token. Where there is none, the next one to come is gone.
    pub(crate) fn take(&mut self, now: Instant) {
        self.count(now);
        self.tokens -= 1.0;
    }

    /// Gives tokens back.
    pub(crate) fn give(&mut self, tokens: u32) {
        self.tokens = (self.tokens + f64::from(tokens)).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_is_a_token_and_a_few_are_kept() {
        let (begun, mut bucket, mut taken) = (Instant::now(), Bucket::full(), 0u32);
        while begun.elapsed() < Duration::from_secs(20) {
            let now = Instant::now();
            let ready = bucket.ready(now);
            if ready <= now {
                bucket.take(now);
                taken += 1;
            }
            tokio::time::sleep_until(ready.max(now + Duration::from_millis(1))).await;
        }
        assert!((23..=24).contains(&taken), "{taken}");
        // A long rest fills it up, and no further.
        tokio::time::advance(Duration::from_secs(3600)).await;
        for _ in 0..4 {
            assert!(bucket.ready(Instant::now()) <= Instant::now());
            bucket.take(Instant::now());
        }
        assert!(bucket.ready(Instant::now()) > Instant::now());
        bucket.give(1);
        assert!(bucket.ready(Instant::now()) <= Instant::now());
    }
}
