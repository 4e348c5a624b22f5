//! The workspace's own build and checks, by the cargo that started the lab.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use crate::failure::{Failure, OrFail, Outcome};

/// A program that scenarios run inside, besides `ipvland`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name in a guest.
    pub(crate) name: &'static str,
    /// What cargo is told, to build it.
    arguments: &'static [&'static str],
    /// Cargo's name for it.
    target: &'static str,
}

/// The tests that need a kernel with ipvlan, which `cargo test` leaves to the lab.
pub(crate) const KERNEL_TESTS: Program = Program {
    name: "kernel_ipvlan",
    arguments: &["test", "--no-run", "--package", "ipvland", "--test", "kernel_ipvlan"],
    target: "kernel_ipvlan",
};

/// The conformance suite over etcd.
pub(crate) const ETCD_CONFORMANCE: Program = Program {
    name: "etcd-conformance",
    arguments: &["test", "--no-run", "--package", "ipvland-store-etcd", "--test", "conformance"],
    target: "conformance",
};

/// What else is tried on etcd.
pub(crate) const ETCD_REAL: Program = Program {
    name: "etcd-real",
    arguments: &["test", "--no-run", "--package", "ipvland-store-etcd", "--test", "real"],
    target: "real",
};

/// The daemon with the store that was written outside.
pub(crate) const OUTSIDE: Program = Program {
    name: "ipvland-redis",
    arguments: &["build", "--manifest-path", "tests/outside/Cargo.toml", "--target-dir", "target"],
    target: "ipvland-redis",
};

/// The cargo to call: the one that runs the lab, so that the toolchain is the same.
pub(crate) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.join("../..")
}

/// Builds the daemon and gives its file.
///
/// # Errors
/// Shows the compiler's words.
pub(crate) fn build_ipvland() -> Outcome<PathBuf> {
    checked(&["build", "--quiet", "--package", "ipvland"])?;
    let lab = std::env::current_exe().or_fail("finding the lab's own program")?;
    let binary = lab.with_file_name("ipvland");
    if !binary.is_file() {
        return Err(Failure::new(format!("cargo built no {}", binary.display())));
    }
    Ok(binary)
}

/// Builds the daemon for release and gives its file.
///
/// # Errors
/// Shows the compiler's words.
pub(crate) fn build_for_release() -> Outcome<PathBuf> {
    RELEASE.build()
}

/// The daemon as it is shipped.
const RELEASE: Program = Program {
    name: "ipvland",
    arguments: &["build", "--release", "--package", "ipvland", "--bin", "ipvland"],
    target: "ipvland",
};

impl Program {
    /// Builds it and gives its file.
    ///
    /// # Errors
    /// Shows the compiler's words.
    pub(crate) fn build(&self) -> Outcome<PathBuf> {
        built(self.arguments, &[], self.target)
    }
}

/// Has cargo build a program, with variables of the environment, and gives its file.
///
/// # Errors
/// Shows the compiler's words.
pub(crate) fn built(arguments: &[&str], variables: &[(&str, &str)], target: &str) -> Outcome<PathBuf> {
    let mut all = arguments.to_vec();
    all.extend(["--quiet", "--message-format=json"]);
    let told = checked_with(&all, variables)?;
    let messages = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut of_target = messages.filter(|message| message["target"]["name"] == target);
    let program = of_target.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| Failure::new(format!("cargo names no program {target}")))
}

/// Builds the benchmarks for release and runs them, shown as they run.
///
/// # Errors
/// Where cargo cannot be started.
pub(crate) fn bench(words: &[String]) -> Outcome<ExitCode> {
    let mut command = Command::new(program());
    command.args(["run", "--quiet", "--release", "--package", "bench", "--"]).args(words);
    command.current_dir(workspace());
    let status = command.stdin(Stdio::null()).status().or_fail("starting cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs cargo in the workspace and gives what it printed.
///
/// # Errors
/// Where it exits with anything but 0; the failure shows the output's end.
pub(crate) fn checked(arguments: &[&str]) -> Outcome<String> {
    checked_with(arguments, &[])
}

fn checked_with(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome<String> {
    let output = Command::new(program())
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(workspace())
        .stdin(Stdio::null())
        .output()
        .or_fail("starting cargo")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(text);
    }
    Err(Failure::new(format!("cargo {} failed", arguments.join(" "))).showing(tail(&text, 200)))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
