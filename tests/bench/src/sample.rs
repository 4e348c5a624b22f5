//! Medians, and how far figures lie apart.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Several figures of the same thing, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Makes a sample of durations.
    pub(crate) fn new(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut figures: Vec<_> = durations.into_iter().map(|figure| figure.as_secs_f64() * 1e3).collect();
        figures.sort_by(f64::total_cmp);
        assert!(!figures.is_empty(), "a sample has figures");
        Self(figures)
    }

    /// The figure in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The least and the greatest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

/// Times something.
pub(crate) async fn time<T>(work: impl Future<Output = T>) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let sample = Sample::new([5, 1, 9].map(Duration::from_millis));
        assert_eq!((sample.median(), sample.spread()), (5.0, (1.0, 9.0)));
    }
}
