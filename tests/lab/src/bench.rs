//! `cargo lab bench`: all but one part by a program of its own, and `docker run` on hosts with real engines.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::failure::{Failure, Outcome};
use crate::guest::Telling;
use crate::machine::{Ended, Job, RunFolder};
use crate::rootfs::Release;
use crate::{cargo, packages, scenarios, setup, tell};

/// Runs the parts that the words name: `docker`, or what the program of the benchmarks is told; all without a word.
///
/// # Errors
/// Where the set-up, a build or the kernel failed.
pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    if words.first().is_some_and(|word| word == "docker") {
        return docker(&words[1..]);
    }
    // A run of earlier is only written down, or help is asked for.
    let measures = !words.iter().any(|word| ["--docs", "--help", "-h"].contains(&word.as_str()));
    let ipvland = if measures {
        setup::run(&[], false)?;
        packages::install(&packages::missing_for_bench())?;
        cargo::build_for_release()?
    } else {
        PathBuf::new()
    };
    let done = cargo::bench(words, &ipvland)?;
    let names_no_part = words.iter().all(|word| word.starts_with('-'));
    if measures && names_no_part && done == ExitCode::SUCCESS { docker(&[]) } else { Ok(done) }
}

/// Times `docker run` on both engines, or on those that are named.
fn docker(roots: &[String]) -> Outcome<ExitCode> {
    let releases: Vec<Release> = Release::ALL
        .iter()
        .copied()
        .filter(|r| roots.is_empty() || roots.iter().any(|root| root == r.name()))
        .collect();
    if releases.is_empty() {
        return Err(Failure::new(format!("no such root: {} (known: bookworm, trixie)", roots.join(" "))));
    }
    let kernel = setup::run(&releases, false)?;
    let ipvland = cargo::build_for_release()?;
    let folder = RunFolder::new(&[("ipvland", &ipvland)])?;
    for release in releases {
        tell::line(&format!("\n{}", release.about()));
        let (root, answers) = (release.ready()?, folder.new_folder("boot")?);
        let job = Job {
            kernel,
            root: &root,
            scenario: &scenarios::DOCKER_RUN,
            telling: Telling::Story,
            seed: 0,
            answers: &answers,
            run: &folder,
        };
        if job.run(tell::raw)? != Ended::Passed {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
