//! Real servers on loopback, each in a temporary directory, stopped when dropped.
//!
//! The tests and benchmarks of the stores run against these: a server whose program is missing fails the test, with the
//! Debian package that has it.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "shared by tests, which fail with it"
)]

pub mod etcd;
pub mod git;
pub mod process;
