//! The etcd store's own tests, on the etcd of the root filesystem.

use std::time::Duration;

use crate::cargo::{ETCD_CONFORMANCE, ETCD_REAL};
use crate::failure::Outcome;
use crate::guest::lab::Lab;

/// Runs the conformance suite and all that is tried on etcd besides.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    let host = lab.host("h1", 48)?;
    host.show("etcd --version")?;
    for program in [&ETCD_CONFORMANCE, &ETCD_REAL] {
        lab.step(&format!("the tests of {}", program.name));
        host.passes(program, "", Duration::from_secs(280))?;
    }
    Ok(())
}
