//! The store against real directories: edited by hand, written by many processes, killed and stopped at any moment, full,
//! read-only, and gone.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod hands;
#[allow(dead_code, reason = "the test of the quiet store uses more of it")]
mod host;
mod hung;
mod left;
mod lost;
mod missing;
mod mounted;
mod process;
mod registered;
mod stopped;
