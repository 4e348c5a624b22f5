//! Times ipvland against named peers, each beside it in one run.
//!
//! Absolute times of one machine say little; the ratios of a row, whose two sides were timed in turn, do.
//!
//! # Layout
//!
//! - [`part`], [`contention`]: the lines of the table that compares with other programs, a file a part;
//! - [`route`]: routes in the kernel, ours and by whom else; [`fleet`]: daemons end to end, on hosts of their own;
//! - [`namespace`]: the network namespaces that both run in; [`relay`], [`process`]: what is read while they run;
//! - [`subject`]: the stores, each on a real server, and [`peer`]: what each is held against;
//! - [`reading`], [`writing`], [`telling`], [`memory`], [`contention`]: one table of the stores each;
//! - [`sample`], [`row`], [`curve`]: figures; [`report`], [`table`], [`chart`], [`docs`], [`machine`]: what becomes of them.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that can't run ends, and says why")]

mod chart;
mod command;
mod contention;
mod curve;
mod docs;
mod fleet;
mod how;
mod machine;
mod memory;
mod namespace;
mod part;
mod peer;
mod process;
mod reading;
mod relay;
mod report;
mod route;
mod row;
mod sample;
mod subject;
mod table;
mod telling;
mod writing;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    command::run().await
}
