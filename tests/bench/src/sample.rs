//! Medians, and how far figures lie apart.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Several figures of the same thing; durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<f64>")]
pub(crate) struct Sample(Vec<f64>);

impl From<Vec<f64>> for Sample {
    fn from(figures: Vec<f64>) -> Self {
        Self::of(figures)
    }
}

impl Sample {
    /// Makes a sample of durations.
    pub(crate) fn new(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(durations.into_iter().map(|figure| figure.as_secs_f64() * 1e3))
    }

    /// Makes a sample of figures in any unit.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.into_iter().collect();
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

    /// The quartiles, between which half of the figures lie; of fewer than five figures the least and the greatest.
    pub(crate) fn middle(&self) -> (f64, f64) {
        let last = self.0.len() - 1;
        if last < 4 { self.spread() } else { (self.0[last.div_ceil(4)], self.0[last - last.div_ceil(4)]) }
    }

    /// How many figures there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
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
        assert_eq!(sample.middle(), (1.0, 9.0));
    }

    #[test]
    fn the_quartiles_leave_out_who_lies_far_away() {
        let sample = Sample::of([900.0, 3.0, 1.0, 2.0, 0.1]);
        assert_eq!((sample.median(), sample.middle()), (2.0, (1.0, 3.0)));
    }
}
