//! Starts a kernel with ipvlan for one scenario, and ends it whatever happens.
//!
//! Where this machine's own kernel has ipvlan, "starting a kernel" is a set of fresh namespaces; elsewhere it is
//! user-mode Linux, a kernel that runs as an ordinary process. Both show the guest the same root filesystem, the same
//! folder of programs and the same folder to answer in, and both run the same program: [`crate::guest`].

mod cpu;
mod namespaces;
mod run_folder;
mod user_mode;
mod watcher;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) use run_folder::RunFolder;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::Telling;
use crate::scenarios::{Needs, Scenario};

/// How long a kernel may take until its first process answers.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// Which kernel the hosts run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// This machine's own, in fresh namespaces.
    Machine,
    /// Debian's user-mode Linux.
    UserMode,
}

impl Kernel {
    /// Tries whether this machine's own kernel can make an ipvlan link.
    pub(crate) fn detect() -> Self {
        if namespaces::has_ipvlan() { Self::Machine } else { Self::UserMode }
    }

    /// One sentence for a person.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Machine => "this machine's kernel has ipvlan: the hosts are namespaces on it",
            Self::UserMode => "this machine's kernel has no ipvlan: the hosts run on user-mode Linux",
        }
    }

    /// The kernel that a scenario runs on: one that needs nothing runs on the machine's own, which is much faster.
    pub(crate) const fn for_scenario(self, scenario: &Scenario) -> Self {
        match scenario.needs {
            Needs::Nothing => Self::Machine,
            Needs::Ipvlan => self,
            Needs::Nfs => Self::UserMode,
        }
    }
}

/// How a scenario ended, when the kernel did its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything that it asserts holds.
    Passed,
    /// Something does not; its output says what.
    Failed,
}

/// One scenario on one root filesystem.
pub(crate) struct Job<'a> {
    /// Which kernel.
    pub(crate) kernel: Kernel,
    /// The root filesystem's folder; nothing is written there.
    pub(crate) root: &'a Path,
    /// The scenario.
    pub(crate) scenario: &'a Scenario,
    /// How much it tells.
    pub(crate) telling: Telling,
    /// What its random choices grow from.
    pub(crate) seed: u64,
    /// An empty folder that the guest answers in, made by [`RunFolder::new_folder`].
    pub(crate) answers: &'a Path,
    /// The folder of this run of the lab.
    pub(crate) run: &'a RunFolder,
}

impl Job<'_> {
    /// Runs the scenario to its end and hands over what it prints, as it prints it.
    ///
    /// # Errors
    /// Where the kernel did not boot, stopped early, or the scenario ran past its limit. Shows the console's end.
    pub(crate) fn run(&self, mut sink: impl FnMut(&[u8])) -> Outcome<Ended> {
        let answers = self.answers;
        let (program, _cpu) = match self.kernel {
            Kernel::Machine => (namespaces::command(self), None),
            Kernel::UserMode => user_mode::command(self)?,
        };
        let console = answers.join("console.log");
        let child = start(program, &console)?;
        let mut kernel = Running { _watcher: watcher::Watcher::kills_group(child.id())?, child };
        let out = answers.join("out");
        let mut out = open_when_there(&out)?;
        let begun = Instant::now();
        loop {
            let over = kernel.child.try_wait().or_fail("waiting for the kernel")?;
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).or_fail("reading what the scenario prints")?;
            if !bytes.is_empty() {
                sink(&bytes);
            }
            if let Ok(text) = fs::read_to_string(answers.join("ended")) {
                let mut rest = Vec::new();
                out.read_to_end(&mut rest).or_fail("reading what the scenario prints")?;
                sink(&rest);
                return Ok(if text.trim() == "0" { Ended::Passed } else { Ended::Failed });
            }
            let started = answers.join("started").exists();
            let broken = if let Some(status) = over {
                Some(if started {
                    format!("the kernel stopped early ({status})")
                } else {
                    format!("the kernel did not boot ({status})")
                })
            } else if !started && begun.elapsed() > BOOT_LIMIT {
                Some(format!("the kernel did not boot in {} s", BOOT_LIMIT.as_secs()))
            } else if begun.elapsed() > self.scenario.limit {
                Some(format!("stopped after {} s, the scenario's limit", self.scenario.limit.as_secs()))
            } else {
                None
            };
            if let Some(sentence) = broken {
                return Err(Failure::new(sentence).showing(console_end(&console)));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The guest's first words: what its process 1 is told.
    fn init_arguments(&self) -> Vec<String> {
        let kernel = match self.kernel {
            Kernel::Machine => "machine",
            Kernel::UserMode => "user-mode",
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            "init".to_owned(),
            kernel.to_owned(),
            text(self.root),
            text(&self.run.programs()),
            text(self.answers),
            self.telling.name().to_owned(),
            self.seed.to_string(),
            self.scenario.name.to_owned(),
        ]
    }
}

/// The started kernel; ends with all its processes when dropped.
struct Running {
    child: Child,
    _watcher: watcher::Watcher,
}

impl Drop for Running {
    fn drop(&mut self) {
        watcher::kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

fn start(mut program: Command, console: &Path) -> Outcome<Child> {
    use std::os::unix::process::CommandExt as _;

    let log = fs::File::create(console).or_fail(format_args!("creating {}", console.display()))?;
    let second = log.try_clone().or_fail("sharing the console log")?;
    let name = program.get_program().to_string_lossy().into_owned();
    program
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second)
        .process_group(0)
        .spawn()
        .or_fail(format_args!("starting {name}"))
}

/// Makes the file that the guest prints into, and opens it for reading.
fn open_when_there(out: &PathBuf) -> Outcome<fs::File> {
    fs::File::create_new(out).or_fail(format_args!("creating {}", out.display()))?;
    fs::File::open(out).or_fail(format_args!("opening {}", out.display()))
}

fn console_end(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let early = lines
        .iter()
        .take(lines.len().saturating_sub(15))
        .filter(|line| line.contains("panic") || line.contains("lab:"));
    let late = lines.iter().skip(lines.len().saturating_sub(15));
    early.chain(late).copied().collect::<Vec<_>>().join("\n")
}
