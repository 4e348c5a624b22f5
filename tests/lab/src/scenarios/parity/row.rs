//! A row of the table.

use std::fmt;

use super::ground::Ground;
use crate::failure::Outcome;

/// One behaviour: what the page says, and the check of it.
pub(super) struct Row {
    /// The row's name, by which the page names its test.
    pub(super) name: &'static str,
    /// What a user does, or wants.
    pub(super) behaviour: &'static str,
    /// What the built-in driver makes of it.
    pub(super) builtin: &'static str,
    /// What ours makes of it.
    pub(super) ours: &'static str,
    /// Sees that what is said of a driver is so.
    pub(super) check: fn(&Ground, Driver) -> Outcome,
}

/// What `docker network create -d` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// Docker's own: `ipvlan`.
    BuiltIn,
    /// Ours: `ipvland`.
    Ours,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "ipvlan",
            Self::Ours => "ipvland",
        })
    }
}
