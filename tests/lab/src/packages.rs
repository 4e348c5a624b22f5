//! The Debian packages that the machine needs, how to see that they are there, and how they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, OrFail, Outcome};
use crate::tell;

/// Where programs and headers are looked for; an ordinary user's PATH lacks the `sbin` folders.
const FOLDERS: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/lib/openssh",
    "/usr/include",
];

/// One package, and a file that shows it is installed, whoever installed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    /// Debian's name.
    pub(crate) name: &'static str,
    /// A file under one of [`FOLDERS`].
    pub(crate) shown_by: &'static str,
}

const fn package(name: &'static str, shown_by: &'static str) -> Package {
    Package { name, shown_by }
}

/// What compiles `ipvland`: libgit2 is built from source, and etcd's messages are generated from their
/// description.
const BUILD: &[Package] = &[
    package("gcc", "cc"),
    package("libc6-dev", "stdio.h"),
    package("make", "make"),
    package("pkg-config", "pkg-config"),
    package("protobuf-compiler", "protoc"),
    package("libprotobuf-dev", "google/protobuf/descriptor.proto"),
];

/// What the workspace's own tests start on the machine.
const TESTS: &[Package] = &[
    package("git", "git"),
    package("nginx-light", "nginx"),
    package("fcgiwrap", "fcgiwrap"),
    package("openssh-server", "sshd"),
    package("openssh-client", "ssh"),
    package("openssl", "openssl"),
    package("e2fsprogs", "mkfs.ext4"),
    package("etcd-server", "etcd"),
    package("etcd-client", "etcdctl"),
    package("redis-server", "redis-server"),
];

/// What makes the hosts' root filesystems and namespaces.
const LAB: &[Package] =
    &[package("mmdebstrap", "mmdebstrap"), package("iproute2", "ip"), package("util-linux", "unshare")];

/// What is needed only where a kernel is booted.
const KERNEL: &[Package] = &[package("user-mode-linux", "linux.uml"), package("kmod", "insmod")];

/// What only the benchmark starts: a routing daemon as a peer.
const BENCH: &[Package] = &[package("bird2", "bird")];

/// What compiles the C code of the static release.
const MUSL: &[Package] = &[package("musl-tools", "musl-gcc")];

/// Lists what the benchmark lacks on this machine, besides what everything needs.
pub(crate) fn missing_for_bench() -> Vec<Package> {
    BENCH.iter().copied().filter(|p| find(p.shown_by).is_none()).collect()
}

/// Lists what the static release lacks on this machine, besides a Rust toolchain.
pub(crate) fn missing_for_musl() -> Vec<Package> {
    BUILD.iter().chain(MUSL).copied().filter(|p| find(p.shown_by).is_none()).collect()
}

/// Lists what this machine lacks; `boots_a_kernel` says whether hosts run on user-mode Linux.
pub(crate) fn missing(boots_a_kernel: bool) -> Vec<Package> {
    let kernel: &[Package] = if boots_a_kernel { KERNEL } else { &[] };
    [BUILD, TESTS, LAB, kernel]
        .into_iter()
        .flatten()
        .copied()
        .filter(|p| find(p.shown_by).is_none())
        .collect()
}

/// Finds a program or header of that name.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let from_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    from_path.chain(FOLDERS.iter().map(|folder| Path::new(folder).join(name))).find(|file| file.is_file())
}

/// Installs packages with apt, and starts none of their services.
///
/// # Errors
/// Says which packages are missing where this is no Debian, or the caller is not root; shows apt's words where it fails.
pub(crate) fn install(packages: &[Package]) -> Outcome {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = packages.iter().map(|p| p.name).collect();
    let wanted = names.join(" ");
    if find("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        return Err(Failure::new(format!(
            "this is no Debian, so install these yourself, by the names they have here: {wanted}"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(format!("only root can install what is missing: apt-get install {wanted}")));
    }
    tell::line(&format!("installing {wanted}"));
    let _quiet = NoServices::begin()?;
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(&names);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Outcome {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .or_fail("starting apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let words =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Failure::new(format!("apt-get {} failed", arguments.join(" "))).showing(words))
}

/// Keeps Debian's packages from starting services for as long as it lives.
///
/// Debian asks `/usr/sbin/policy-rc.d` before it starts a service; 101 means no. One that is there already stays.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Outcome<Self> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match opened {
            Ok(mut file) => {
                let this = Self { ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n").or_fail(format_args!("writing {POLICY}"))?;
                Ok(this)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(Failure::new(format!("writing {POLICY}: {error}"))),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
