//! The table at the end of `cargo lab test`.

use std::time::Duration;

use crate::tell;

/// One line of the table.
pub(crate) struct Row {
    /// The part: a check or a scenario.
    pub(crate) part: String,
    /// The root filesystem, or nothing for what ran on the machine.
    pub(crate) root: String,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it passed.
    pub(crate) passed: bool,
}

/// Prints the table, then the counts alone on the last line.
pub(crate) fn print(rows: &[Row]) {
    tell::line(&format!("\n{:<18} {:<10} {:>7}  ", "part", "root", "seconds"));
    for row in rows {
        let word = if row.passed { "ok" } else { "FAILED" };
        tell::line(&format!("{:<18} {:<10} {:>7.1}  {word}", row.part, row.root, row.took.as_secs_f32()));
    }
    let passed = rows.iter().filter(|row| row.passed).count();
    tell::line(&format!("\n{passed} passed, {} failed", rows.len() - passed));
}
