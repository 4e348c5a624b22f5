//! `cargo lab test`: the workspace's checks, then every scenario on its root filesystems.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::guest::Telling;
use crate::machine::{Ended, Job, Kernel, RunFolder};
use crate::rootfs::Release;
use crate::scenarios::{self, Needs, Scenario};
use crate::table::{self, Row};
use crate::{cargo, release, setup, tell};

/// How many scenarios run at once: each keeps one CPU busy, and 2 are what a small machine has.
const AT_ONCE: usize = 2;

/// A check of the workspace, before anything boots.
struct Check {
    name: &'static str,
    about: &'static str,
    work: Work,
}

/// What a check does.
enum Work {
    /// Calls cargo with these arguments, one call after another.
    Cargo(&'static [&'static [&'static str]]),
    /// Builds the static release and starts it.
    Release,
}

const CHECKS: &[Check] = &[
    Check { name: "fmt", about: "the code is formatted", work: Work::Cargo(&[&["fmt", "--all", "--check"]]) },
    Check {
        name: "clippy",
        about: "no lint is broken",
        work: Work::Cargo(&[&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]]),
    },
    Check {
        name: "doc",
        about: "no link in the docs is broken",
        work: Work::Cargo(&[&["doc", "--quiet", "--workspace", "--no-deps"]]),
    },
    Check {
        name: "workspace",
        about: "every crate's own tests",
        work: Work::Cargo(&[&["test", "--workspace", "--no-fail-fast"]]),
    },
    Check {
        name: "outside",
        about: "the store that is no member of the workspace: format, lints, tests",
        work: Work::Cargo(&[
            &["fmt", OUTSIDE, "--check"],
            &["clippy", OUTSIDE, SHARED, "--quiet", "--all-targets", "--", "-D", "warnings"],
            &["test", OUTSIDE, SHARED],
        ]),
    },
    Check {
        name: "static",
        about: "the release is one static file that starts on an empty root and on both Debians",
        work: Work::Release,
    },
];

/// Names the crate that stands where a stranger's would.
const OUTSIDE: &str = "--manifest-path=tests/outside/Cargo.toml";

/// Lets that crate take from the workspace's folder what is built there already.
const SHARED: &str = "--target-dir=target";

/// How the scenarios are run.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// The kernel that was asked for.
    pub(crate) kernel: Option<Kernel>,
    /// Whether everything is shown as it happens.
    pub(crate) loud: bool,
    /// What random choices grow from.
    pub(crate) seed: u64,
}

/// Prints the parts that the filters choose.
pub(crate) fn list(filters: &[String]) {
    for check in CHECKS.iter().filter(|check| chosen(filters, check.name, "machine")) {
        tell::line(&format!("{:<28} {}", check.name, check.about));
    }
    for (scenario, release) in scenarios_chosen(filters) {
        tell::line(&format!("{:<28} {}", format!("{}/{}", scenario.name, release.name()), scenario.about));
    }
}

