//! What is printed, and written as JSON.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::sample::Sample;

/// Figures of one thing for all stores.
pub(crate) struct Table {
    name: &'static str,
    rows: Vec<Value>,
}

impl Table {
    /// Begins a table, and prints its head: what is timed, and the words over the columns.
    pub(crate) fn begin(name: &'static str, about: &str, head: &str) -> Self {
        say(&format!("\n{name}: {about}\n{:<16} {:>7}  {head}", "store", "size"));
        Self { name, rows: Vec::new() }
    }

    /// Adds a sample, and the peer's where there is one, and prints the line.
    pub(crate) fn pair(&mut self, store: &str, size: usize, ours: &Sample, peer: Option<(&str, &Sample)>) {
        let (least, most) = ours.spread();
        let mut row = json!({
            "store": store, "size": size, "median_ms": ours.median(), "least_ms": least, "most_ms": most,
        });
        let mut line = format!("{:>9.2} ms ({least:.2} to {most:.2})", ours.median());
        if let Some((name, theirs)) = peer {
            let ratio = ours.median() / theirs.median();
            line = format!("{line:<34} {ratio:>6.2} x {name}, {:.2} ms", theirs.median());
            row["peer"] = json!({ "name": name, "median_ms": theirs.median(), "ratio": ratio });
        }
        self.line(store, size, &line, row);
    }

    /// The table's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The lines, as JSON.
    pub(crate) fn rows(&self) -> Value {
        Value::Array(self.rows.clone())
    }

    /// Adds a line of another shape.
    pub(crate) fn line(&mut self, store: &str, size: usize, words: &str, row: Value) {
        say(&format!("{store:<16} {size:>7}  {words}"));
        self.rows.push(row);
    }
}

/// Prints a line.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told where stdout is closed.
    _ = writeln!(std::io::stdout(), "{line}");
}
