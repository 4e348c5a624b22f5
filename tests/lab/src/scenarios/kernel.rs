//! The workspace's own tests that need a kernel with ipvlan, on that kernel.

use std::time::Duration;

use crate::cargo::KERNEL_TESTS;
use crate::failure::Outcome;
use crate::guest::lab::Lab;

/// Runs all of them, each in a network namespace of its own.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("the tests of links");
    let host = lab.host("h1", 48)?;
    host.passes(&KERNEL_TESTS, "--test-threads=1", Duration::from_secs(90))
}
