//! `cargo lab bench`: all but one part by a program of its own, and `docker run` on hosts with real engines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::Telling;
use crate::machine::{Ended, Job, RunFolder};
use crate::rootfs::Release;
use crate::{cargo, packages, scenarios, setup, tell};

/// The parts that are the program's; see `Which` there.
const PARTS: [&str; 8] = ["routes", "git", "etcd", "contention", "nudges", "memory", "start", "stores"];

/// Runs the parts that the words name: `docker`, or what the program of the benchmarks is told; all without a word.
///
/// # Errors
/// Where the set-up, a build or the kernel failed.
pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    let figures = figures(words);
    if words.first().is_some_and(|word| word == "docker") {
        let roots: Vec<_> = words[1..].iter().take_while(|word| !word.starts_with('-')).cloned().collect();
        return docker(&roots, &figures);
    }
    // A run of earlier is only written down, or help is asked for.
    let measures = !words.iter().any(|word| ["--docs", "--help", "-h"].contains(&word.as_str()));
    let mut all = words.to_vec();
    if measures {
        setup::run(&[], false)?;
        packages::install(&packages::missing_for_bench())?;
        // Another build may be named, such as the static one.
        if !words.iter().any(|word| word.starts_with("--ipvland")) {
            all.push(format!("--ipvland={}", cargo::build_for_release()?.display()));
        }
    }
    let done = cargo::bench(&all)?;
    let is_whole = !words.iter().any(|word| PARTS.contains(&word.as_str()));
    if measures && is_whole && done == ExitCode::SUCCESS { docker(&[], &figures) } else { Ok(done) }
}

/// Times `docker run` on both engines, or on those that are named.
fn docker(roots: &[String], figures: &Path) -> Outcome<ExitCode> {
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
    let mut rows = Vec::new();
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
        let mut told = Vec::new();
        let ended = job.run(|bytes| {
            tell::raw(bytes);
            told.extend_from_slice(bytes);
        })?;
        if ended != Ended::Passed {
            return Ok(ExitCode::FAILURE);
        }
        rows.extend(rows_in(&String::from_utf8_lossy(&told)));
    }
    if rows.is_empty() {
        return Err(Failure::new("the hosts ran, and told no figures"));
    }
    add(rows, figures)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the file that the program of the benchmarks writes its figures into.
fn figures(words: &[String]) -> PathBuf {
    let after = words.iter().position(|word| word == "--json").and_then(|at| words.get(at + 1));
    let named =
        after.map(String::as_str).or_else(|| words.iter().find_map(|word| word.strip_prefix("--json=")));
    cargo::workspace().join(named.unwrap_or("target/bench/figures.json"))
}

/// Returns the lines of the table that a scenario told among others.
fn rows_in(told: &str) -> Vec<Value> {
    let lines =
        told.lines().filter_map(|line| line.split_once("{\"ours\":").map(|(_, rest)| rest.trim_end()));
    lines.filter_map(|rest| serde_json::from_str(&format!("{{\"ours\":{rest}")).ok()).collect()
}

/// Puts lines of the table into the figures of a run, in the place of those of the same part. Without a run they are only
/// told.
fn add(rows: Vec<Value>, figures: &Path) -> Outcome {
    let Ok(text) = std::fs::read_to_string(figures) else { return Ok(()) };
    let doing = format!("adding to the figures in {}", figures.display());
    let mut report: Value = serde_json::from_str(&text).or_fail(&doing)?;
    let known =
        report["rows"].as_array_mut().ok_or_else(|| Failure::new(format!("{doing}: it holds none")))?;
    known.retain(|row| row["part"] != "docker");
    known.extend(rows);
    let text = serde_json::to_string_pretty(&report).or_fail(&doing)?;
    std::fs::write(figures, text + "\n").or_fail(&doing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_found_among_what_was_told() {
        let row = json!({ "part": "docker", "ours": [1.5], "unit": "ms" });
        let told = format!("docker run --rm\r\n  | {row}\r\nours: {{\"ours\": none}}\n");
        assert_eq!(rows_in(&told), [row]);
    }

    #[test]
    fn the_file_is_where_the_benchmarks_are_told_to_write() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(figures(&words(&["routes", "--json", "a.json"])).ends_with("a.json"));
        assert!(figures(&words(&["--json=b.json"])).ends_with("b.json"));
        assert!(figures(&[]).ends_with("target/bench/figures.json"));
    }
}
