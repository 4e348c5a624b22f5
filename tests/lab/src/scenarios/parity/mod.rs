//! Docker's built-in ipvlan driver and ours, side by side: what `docs/parity.md` says of each, seen on a real engine.
//!
//! # Layout
//!
//! - [`row`]: a row of the table, and the drivers;
//! - [`ground`]: the host with Docker, the machine beside it, and words for what rows do there;
//! - [`options`], [`parents`], [`addresses`], [`names`], [`endpoints`], [`restarts`]: the rows, by subject.

mod addresses;
mod endpoints;
mod ground;
mod names;
mod options;
mod parents;
mod restarts;
mod row;
#[cfg(test)]
mod tests;

use crate::failure::{Failure, Outcome};
use crate::guest::lab::Lab;
use ground::Ground;
use row::{Driver, Row};

/// The table, section by section.
const SECTIONS: &[(&str, &[Row])] = &[
    ("Options", options::ROWS),
    ("Parents", parents::ROWS),
    ("Addresses and routes", addresses::ROWS),
    ("Names", names::ROWS),
    ("Containers", endpoints::ROWS),
    ("Restarts", restarts::ROWS),
];

/// Checks each row with the built-in driver and with ours, and wants that nothing is left on the host by either.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("a host with Docker and ipvland, and a machine beside it");
    let ground = Ground::new(lab)?;
    let mut failed = Vec::new();
    for (section, rows) in SECTIONS {
        for row in *rows {
            for driver in [Driver::BuiltIn, Driver::Ours] {
                lab.step(&format!("{section}: {} ({driver})", row.name));
                let said = if driver == Driver::Ours { row.ours } else { row.builtin };
                lab.say(&format!("{}: {said}", row.behaviour));
                let before = ground.links()?;
                let mut outcome = (row.check)(&ground, driver);
                ground.clean()?;
                let left = ground.links()?;
                if outcome.is_ok() && left != before {
                    outcome = Err(Failure::new("links were left on the host, or taken from it")
                        .showing(format!("before: {before:?}\nafter: {left:?}")));
                }
                if let Err(failure) = outcome {
                    lab.say(&format!("FAILED: {failure}"));
                    failed.push(format!("{} ({driver}): {failure}", row.name));
                }
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} checks of the table failed", failed.len())).showing(failed.join("\n")))
}
