//! User-mode Linux: a kernel with ipvlan as an ordinary process.

use std::process::Command;

use super::Job;
use super::cpu::{self, Hold};
use crate::failure::{Failure, Outcome};
use crate::packages;

/// The most memory that a guest may come to use; only what it uses is taken.
const MEMORY: &str = "5G";

/// The command that boots the kernel over this machine's files, with the lab as process 1, pinned to a CPU.
///
/// # Errors
/// Where the kernel is not installed.
pub(super) fn command(job: &Job<'_>) -> Outcome<(Command, Option<Hold>)> {
    let kernel = packages::find("linux.uml")
        .ok_or_else(|| Failure::new("linux.uml is missing: apt-get install user-mode-linux"))?;
    let (cpu, hold) = cpu::take();
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cpu.to_string()).arg(kernel);
    command.arg(format!("mem={MEMORY}"));
    command.args(["rootfstype=hostfs", "root=/dev/root", "rootflags=/", "ro"]);
    // Without a console named here, the kernel names one at the end, behind what process 1 is told.
    command.args(["console=tty0", "con=null", "con0=null,fd:1", "umid=kernel", "printk.time=1", "quiet"]);
    command.arg(format!("uml_dir={}/", job.answers.display()));
    command.arg(format!("init={}", job.run.programs().join("lab").display()));
    command.arg("--").args(job.init_arguments());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/root");
    Ok((command, hold))
}
