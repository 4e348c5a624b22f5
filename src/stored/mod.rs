//! What an operator does with the records of a store besides the daemon: show them, compare two stores, keep a copy in
//! files, move a fleet from one store to another.
//!
//! All of it works on every kind, through the contract alone.
//!
//! # Layout
//!
//! | module | does |
//! | --- | --- |
//! | `open` | opens the store of a config, and reads it as a whole |
//! | `show` | lists records, each with what every host thinks of it |
//! | `diff`, `lines` | how two stores differ |
//! | `export` | records as files, or as one JSON document |
//! | `sync` | which record goes where when a fleet is copied: pure functions |
//! | `copy` | does that, in batches, and looks whether it is so |
//! | `alike` | remembers what two stores held alike, so that the next copy knows which side changed |

mod alike;
mod copy;
mod diff;
mod export;
mod lines;
mod open;
mod show;
mod sync;
#[cfg(test)]
mod tests;

pub(crate) use copy::{Order, copy};
pub(crate) use diff::differ;
pub(crate) use export::{to_directory, to_json};
pub(crate) use open::{Opened, check_two, open};
pub(crate) use show::{Listing, find};

/// What went wrong: the operator's order can't be, or it failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The order can't be carried out as it was given.
    Usage(String),
    /// It could, and was not.
    Failed(String),
}

impl From<ipvland_store::Error> for Trouble {
    fn from(error: ipvland_store::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
