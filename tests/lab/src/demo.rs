//! `cargo lab demo` and `cargo lab shell`: the quickstart, told to a person as it happens, and hosts to type on.

use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::failure::Outcome;
use crate::guest::Telling;
use crate::machine::{Ended, Job, Kernel, RunFolder};
use crate::rootfs::Release;
use crate::{cargo, scenarios, setup, tell};

/// What a person wants of the demo's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To see them work.
    See,
    /// To type commands on them afterwards.
    Type,
}

/// Runs the quickstart and shows it live.
///
/// # Errors
/// Where the set-up or the kernel failed; a demo that went wrong is told in its own output, and is an exit code.
pub(crate) fn run(wish: Wish, release: Release, kernel: Option<Kernel>) -> Outcome<ExitCode> {
    let detected = setup::run(&[release], false)?;
    tell::line("building ipvland");
    let ipvland = cargo::build_ipvland()?;
    let scenario = if wish == Wish::Type { &scenarios::SHELL } else { &scenarios::DEMO };
    let folder = RunFolder::new(&[("ipvland", &ipvland)])?;
    let root = release.ready()?;
    let kernel = kernel.unwrap_or(detected).for_scenario(scenario);
    tell::line(&format!("starting the hosts on {}", release.about()));
    let answers = folder.new_folder("boot")?;
    if wish == Wish::Type {
        let answers = answers.clone();
        // It waits for what a person types, and ends with the lab.
        std::thread::spawn(move || pass_on(io::stdin().lock(), &answers));
    }
    let begun = Instant::now();
    let job = Job {
        kernel,
        root: &root,
        scenario,
        telling: Telling::Story,
        seed: 0,
        answers: &answers,
        run: &folder,
    };
    let ended = job.run(tell::raw)?;
    let took = begun.elapsed().as_secs();
    if ended == Ended::Passed {
        tell::line(&format!("\nEnded well, after {took} s."));
        return Ok(ExitCode::SUCCESS);
    }
    tell::line(&format!("\nFAILED, after {took} s."));
    Ok(ExitCode::FAILURE)
}

/// Hands what is typed to the guest, a file a line; the end of the input is an empty file.
fn pass_on(input: impl BufRead, answers: &Path) {
    let lines = input.lines().map_while(Result::ok).filter(|line| !line.trim().is_empty());
    for (number, line) in lines.chain([String::new()]).enumerate() {
        let new = answers.join("typed.new");
        let passed = std::fs::write(&new, line)
            .and_then(|()| std::fs::rename(&new, answers.join(format!("typed-{number}"))));
        if let Err(error) = passed {
            tell::err(&format!("lab: handing on what was typed: {error}"));
            return;
        }
    }
}
