//! Process 1 of a host: it gives the host its own files, then keeps it alive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{WaitOptions, wait};

use crate::failure::{OrFail, Outcome};
use crate::tell;

/// The folder of a host: what of it survives a power cut, its logs, and how it is reached.
pub(crate) fn folder(host: &str) -> PathBuf {
    Path::new("/lab").join(host)
}

/// Folders of a host that live on its disk, with the name of each there.
pub(crate) const ON_DISK: &[(&str, &str)] = &[
    ("docker", "/var/lib/docker"),
    ("containerd", "/var/lib/containerd"),
    ("state", "/var/lib/ipvland"),
    ("etc", "/etc/ipvland"),
    ("srv", "/srv"),
];

/// Sets the host up, says that it is up, and takes up orphans until the power goes.
pub(crate) fn run(host: &str) -> ExitCode {
    if let Err(failure) = set_up(host) {
        tell::err(&format!("lab: setting up the host {host}: {failure}"));
        return ExitCode::FAILURE;
    }
    loop {
        // Without children the kernel answers at once, so this must not spin.
        if wait(WaitOptions::empty()).is_err() {
            sleep(Duration::from_millis(50));
        }
    }
}

fn set_up(host: &str) -> Outcome {
    // Still the outer namespace's /proc: the number by which others reach this process.
    let number = fs::read_link("/proc/self").or_fail("reading /proc/self")?;
    let folder = folder(host);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .or_fail("making mounts private")?;
    rustix::system::sethostname(host.as_bytes()).or_fail("setting the hostname")?;
    let none = MountFlags::empty();
    mount("proc", "/proc", "proc", none, None).or_fail("mounting /proc")?;
    mount("sysfs", "/sys", "sysfs", none, None).or_fail("mounting /sys")?;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", none, None).or_fail("mounting /sys/fs/cgroup")?;
    mount("tmpfs", "/run", "tmpfs", none, Some(c"mode=755")).or_fail("mounting /run")?;
    mount("tmpfs", "/tmp", "tmpfs", none, Some(c"mode=1777")).or_fail("mounting /tmp")?;
    for made in ["/run/lock", "/run/docker/plugins"] {
        fs::create_dir_all(made).or_fail(format_args!("making {made}"))?;
    }
    for (name, at) in ON_DISK {
        mount_bind(folder.join("disk").join(name), *at).or_fail(format_args!("showing {at}"))?;
    }
    for file in ["machine-id", "hostname"] {
        mount_bind(folder.join(file), Path::new("/etc").join(file))
            .or_fail(format_args!("showing /etc/{file}"))?;
    }
    let up = folder.join("process.new");
    fs::write(&up, number.as_os_str().as_encoded_bytes()).or_fail("saying that the host is up")?;
    fs::rename(&up, folder.join("process")).or_fail("saying that the host is up")
}
