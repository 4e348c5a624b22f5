//! The parts of the benchmark: one file each, one or more lines of the table.

pub(crate) mod boot;
pub(crate) mod forged;
pub(crate) mod hinted;
pub(crate) mod routes;
