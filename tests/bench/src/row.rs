//! One line of the table: a figure of ours, a peer's that was taken in turn, and what was to be reached.

use serde::{Deserialize, Serialize};

use crate::sample::Sample;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// Mebibytes.
    Mib,
    /// A plain number.
    Count,
    /// Hundredths of one core.
    Percent,
}

/// What is to be reached, by the medians.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Ours is at most so many times the peer's.
    Times(f64),
    /// Ours is at least so many times faster than the peer's.
    Faster(f64),
    /// Ours is at most this.
    Most(f64),
    /// Ours is at most this much more than the peer's.
    Beyond(f64),
}

/// What ours is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its name: a program, or plain use of what ours is made of.
    pub(crate) name: String,
    /// Its figures.
    pub(crate) sample: Sample,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The part of the benchmark that it belongs to.
    pub(crate) part: String,
    /// What is measured.
    pub(crate) what: String,
    /// What the figures count.
    pub(crate) unit: Unit,
    /// Our figures.
    pub(crate) ours: Sample,
    /// The peer, where there is one.
    #[serde(default)]
    pub(crate) peer: Option<Peer>,
    /// What is to be reached, where that was said.
    #[serde(default)]
    pub(crate) target: Option<Target>,
}

impl Row {
    /// Makes a row without a peer or a target.
    pub(crate) fn new(part: &str, what: impl Into<String>, unit: Unit, ours: Sample) -> Self {
        Self { part: part.to_owned(), what: what.into(), unit, ours, peer: None, target: None }
    }

    /// Holds it against a peer.
    pub(crate) fn against(mut self, name: impl Into<String>, sample: &Sample) -> Self {
        self.peer = Some(Peer { name: name.into(), sample: sample.clone() });
        self
    }

    /// Says what is to be reached.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Returns how many times the peer's median ours is.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|peer| self.ours.median() / peer.sample.median())
    }

    /// Tells whether the target is met; nothing without a target.
    pub(crate) fn met(&self) -> Option<bool> {
        let ours = self.ours.median();
        let peer = self.peer.as_ref().map_or(f64::NAN, |peer| peer.sample.median());
        Some(match self.target? {
            Target::Times(most) => ours <= most * peer,
            Target::Faster(least) => ours * least <= peer,
            Target::Most(most) => ours <= most,
            Target::Beyond(most) => ours <= peer + most,
        })
    }
}

/// The heads of the columns.
pub(crate) const HEADS: [&str; 6] = ["what", "ours", "peer", "ratio", "target", "met"];

impl Row {
    /// Returns the row as a person reads it.
    pub(crate) fn cells(&self) -> [String; 6] {
        let peer = self.peer.as_ref();
        [
            self.what.clone(),
            self.unit.words(&self.ours),
            peer.map_or_else(String::new, |peer| format!("{}: {}", peer.name, self.unit.words(&peer.sample))),
            self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            self.target.map_or_else(String::new, |target| target.words(self.unit)),
            match self.met() {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => String::new(),
            },
        ]
    }
}

impl Unit {
    /// Returns the median with its unit and, of more than one figure, the spread.
    fn words(self, sample: &Sample) -> String {
        let (low, high) = sample.middle();
        let median = self.figure(sample.median());
        if sample.len() == 1 { median } else { format!("{median} [{}..{}]", short(low), short(high)) }
    }

    fn figure(self, figure: f64) -> String {
        let figure = short(figure);
        match self {
            Self::Ms => format!("{figure} ms"),
            Self::Mib => format!("{figure} MiB"),
            Self::Count => figure,
            Self::Percent => format!("{figure} %"),
        }
    }
}

impl Target {
    fn words(self, unit: Unit) -> String {
        match self {
            Self::Times(most) => format!("≤ {most} ×"),
            Self::Faster(least) => format!("≥ {least} × faster"),
            Self::Most(most) => format!("≤ {}", unit.figure(most)),
            Self::Beyond(most) => format!("≤ {} more", unit.figure(most)),
        }
    }
}

/// Returns a figure with three digits that count.
pub(crate) fn short(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size >= 100.0 || size == 0.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: f64, target: Target) -> Row {
        let row = Row::new("part", "something", Unit::Ms, Sample::of([ours]));
        row.against("somebody", &Sample::of([peer])).target(target)
    }

    #[test]
    fn a_target_is_met_or_not() {
        assert_eq!(row(12.0, 10.0, Target::Times(1.2)).met(), Some(true));
        assert_eq!(row(12.1, 10.0, Target::Times(1.2)).met(), Some(false));
        assert_eq!(row(10.0, 200.0, Target::Faster(20.0)).met(), Some(true));
        assert_eq!(row(10.0, 199.0, Target::Faster(20.0)).met(), Some(false));
        assert_eq!(row(70.0, 1.0, Target::Most(70.0)).met(), Some(true));
        assert_eq!(row(70.1, 1.0, Target::Most(70.0)).met(), Some(false));
        assert_eq!(row(16.0, 10.0, Target::Beyond(6.0)).met(), Some(true));
        assert_eq!(row(16.1, 10.0, Target::Beyond(6.0)).met(), Some(false));
        assert_eq!(Row::new("part", "something", Unit::Ms, Sample::of([1.0])).met(), None);
    }

    #[test]
    fn a_peer_that_was_not_measured_meets_nothing() {
        let row = Row::new("part", "something", Unit::Ms, Sample::of([1.0])).target(Target::Times(1.2));
        assert_eq!(row.met(), Some(false));
    }

    #[test]
    fn a_row_reads_like_a_sentence() {
        let row = Row::new("part", "10 routes", Unit::Ms, Sample::of([1.5, 2.5, 100.25]));
        let row = row.against("raw batch", &Sample::of([2.0])).target(Target::Times(1.3));
        let cells = row.cells();
        assert_eq!(cells, ["10 routes", "2.50 ms [1.50..100]", "raw batch: 2 ms", "1.25", "≤ 1.3 ×", "yes"]);
    }
}
