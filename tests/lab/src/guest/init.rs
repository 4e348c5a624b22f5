//! Process 1 of the guest, on either kernel.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{WaitOptions, wait};

use crate::failure::{Failure, OrFail, Outcome};
use crate::tell;

/// Where the guest sees the programs.
const PROGRAMS: &str = "/opt/lab/bin";
/// Where the guest sees the folder that it answers in.
pub(crate) const ANSWERS: &str = "/opt/lab/answers";
/// Where user-mode Linux's package keeps its modules.
const UML_MODULES: &str = "/usr/lib/uml/modules";

/// The kernel starts process 1 without a path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The modules that hosts need; those that are built in, or that this kernel lacks, are passed over here, and what then
/// does not work fails where it is used.
const MODULES: &[&str] = &[
    "ipv6",
    "veth",
    "ipvlan",
    "vxlan",
    "macvlan",
    "dummy",
    "8021q",
    "bridge",
    "br_netfilter",
    "tun",
    "sch_netem",
    "nf_tables",
    "nf_nat",
    "nfs",
    "nfsv4",
    "nfsd",
    "ip_tables",
    "ip6_tables",
    "iptable_filter",
    "iptable_nat",
    "ip6table_filter",
    "ip6table_nat",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_conntrack",
];

/// What process 1 is told by the machine.
pub(crate) struct Init {
    /// Whether this is user-mode Linux: nothing is mounted yet, and process 1 must end the kernel.
    pub(crate) user_mode: bool,
    /// The root filesystem's folder.
    pub(crate) root: PathBuf,
    /// The machine's folder with `lab` and `ipvland`.
    pub(crate) programs: PathBuf,
    /// The machine's folder to answer in.
    pub(crate) answers: PathBuf,
    /// How much is told.
    pub(crate) telling: String,
    /// What random choices grow from.
    pub(crate) seed: u64,
    /// The scenario's name.
    pub(crate) scenario: String,
}

/// Sets the guest up, runs the scenario, and ends everything.
pub(crate) fn run(init: &Init) -> ExitCode {
    let code = match init.set_up().and_then(|()| init.scenario()) {
        Ok(code) => code,
        Err(failure) => {
            // The console log, which the machine shows.
            tell::line(&format!("lab: setting up the guest: {failure}"));
            1
        }
    };
    if init.user_mode {
        rustix::fs::sync();
        let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    }
    ExitCode::from(u8::from(code != 0))
}

impl Init {
    fn set_up(&self) -> Outcome {
        if self.user_mode {
            let none = MountFlags::empty();
            mount("proc", "/proc", "proc", none, None).or_fail("mounting /proc")?;
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .or_fail("making mounts private")?;
        self.modules_before()?;
        self.new_root()?;
        file_systems()?;
        if self.user_mode {
            let release = rustix::system::uname().release().to_string_lossy().into_owned();
            fs::create_dir_all("/lib/modules").or_fail("making /lib/modules")?;
            let link = PathBuf::from("/lib/modules").join(&release);
            let _ = fs::remove_file(&link);
            symlink(Path::new(UML_MODULES).join(&release), &link).or_fail("linking the modules")?;
            for module in MODULES {
                let _ = quiet("modprobe", &[module]);
            }
        }
        legacy_iptables();
        symlink(format!("{PROGRAMS}/ipvland"), "/usr/local/bin/ipvland").or_fail("linking ipvland")?;
        quiet("ip", &["link", "set", "lo", "up"])
    }

    /// Loads what must be there before the root is changed: overlayfs, and on the machine's kernel everything.
    fn modules_before(&self) -> Outcome {
        if !self.user_mode {
            // The machine's modules are out of sight after the change of root.
            for module in MODULES.iter().chain(&["overlay"]) {
                let _ = quiet("modprobe", &[module]);
            }
            return Ok(());
        }
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        quiet("insmod", &[&format!("{UML_MODULES}/{release}/kernel/fs/overlayfs/overlay.ko")])
    }

    /// Changes to a root that can be written: a tmpfs over the root filesystem, which itself is never written.
    fn new_root(&self) -> Outcome {
        let none = MountFlags::empty();
        mount("upper", "/mnt", "tmpfs", none, Some(c"size=90%")).or_fail("mounting a tmpfs")?;
        for folder in ["/mnt/upper", "/mnt/work", "/mnt/root"] {
            fs::create_dir(folder).or_fail(format_args!("making {folder}"))?;
        }
        let root = self.root.display();
        let options =
            std::ffi::CString::new(format!("lowerdir={root},upperdir=/mnt/upper,workdir=/mnt/work"))
                .or_fail("naming the root")?;
        mount("root", "/mnt/root", "overlay", none, Some(options.as_c_str()))
            .or_fail(format_args!("mounting an overlay on {root}"))?;
        self.show(&self.programs, PROGRAMS, true)?;
        self.show(&self.answers, ANSWERS, false)?;
        if self.user_mode {
            self.show(Path::new(UML_MODULES), UML_MODULES, true)?;
        }
        std::env::set_current_dir("/mnt/root").or_fail("entering the new root")?;
        rustix::process::pivot_root(".", "mnt").or_fail("changing the root")?;
        std::env::set_current_dir("/").or_fail("entering the new root")?;
        mount("proc", "/proc", "proc", none, None).or_fail("mounting /proc")?;
        if !self.user_mode {
            // A sysfs or devtmpfs of this namespace's own; the machine's are left behind with the old root.
            mount_bind_recursive("/mnt/dev", "/dev").or_fail("showing /dev")?;
        }
        unmount("/mnt", UnmountFlags::DETACH).or_fail("leaving the old root")
    }

    /// Shows a folder of the machine in the new root.
    fn show(&self, folder: &Path, at: &str, read_only: bool) -> Outcome {
        let target = format!("/mnt/root{at}");
        fs::create_dir_all(&target).or_fail(format_args!("making {target}"))?;
        let what = format!("showing {} at {at}", folder.display());
        if self.user_mode {
            let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            let source = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()).or_fail(&what)?;
            return mount("hostfs", &*target, "hostfs", flags, Some(source.as_c_str())).or_fail(what);
        }
        mount_bind_recursive(folder, &*target).or_fail(&what)?;
        if read_only {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(&*target, flags, c"").or_fail(what)?;
        }
        Ok(())
    }