/// Runs the parts that the filters choose, and prints the table.
///
/// # Errors
/// Where the set-up or a build failed, so that nothing can be said of the parts.
pub(crate) fn run(filters: &[String], how: How) -> Outcome<ExitCode> {
    let scenarios = scenarios_chosen(filters);
    let checks: Vec<_> = CHECKS.iter().filter(|check| chosen(filters, check.name, "machine")).collect();
    if scenarios.is_empty() && checks.is_empty() {
        return Err(Failure::new("no part has such a name; cargo lab test --list shows all"));
    }
    let needed: Vec<_> =
        Release::ALL.iter().copied().filter(|r| scenarios.iter().any(|(_, release)| release == r)).collect();
    let needs_nfs = scenarios.iter().any(|(scenario, _)| scenario.needs == Needs::Nfs);
    let detected = setup::run(&needed, needs_nfs)?;
    if !checks.is_empty() {
        setup::rust_components()?;
    }
    let mut rows: Vec<_> = checks.iter().map(|check| check.run()).collect();
    if !scenarios.is_empty() {
        let ipvland = cargo::build_ipvland()?;
        let mut programs = vec![("ipvland", ipvland)];
        let mut further: Vec<_> = scenarios.iter().flat_map(|(scenario, _)| scenario.programs).collect();
        further.sort_by_key(|program| program.name);
        further.dedup();
        for program in further {
            programs.push((program.name, program.build()?));
        }
        let programs: Vec<_> = programs.iter().map(|(name, path)| (*name, path.as_path())).collect();
        let folder = RunFolder::new(&programs)?;
        let kernel = how.kernel.unwrap_or(detected);
        rows.extend(run_scenarios(scenarios, &|scenario, release| {
            run_scenario(scenario, release, kernel, &folder, how)
        }));
    }
    table::print(&rows);
    let passed = rows.iter().all(|row| row.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Check {
    fn run(&self) -> Row {
        tell::line(&format!("{}: {}", self.name, self.about));
        let begun = Instant::now();
        let outcome: Outcome<String> = match self.work {
            Work::Cargo(calls) => calls.iter().map(|arguments| cargo::checked(arguments)).collect(),
            Work::Release => release::check(),
        };
        match &outcome {
            Ok(text) => summary(text).iter().for_each(|line| tell::line(&format!("  {line}"))),
            Err(failure) => tell::line(&failure.to_string()),
        }
        Row {
            part: self.name.to_owned(),
            root: String::new(),
            took: begun.elapsed(),
            passed: outcome.is_ok(),
        }
    }
}

/// The lines of `cargo test` that say how many ran.
fn summary(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("test result:") && !line.contains(" 0 passed")).collect()
}

fn chosen(filters: &[String], name: &str, root: &str) -> bool {
    let whole = format!("{name}/{root}");
    filters.is_empty() || filters.iter().any(|filter| whole.contains(filter.as_str()))
}

fn scenarios_chosen(filters: &[String]) -> VecDeque<(&'static Scenario, Release)> {
    let all = scenarios::ALL
        .iter()
        .flat_map(|scenario| scenario.roots.iter().map(move |release| (scenario, *release)));
    all.filter(|(scenario, release)| chosen(filters, scenario.name, release.name())).collect()
}

/// Runs scenarios, a few at once, and gives their rows in the order in which they were asked for.
fn run_scenarios(
    jobs: VecDeque<(&'static Scenario, Release)>,
    one: &(dyn Fn(&'static Scenario, Release) -> Row + Sync),
) -> Vec<Row> {
    let count = jobs.len();
    let numbered: VecDeque<_> = jobs.into_iter().enumerate().collect();
    let queue = Mutex::new(numbered);
    let rows = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((number, (scenario, release))) = next else { break };
                    let row = one(scenario, release);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn run_scenario(
    scenario: &'static Scenario,
    release: Release,
    kernel: Kernel,
    run: &RunFolder,
    how: How,
) -> Row {
    let begun = Instant::now();
    let label = format!("{}/{}", scenario.name, release.name());
    tell::line(&format!("{label}: {}", scenario.about));
    let mut told = Vec::new();
    let outcome = release.ready().and_then(|root| {
        let kernel = kernel.for_scenario(scenario);
        let answers = run.new_folder("boot")?;
        let job = Job {
            kernel,
            root: &root,
            scenario,
            telling: Telling::Everything,
            seed: how.seed,
            answers: &answers,
            run,
        };
        job.run(|bytes| if how.loud { tell::raw(bytes) } else { told.extend_from_slice(bytes) })
    });
    let took = begun.elapsed();
    let passed = matches!(outcome, Ok(Ended::Passed));
    let word = if passed { "ok" } else { "FAILED" };
    let mut last = format!("{label}: {word}, {:.1} s", took.as_secs_f32());
    if !passed {
        let text = String::from_utf8_lossy(&told).into_owned();
        let why = outcome.err().map(|failure| format!("{failure}\n")).unwrap_or_default();
        last = format!("──── {label} ────\n{text}\n{why}{last}");
    }
    tell::line(&last);
    Row { part: scenario.name.to_owned(), root: release.name().to_owned(), took, passed }
}
