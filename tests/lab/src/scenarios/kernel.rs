//! The workspace's own tests that need a kernel with ipvlan, on that kernel.

use crate::cargo::KERNEL_TESTS;
use crate::failure::{Failure, Outcome};
use crate::guest::lab::Lab;

/// Runs all of them, each in a network namespace of its own.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("the tests of links");
    let host = lab.host("h1", 48)?;
    let said = host.run(&format!("/opt/lab/bin/{KERNEL_TESTS} --test-threads=1"))?;
    if said.contains("test result: ok.") && !said.contains("ok. 0 passed") {
        return Ok(());
    }
    Err(Failure::new("the program of tests ran none").showing(said))
}
