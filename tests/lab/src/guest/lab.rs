//! The wire between the hosts, and a scenario's begin and end.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use super::host::Host;
use super::report::{Report, Telling};
use crate::failure::{Failure, OrFail, Outcome};
use crate::scenarios::Scenario;
use crate::tell;

/// What a scenario works with.
pub(crate) struct Lab {
    /// Tells what happens.
    pub(crate) report: Arc<Report>,
    /// What random choices grow from; the same seed makes the same choices.
    pub(crate) seed: u64,
    hosts: Vec<Host>,
}

/// Runs a scenario inside and tells how it ended.
pub(crate) fn run(scenario: &Scenario, telling: Telling, seed: u64) -> ExitCode {
    let report = Arc::new(Report::new(telling));
    let mut lab = Lab { report, seed, hosts: Vec::new() };
    let outcome = bridge().and_then(|()| (scenario.run)(&mut lab));
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    tell::line(&format!("\nFAILED at the step: {}\n{failure}", lab.report.current_step()));
    for host in &lab.hosts {
        host.tell_logs();
    }
    ExitCode::FAILURE
}

impl Lab {
    /// Begins a step of the scenario.
    pub(crate) fn step(&self, words: &str) {
        self.report.step(words);
    }

    /// Says something in plain words.
    pub(crate) fn say(&self, words: &str) {
        self.report.say(words);
    }

    /// Finds a host by its name.
    pub(crate) fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name() == name)
    }

    /// Makes a host whose address on the wire is 10.1.1.NUMBER, and 2001:db8:1::NUMBER.
    ///
    /// # Errors
    /// Where the kernel refuses a namespace or a link.
    pub(crate) fn host(&mut self, name: &str, number: u8) -> Outcome<Host> {
        let host = Host::new(name, number, Arc::clone(&self.report))?;
        self.hosts.push(host.clone());
        host.power_on()?;
        Ok(host)
    }
}

/// The bridge that the hosts' cards are plugged into.
fn bridge() -> Outcome {
    run_here("ip link add sw type bridge mcast_snooping 0 && ip link set sw up")
}

/// Runs a shell command beside the hosts, where the wire is.
pub(super) fn run_here(command: &str) -> Outcome {
    let output =
        Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().or_fail("starting a shell")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("failed beside the hosts: {command}"))
        .showing(String::from_utf8_lossy(&output.stderr)))
}
