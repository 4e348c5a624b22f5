//! Gets the machine ready: packages, Rust components, the hosts' root filesystems.

use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::machine::Kernel;
use crate::rootfs::Release;
use crate::{packages, tell};

/// Installs what is missing and builds the roots that are asked for. `needs_user_mode` says that a kernel is booted even
/// where the machine's own has ipvlan.
///
/// # Errors
/// One sentence that says what is missing, where the lab may not or cannot install it.
pub(crate) fn run(releases: &[Release], needs_user_mode: bool) -> Outcome<Kernel> {
    root_only()?;
    let kernel = Kernel::detect();
    let boots = needs_user_mode || kernel == Kernel::UserMode;
    packages::install(&packages::missing(boots))?;
    let still = packages::missing(boots);
    if !still.is_empty() {
        let names: Vec<_> = still.iter().map(|p| format!("{} ({})", p.name, p.shown_by)).collect();
        return Err(Failure::new(format!("installed, and yet not to be found: {}", names.join(", "))));
    }
    for release in releases {
        release.ready()?;
    }
    tell::line(kernel.about());
    Ok(kernel)
}

/// Says which Rust components the checks need and this toolchain lacks.
///
/// # Errors
/// One sentence with the command that adds them.
pub(crate) fn rust_components() -> Outcome {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let found = Command::new(crate::cargo::program())
            .args([tool, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            return Err(Failure::new(format!("cargo {tool} is missing: rustup component add {component}")));
        }
    }
    Ok(())
}

/// Namespaces, mounts and root filesystems take root's rights.
fn root_only() -> Outcome {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let missing = packages::missing(true);
    let names: Vec<_> = missing.iter().map(|p| p.name).collect();
    let lacks = if names.is_empty() { String::new() } else { format!("; also missing: {}", names.join(" ")) };
    Err(Failure::new(format!("the lab makes namespaces and mounts, so run it as root{lacks}")))
}
