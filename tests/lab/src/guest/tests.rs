//! Programs of tests that were built outside and run on a host.

use std::time::Duration;

use super::host::Host;
use crate::cargo::Program;
use crate::failure::{Failure, Outcome};

impl Host {
    /// Runs a program of tests, and wants that it ran some and all passed.
    ///
    /// # Errors
    /// Shows what it said.
    pub(crate) fn passes(&self, program: &Program, arguments: &str, limit: Duration) -> Outcome {
        let name = program.name;
        self.start(name, &format!("/opt/lab/bin/{name} {arguments}"))?;
        let code = self.ended(name, limit).map_err(|failure| failure.showing(self.log(name)))?;
        let said = self.log(name);
        if code == 0 && said.contains("test result: ok.") && !said.contains("ok. 0 passed") {
            return Ok(());
        }
        Err(Failure::new(format!("the tests of {name} did not pass (exit code {code})")).showing(said))
    }
}
