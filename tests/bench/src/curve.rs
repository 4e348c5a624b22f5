//! Figures over a size: what is drawn.

use serde::{Deserialize, Serialize};

/// Several lines over the same size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The name of its file.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) title: String,
    /// What the size counts.
    pub(crate) size: String,
    /// What the figures are.
    pub(crate) figure: String,
    /// The lines; ours is the first.
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Whose it is.
    pub(crate) name: String,
    /// Sizes and figures.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Makes a curve without lines.
    pub(crate) fn new(name: &str, title: &str, size: &str, figure: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            size: size.to_owned(),
            figure: figure.to_owned(),
            lines: Vec::new(),
        }
    }

    /// Adds a point to a line, which begins with it where it has none yet.
    pub(crate) fn add(&mut self, line: &str, size: usize, figure: f64) {
        let point = (size as f64, figure);
        match self.lines.iter_mut().find(|known| known.name == line) {
            Some(line) => line.points.push(point),
            None => self.lines.push(Line { name: line.to_owned(), points: vec![point] }),
        }
    }
}
