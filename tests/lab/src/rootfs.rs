//! The root filesystems that the hosts run on: built once by mmdebstrap, kept in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, OrFail, Outcome};
use crate::tell;

/// A Debian release, named for the Docker that comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Release {
    /// Debian 12: Docker 20.10.
    Bookworm,
    /// Debian 13: Docker 26.1.
    Trixie,
}

/// What every root has.
const EVERYWHERE: &[&str] = &[
    "bird2",
    "busybox-static",
    "ca-certificates",
    "curl",
    "dnsmasq-base",
    "docker-compose",
    "docker.io",
    "etcd-client",
    "etcd-server",
    "fcgiwrap",
    "git",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "kmod",
    "nginx-light",
    "openssh-client",
    "openssh-server",
    "openssl",
    "podman",
    "procps",
    "redis-server",
    "tcpdump",
];

impl Release {
    /// Every release, in order of age.
    pub(crate) const ALL: &[Self] = &[Self::Bookworm, Self::Trixie];

    /// Debian's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// What a person should know of it.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Bookworm => "Debian 12, Docker 20.10",
            Self::Trixie => "Debian 13, Docker 26.1",
        }
    }

    /// Packages that only this release has, or has under this name.
    const fn own_packages(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &[],
            Self::Trixie => &["docker-cli", "nfs-kernel-server"],
        }
    }

    fn packages(self) -> String {
        let mut all: Vec<_> = EVERYWHERE.iter().chain(self.own_packages()).copied().collect();
        all.sort_unstable();
        all.join(",")
    }

    /// A folder name that changes with what is inside.
    fn key(self) -> String {
        format!("{}-{:016x}", self.name(), fnv1a(self.packages().as_bytes()))
    }

    /// Where the root is kept, whether it has been built or not.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub(crate) fn path(self) -> Outcome<PathBuf> {
        Ok(cache()?.join(self.key()))
    }

    /// Builds the root where it is not there yet, and gives its folder.
    ///
    /// Two labs at once wait for each other; a build that was interrupted leaves nothing that looks finished.
    ///
    /// # Errors
    /// Shows mmdebstrap's words where it fails.
    pub(crate) fn ready(self) -> Outcome<PathBuf> {
        let root = self.path()?;
        if root.is_dir() {
            return Ok(root);
        }
        let cache = cache()?;
        fs::create_dir_all(&cache).or_fail(format_args!("making {}", cache.display()))?;
        let lock = cache.join(format!("{}.lock", self.name()));
        let held = File::create(&lock).or_fail(format_args!("opening {}", lock.display()))?;
        held.lock().or_fail(format_args!("locking {}", lock.display()))?;
        if root.is_dir() {
            return Ok(root);
        }
        remove_older(&cache, self.name())?;
        let building = cache.join(format!("{}.building", self.key()));
        tell::line(&format!("building a root filesystem of {} (once; about a minute)", self.about()));
        self.build(&building)?;
        fs::rename(&building, &root).or_fail(format_args!("renaming {}", building.display()))?;
        Ok(root)
    }

    fn build(self, folder: &Path) -> Outcome {
        let output = Command::new("mmdebstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={}", self.packages()))
            .arg("--dpkgopt=path-exclude=/usr/share/man/*")
            .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
            .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
            .arg(self.name())
            .arg(folder)
            .arg(mirror()?)
            .output()
            .or_fail("starting mmdebstrap")?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Failure::new(format!("mmdebstrap could not make {} in {}", self.name(), folder.display()))
            .showing(words))
    }
}

/// The folder that keeps the roots.
fn cache() -> Outcome<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| {
        Failure::new("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the roots")
    })?;
    Ok(base.join("ipvland-lab"))
}

/// Removes roots of this release that were made from another list of packages, or never finished.
fn remove_older(cache: &Path, release: &str) -> Outcome {
    for entry in fs::read_dir(cache).or_fail(format_args!("reading {}", cache.display()))?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&format!("{release}-")) && entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).or_fail(format_args!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The mirror that apt on this machine uses for Debian itself.
fn mirror() -> Outcome<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(LABEL)\t$(COMPONENT)\t$(REPO_URI)", "Created-By: Packages"])
        .output()
        .or_fail("asking apt-get for its mirror")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("Debian\tmain\t"))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("apt's sources name no Debian mirror").showing(text))
}

/// A hash that stays the same from one compiler to the next.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn each_release_has_a_folder_of_its_own() {
        assert_ne!(Release::Bookworm.key(), Release::Trixie.key());
    }
}