    /// Runs the scenario as a child, since process 1 ignores signals and must take up orphans.
    fn scenario(&self) -> Outcome<i32> {
        let answers = Path::new(ANSWERS);
        let out = File::options().append(true).open(answers.join("out")).or_fail("opening the output")?;
        let second = out.try_clone().or_fail("sharing the output")?;
        File::create(answers.join("started")).or_fail("answering")?;
        let child = Command::new(format!("{PROGRAMS}/lab"))
            .args(["guest", &self.telling, &self.seed.to_string(), &self.scenario])
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(second)
            .spawn()
            .or_fail("starting the scenario")?;
        let code = loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == child.id() => {
                    break status.exit_status().unwrap_or(1);
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::new(format!("waiting for the scenario: {error}"))),
            }
        };
        rustix::fs::sync();
        let new = answers.join("ended.new");
        fs::write(&new, code.to_string()).or_fail("answering")?;
        fs::rename(&new, answers.join("ended")).or_fail("answering")?;
        Ok(code)
    }
}

/// Mounts what programs expect to find.
fn file_systems() -> Outcome {
    let none = MountFlags::empty();
    let put = |kind: &str, at: &str, options: Option<&std::ffi::CStr>| -> Outcome {
        fs::create_dir_all(at).or_fail(format_args!("making {at}"))?;
        mount(kind, at, kind, none, options).or_fail(format_args!("mounting {kind} on {at}"))
    };
    put("sysfs", "/sys", None)?;
    put("cgroup2", "/sys/fs/cgroup", None)?;
    if !Path::new("/dev/urandom").exists() || !Path::new("/dev/kmsg").exists() {
        put("devtmpfs", "/dev", None)?;
    }
    put("devpts", "/dev/pts", Some(c"newinstance,gid=5,mode=620,ptmxmode=666"))?;
    put("tmpfs", "/dev/shm", None)?;
    put("mqueue", "/dev/mqueue", None)?;
    put("tmpfs", "/run", Some(c"mode=755"))?;
    put("tmpfs", "/tmp", Some(c"mode=1777,size=90%"))?;
    put("tmpfs", "/lab", Some(c"mode=755,size=90%"))?;
    fs::create_dir_all("/run/lock").or_fail("making /run/lock")?;
    if !Path::new("/dev/fd").exists() {
        symlink("/proc/self/fd", "/dev/fd").or_fail("linking /dev/fd")?;
    }
    // Debian says where resolv.conf comes from; there is no name server here, and Docker warns without the file.
    fs::write("/etc/resolv.conf", "").or_fail("emptying /etc/resolv.conf")
}

/// Uses the older iptables where the newer does not work: user-mode Linux's nf_tables knows no ip or ip6 tables.
fn legacy_iptables() {
    // Listing an empty table works even there; making a chain does not.
    let chain = |what: &str| quiet("iptables", &["-t", "nat", what, "lab-probe"]).is_ok();
    if chain("-N") {
        chain("-X");
        return;
    }
    for family in ["iptables", "ip6tables"] {
        for suffix in ["", "-save", "-restore"] {
            let legacy = format!("/usr/sbin/{family}-legacy{suffix}");
            let alternative = format!("/etc/alternatives/{family}{suffix}");
            if Path::new(&legacy).exists() && fs::remove_file(&alternative).is_ok() {
                let _ = symlink(&legacy, &alternative);
            }
        }
    }
}

/// Runs a small program whose output matters only when it fails.
fn quiet(program: &str, arguments: &[&str]) -> Outcome {
    let words = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .or_fail(&words)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{words} failed")).showing(String::from_utf8_lossy(&output.stderr)))
}
