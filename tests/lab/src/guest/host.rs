//! A host: namespaces of its own, a card on the wire, a disk that survives a power cut.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hold::{self, ON_DISK};
use super::lab::run_here;
use super::report::Report;
use super::wait;
use crate::failure::{Failure, OrFail, Outcome};

/// The name of each host's card.
pub(crate) const CARD: &str = "eth2";

/// How long a command may take.
const COMMAND_LIMIT: &str = "90";

/// A handle on a host; clones are the same host.
#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

struct Inner {
    name: String,
    number: u8,
    report: Arc<Report>,
    power: Mutex<Option<(Child, String)>>,
    programs: Mutex<HashMap<String, Child>>,
}

/// What a command gave.
pub(crate) struct Ran {
    /// Its exit code; 124 when it took too long.
    pub(crate) code: i32,
    /// Its standard output and standard error.
    pub(crate) output: String,
    /// Its standard output alone.
    pub(crate) stdout: String,
}

impl Host {
    /// Makes the host's disk; the host itself comes with [`Host::power_on`].
    pub(super) fn new(name: &str, number: u8, report: Arc<Report>) -> Outcome<Self> {
        let folder = hold::folder(name);
        for part in ["disk", "log"] {
            fs::create_dir_all(folder.join(part)).or_fail(format_args!("making the disk of {name}"))?;
        }
        for (part, at) in ON_DISK {
            fs::create_dir_all(folder.join("disk").join(part))
                .or_fail(format_args!("making the disk of {name}"))?;
            fs::create_dir_all(at).or_fail(format_args!("making {at}"))?;
        }
        // Docker needs a file system of its own for its layers: the root is an overlay already.
        let docker = folder.join("disk/docker");
        rustix::mount::mount(
            "docker",
            &docker,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"size=90%"),
        )
        .or_fail(format_args!("making the disk of {name}"))?;
        fs::write(folder.join("machine-id"), format!("{:032x}\n", 0x1ab_0000_0000 + u64::from(number)))
            .or_fail("writing a machine id")?;
        fs::write(folder.join("hostname"), format!("{name}\n")).or_fail("writing a hostname")?;
        for file in ["/etc/machine-id", "/etc/hostname"] {
            File::options().append(true).create(true).open(file).or_fail(format_args!("making {file}"))?;
        }
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            number,
            report,
            power: Mutex::default(),
            programs: Mutex::default(),
        })))
    }

    /// The host's name, which is its hostname.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The host's IPv4 address on the wire.
    pub(crate) fn address(&self) -> String {
        format!("10.1.1.{}", self.0.number)
    }

    /// The host's IPv6 address on the wire.
    pub(crate) fn address6(&self) -> String {
        format!("2001:db8:1::{}", self.0.number)
    }

    /// The IPv4 prefix that scenarios give to this host's containers.
    pub(crate) fn prefix(&self) -> String {
        format!("10.1.{}.0/24", self.0.number)
    }

    /// The IPv6 prefix that scenarios give to this host's containers.
    pub(crate) fn prefix6(&self) -> String {
        format!("2001:db8:{}::/64", self.0.number)
    }

    /// An address of [`Host::prefix`].
    pub(crate) fn inside(&self, last: u8) -> String {
        format!("10.1.{}.{last}", self.0.number)
    }

    /// An address of [`Host::prefix6`].
    pub(crate) fn inside6(&self, last: u8) -> String {
        format!("2001:db8:{}::{last}", self.0.number)
    }

    /// Tells what happens.
    pub(crate) fn report(&self) -> &Report {
        &self.0.report
    }

    /// A file of this host's folder, which the host itself does not see.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        hold::folder(&self.0.name).join(name)
    }

    /// The log of a program that [`Host::start`] started.
    pub(crate) fn log(&self, program: &str) -> String {
        let bytes = fs::read(self.file("log").join(program)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Shows the ends of all logs.
    pub(crate) fn tell_logs(&self) {
        let mut logs: Vec<_> = fs::read_dir(self.file("log")).into_iter().flatten().flatten().collect();
        logs.sort_by_key(fs::DirEntry::file_name);
        for entry in logs {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = crate::cargo::tail(&self.log(&name), 40);
            self.report().typed(self.name(), &format!("tail {name}.log"), &text);
        }
    }

    /// Turns the host on: it comes up with its disk and its card, and runs nothing yet.
    pub(crate) fn power_on(&self) -> Outcome {
        let name = self.name();
        let up = self.file("process");
        let _ = fs::remove_file(&up);
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .arg("/opt/lab/bin/lab")
            .args(["hold", name])
            .stdin(Stdio::null())
            .spawn()
            .or_fail(format_args!("turning {name} on"))?;
        let process = wait::until(&format!("{name} comes up"), Duration::from_secs(20), || {
            if let Some(status) = child.try_wait().or_fail("waiting for a host")? {
                return Err(Failure::new(format!("{name} did not come up ({status})")));
            }
            Ok(fs::read_to_string(&up).ok())
        })?;
        *lock(&self.0.power) = Some((child, process.clone()));
        // The card keeps its MAC over a power cut, or the others would ask the old one for half a minute.
        let mac = format!("02:00:0a:01:01:{:02x}", self.0.number);
        run_here(&format!(
            "ip link add sw-{name} type veth peer name {CARD} address {mac} netns {process} && ip link set sw-{name} master sw up"
        ))?;
        let (ip4, ip6) = (self.address(), self.address6());
        self.run(&format!(
            "ip link set lo up && ip link set {CARD} up && ip addr add {ip4}/24 dev {CARD} && ip addr add {ip6}/64 dev {CARD} nodad"
        ))?;
        Ok(())
    }

    /// Cuts the power: every process of the host is gone at once, and all that was not on its disk.
    pub(crate) fn power_cut(&self) -> Outcome {
        let Some((mut child, process)) = lock(&self.0.power).take() else { return Ok(()) };
        run_here(&format!("kill -KILL {process}"))?;
        child.wait().or_fail(format_args!("cutting the power of {}", self.name()))?;
        for (_, mut program) in lock(&self.0.programs).drain() {
            program.wait().or_fail("waiting for a program to go")?;
        }
        let link = format!("/sys/class/net/sw-{}", self.name());
        wait::holds("the card is gone", Duration::from_secs(20), || Ok(!PathBuf::from(&link).exists()))?;
        Ok(())
    }

    /// Makes a command that enters this host and there runs what is added to it.
    fn enter(&self) -> Outcome<Command> {
        let power = lock(&self.0.power);
        let process = power.as_ref().map(|(_, process)| process.as_str());
        let process = process.ok_or_else(|| Failure::new(format!("{} is off", self.name())))?;
        let mut command = Command::new("nsenter");
        command.args(["-t", process, "-m", "-n", "-u", "-i", "-p", "--"]).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a shell line and gives whatever came of it.
    pub(crate) fn attempt(&self, line: &str) -> Outcome<Ran> {
        let mut command = self.enter()?;
        command.args(["timeout", "-k", "2", COMMAND_LIMIT, "sh", "-c", line]);
        let output = command.output().or_fail(format_args!("running on {}: {line}", self.name()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let both = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        Ok(Ran { code: output.status.code().unwrap_or(-1), output: both, stdout })
    }

    /// Runs a shell line that is no part of the story and gives its standard output.
    ///
    /// # Errors
    /// Where it exits with anything but 0.
    pub(crate) fn run(&self, line: &str) -> Outcome<String> {
        let ran = self.attempt(line)?;
        self.report().aside(self.name(), line, &ran.output);
        self.succeeded(line, ran)
    }

    /// Runs a shell line as a person would, tells it, and gives its standard output.
    ///
    /// # Errors
    /// Where it exits with anything but 0.
    pub(crate) fn show(&self, line: &str) -> Outcome<String> {
        let ran = self.attempt(line)?;
        self.report().typed(self.name(), line, &ran.output);
        self.succeeded(line, ran)
    }

    /// Runs a shell line quietly, for looking again and again.
    ///
    /// # Errors
    /// Where it exits with anything but 0.
    pub(crate) fn look(&self, line: &str) -> Outcome<String> {
        let ran = self.attempt(line)?;
        self.succeeded(line, ran)
    }

    /// Runs a shell line that must fail and gives what it said.
    ///
    /// # Errors
    /// Where it succeeds, or hangs.
    pub(crate) fn refused(&self, line: &str) -> Outcome<String> {
        let ran = self.attempt(line)?;
        self.report().typed(self.name(), line, &ran.output);
        match ran.code {
            0 => Err(Failure::new(format!("should have been refused on {}: {line}", self.name()))
                .showing(ran.output)),
            124 => Err(Failure::new(format!("hung on {}: {line}", self.name())).showing(ran.output)),
            _ => Ok(ran.output),
        }
    }

    fn succeeded(&self, line: &str, ran: Ran) -> Outcome<String> {
        if ran.code == 0 {
            return Ok(ran.stdout);
        }
        let how = if ran.code == 124 { "took too long".to_owned() } else { format!("failed ({})", ran.code) };
        Err(Failure::new(format!("{how} on {}: {line}", self.name())).showing(ran.output))
    }

    /// Starts a program that goes on; what it prints is added to its log.
    ///
    /// # Errors
    /// Where one of that name runs already.
    pub(crate) fn start(&self, program: &str, line: &str) -> Outcome {
        if self.runs(program)? {
            return Err(Failure::new(format!("{program} runs already on {}", self.name())));
        }
        self.report().aside(self.name(), &format!("{line} &"), "");
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.file("log").join(program))
            .or_fail("opening a log")?;
        let second = log.try_clone().or_fail("sharing a log")?;
        let pid = format!("/run/{program}.lab-pid");
        let mut command = self.enter()?;
        command.args([
            "sh",
            "-c",
            &format!("rm -f {pid}; echo $$ >{pid}.new; mv {pid}.new {pid}; exec {line}"),
        ]);
        let child = command.stdout(log).stderr(second).spawn().or_fail(format_args!("starting {program}"))?;
        lock(&self.0.programs).insert(program.to_owned(), child);
        Ok(())
    }

    /// Whether a program that was started still runs.
    pub(crate) fn runs(&self, program: &str) -> Outcome<bool> {
        match lock(&self.0.programs).get_mut(program) {
            None => Ok(false),
            Some(child) => Ok(child.try_wait().or_fail(format_args!("looking for {program}"))?.is_none()),
        }
    }

    /// Sends a signal to a program that was started.
    ///
    /// # Errors
    /// Where it does not run.
    pub(crate) fn signal(&self, program: &str, signal: &str) -> Outcome {
        self.run(&format!("kill -{signal} $(cat /run/{program}.lab-pid)")).map(|_| ())
    }

    /// Waits for a program to end by itself and gives its exit code, or 128 and the signal that ended it.
    ///
    /// # Errors
    /// Where it goes on longer than the limit.
    pub(crate) fn ended(&self, program: &str, limit: Duration) -> Outcome<i32> {
        use std::os::unix::process::ExitStatusExt as _;

        let status = wait::until(&format!("{program} ends on {}", self.name()), limit, || {
            match lock(&self.0.programs).get_mut(program) {
                None => Err(Failure::new(format!("{program} was never started on {}", self.name()))),
                Some(child) => child.try_wait().or_fail(format_args!("waiting for {program}")),
            }
        })?;
        lock(&self.0.programs).remove(program);
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
