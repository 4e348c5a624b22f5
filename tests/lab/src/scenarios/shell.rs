//! The demo's hosts, and a person who types.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::failure::Outcome;
use crate::guest::init::ANSWERS;
use crate::guest::lab::Lab;
use crate::guest::wait;

/// Runs what is typed on the host that it begins with, until an empty line says that nothing more will come.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    super::quickstart::demo(lab)?;
    lab.step("Your turn: a host and a command, such as: h1 docker ps");
    for number in 0_u64.. {
        let file = Path::new(ANSWERS).join(format!("typed-{number}"));
        let day = Duration::from_secs(24 * 3600);
        let line = wait::until("something is typed", day, || Ok(fs::read_to_string(&file).ok()))?;
        let Some((name, command)) = line.trim().split_once(' ') else {
            if line.trim().is_empty() {
                break;
            }
            lab.say("first a host, then a command");
            continue;
        };
        match lab.find(name) {
            None => lab.say(&format!("there is no host {name}")),
            Some(host) => {
                let ran = host.attempt(command)?;
                lab.report.typed(name, command, &ran.output);
            }
        }
    }
    Ok(())
}
