//! The workspace's own build and checks, by the cargo that started the lab.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::{Failure, OrFail, Outcome};

/// The test that needs a kernel with ipvlan, and the name of its program in a guest.
pub(crate) const KERNEL_TESTS: &str = "kernel_ipvlan";

/// The cargo to call: the one that runs the lab, so that the toolchain is the same.
pub(crate) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The folder of the workspace.
fn workspace() -> PathBuf {
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

/// Builds the tests that need a kernel with ipvlan, which `cargo test` leaves to the lab, and gives their program.
///
/// # Errors
/// Shows the compiler's words.
pub(crate) fn build_kernel_tests() -> Outcome<PathBuf> {
    let told = checked(&[
        "test",
        "--quiet",
        "--package",
        "ipvland",
        "--test",
        KERNEL_TESTS,
        "--no-run",
        "--message-format=json",
    ])?;
    let messages = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut of_tests = messages.filter(|message| message["target"]["name"] == KERNEL_TESTS);
    let program = of_tests.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| Failure::new("cargo names no program of the kernel's tests"))
}

/// Runs cargo in the workspace and gives what it printed.
///
/// # Errors
/// Where it exits with anything but 0; the failure shows the output's end.
pub(crate) fn checked(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program())
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::null())
        .output()
        .or_fail("starting cargo")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
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
