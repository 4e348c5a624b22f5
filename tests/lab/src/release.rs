//! `cargo lab release`: the daemon as one static file, which runs on any Linux of its architecture.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, OrFail, Outcome};
use crate::rootfs::Release;
use crate::{cargo, elf, packages, tell};

/// Cargo's profile of that name in the workspace's `Cargo.toml`.
const PROFILE: &str = "static";

/// The C compiler for musl, of Debian's package musl-tools.
const COMPILER: &str = "musl-gcc";

/// Builds it, sees that it is static and starts, and says where it is; `words` are handed to cargo.
///
/// # Errors
/// Where something is missing, the build fails, or the file is not what it should be.
pub(crate) fn run(words: &[String]) -> Outcome {
    let program = build(words)?;
    starts_alone(&program)?;
    tell::line(&format!("{}: {}, static", program.display(), size(&program)?));
    Ok(())
}

/// Builds it, and sees that it is static and starts on an empty root and on the hosts' root filesystems.
///
/// # Errors
/// Where something is missing, the build fails, or the file is not what it should be.
pub(crate) fn check() -> Outcome<String> {
    let program = build(&[])?;
    starts_alone(&program)?;
    for release in Release::ALL {
        starts_on(&program, &release.ready()?)?;
    }
    Ok(format!("{}, {}", program.display(), size(&program)?))
}

/// Builds the daemon for the machine's own architecture and musl, and gives its file.
fn build(words: &[String]) -> Outcome<PathBuf> {
    packages::install(&packages::missing_for_musl())?;
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    add_target(&target)?;
    let compiler = format!("CC_{}", target.replace('-', "_"));
    let mut arguments =
        vec!["build", "--profile", PROFILE, "--package", "ipvland", "--bin", "ipvland", "--target", &target];
    arguments.extend(words.iter().map(String::as_str));
    let program = cargo::built(&arguments, &[(&compiler, COMPILER)], "ipvland")?;
    elf::is_static(&program)?;
    Ok(program)
}

/// Has rustup add the target where the toolchain lacks it.
fn add_target(target: &str) -> Outcome {
    let output = Command::new(rustc()).args(["--print", "sysroot"]).output().or_fail("starting rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", target]).stdin(Stdio::null()).output();
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Failure::new(format!("rustup target add {target} failed"))
            .showing(String::from_utf8_lossy(&output.stderr))),
        Err(_) => Err(Failure::new(format!(
            "this Rust toolchain has no standard library for {target}, and there is no rustup to add it"
        ))),
    }
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Starts it where there is no other file at all: no loader, no library, no `/etc`, no `/proc`.
fn starts_alone(program: &Path) -> Outcome {
    let root = std::env::temp_dir().join(format!("ipvland-static-{}", std::process::id()));
    std::fs::create_dir_all(&root).or_fail(format_args!("making {}", root.display()))?;
    let copied = std::fs::copy(program, root.join("ipvland"));
    let started = copied.or_fail("copying the program").and_then(|_| {
        for words in [&["--version"][..], &["config", "--store=memory"]] {
            let mut unshare = Command::new("unshare");
            unshare.arg(format!("--root={}", root.display())).arg("/ipvland").args(words);
            succeeds(&mut unshare, &format!("ipvland {} on an empty root", words.join(" ")))?;
        }
        Ok(())
    });
    let removed = std::fs::remove_dir_all(&root).or_fail(format_args!("removing {}", root.display()));
    started.and(removed)
}

/// Starts it on a root filesystem, which is left as it is.
fn starts_on(program: &Path, root: &Path) -> Outcome {
    let folder = program.parent().unwrap_or(program);
    let mut unshare = Command::new("unshare");
    unshare
        .args([
            "--mount",
            "sh",
            "-ec",
            "mount --bind \"$1\" \"$2/mnt\"; exec chroot \"$2\" /mnt/ipvland --version",
            "sh",
        ])
        .args([folder, root]);
    succeeds(&mut unshare, &format!("ipvland --version on {}", root.display()))
}

fn succeeds(command: &mut Command, what: &str) -> Outcome {
    let output = command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.or_fail("starting unshare of util-linux")?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    Err(Failure::new(format!("{what} failed")).showing(String::from_utf8_lossy(&words)))
}

fn size(program: &Path) -> Outcome<String> {
    let bytes = std::fs::metadata(program).or_fail(format_args!("looking at {}", program.display()))?.len();
    Ok(format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)))
}
