//! What a run gives: printed as a table, and kept as JSON.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    curve::Curve,
    machine::Machine,
    row::{HEADS, Row},
    table::{Table, say},
};

/// What one part of the benchmark gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its lines of the table.
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
    /// What is drawn.
    #[serde(default)]
    pub(crate) curves: Vec<Curve>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What it ran on.
    pub(crate) machine: Machine,
    /// The lines of the table, and what is drawn.
    #[serde(flatten)]
    pub(crate) part: Part,
    /// The tables of the stores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tables: BTreeMap<String, Value>,
}

impl Part {
    /// Adds a line, and prints it.
    pub(crate) fn row(&mut self, row: Row) {
        let [what, ours, peer, ratio, target, met] = row.cells();
        let ratio = if ratio.is_empty() { ratio } else { format!(", ratio {ratio}") };
        let target = if target.is_empty() { target } else { format!(" ({target}: {met})") };
        let peer = if peer.is_empty() { peer } else { format!("; {peer}") };
        // The parts run as programs of their own, whose stdout is for their parent.
        eprint(&format!("{what}: {ours}{peer}{ratio}{target}"));
        self.rows.push(row);
    }

    /// Takes another part in.
    pub(crate) fn take(&mut self, other: Self) {
        self.rows.extend(other.rows);
        for curve in other.curves {
            match self.curves.iter_mut().find(|known| known.name == curve.name) {
                Some(known) => known.lines.extend(curve.lines),
                None => self.curves.push(curve),
            }
        }
    }
}

impl Report {
    /// Begins a report of this machine.
    pub(crate) fn begin() -> Self {
        Self { machine: Machine::look(), part: Part::default(), tables: BTreeMap::new() }
    }

    /// Takes the tables of the stores in.
    pub(crate) fn tables(&mut self, tables: &[Table]) {
        self.tables.extend(tables.iter().map(|table| (table.name().to_owned(), table.rows())));
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        if self.part.rows.is_empty() {
            return;
        }
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.part.rows.iter().map(Row::cells));
        let width =
            |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
        say("");
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            say(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let met = self.part.rows.iter().filter(|row| row.met() == Some(true)).count();
        let targets = self.part.rows.iter().filter(|row| row.target.is_some()).count();
        say(&format!("\n{met} of {targets} targets are met."));
    }

    /// Writes the report as JSON.
    pub(crate) fn write(&self, file: &Path) {
        let text = serde_json::to_string_pretty(self).expect("figures are JSON") + "\n";
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made = folder.map_or(Ok(()), std::fs::create_dir_all);
        let written = made.and_then(|()| std::fs::write(file, text));
        written.unwrap_or_else(|why| panic!("cannot write {}: {why}", file.display()));
    }

    /// Reads a report that was written.
    pub(crate) fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file);
        let text = text.unwrap_or_else(|why| {
            panic!(
                "cannot read {}: {why}; run the benchmark first, it writes its figures there",
                file.display()
            )
        });
        serde_json::from_str(&text)
            .unwrap_or_else(|why| panic!("{} holds no figures of this benchmark: {why}", file.display()))
    }
}

/// Prints a line beside what is for the parent.
pub(crate) fn eprint(line: &str) {
    use std::io::Write as _;
    // Nobody is left to be told where stderr is closed.
    _ = writeln!(std::io::stderr(), "{line}");
}
