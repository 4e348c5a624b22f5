//! BIRD 2: the routing daemon that operators know.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ipvland::kernel::Route;
use servers::process::{Running, program, run};
use tempfile::TempDir;

use super::raw::Raw;
use crate::namespace::Namespace;

/// The number that marks BIRD's routes (`RTPROT_BIRD` of `linux/rtnetlink.h`).
pub(crate) const PROTOCOL: u8 = 12;

/// How long BIRD may take, for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A BIRD that runs, and is killed when dropped.
pub(crate) struct Bird {
    folder: TempDir,
    running: Running,
    birdc: PathBuf,
}

impl Bird {
    /// Starts a BIRD in the namespace that we are in, or in another, with routes of its own and further protocols.
    pub(crate) fn start(namespace: Option<&Namespace>, id: &str, further: &str, routes: &[Route]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "log \"{}\" {{ warning, error, fatal, bug }};
router id {id};
protocol device {{}}
protocol kernel {{ ipv4 {{ import none; export all; }}; }}
protocol static hosts {{
ipv4;
include \"{}\";
}}
{further}
",
            at("log"),
            at("routes")
        );
        fs::write(folder.path().join("bird.conf"), config).expect("a file");
        fs::write(folder.path().join("routes"), statics(routes)).expect("a file");
        let bird = program("bird", "bird2");
        let mut command = match namespace {
            Some(namespace) => namespace.command(&bird),
            None => Command::new(&bird),
        };
        command.args(["-f", "-c", &at("bird.conf"), "-s", &at("socket"), "-P", &at("pid")]);
        let running = Running::start(command.stdout(Stdio::null()));
        let this = Self { folder, running, birdc: program("birdc", "bird2") };
        let begun = Instant::now();
        while !this.folder.path().join("socket").exists() {
            assert!(begun.elapsed() < PATIENCE, "bird does not start: {}", this.log());
            thread::sleep(Duration::from_millis(1));
        }
        this
    }

    /// Gives it other routes, and returns when it was told.
    pub(crate) fn configure(&self, routes: &[Route]) -> Instant {
        fs::write(self.folder.path().join("routes"), statics(routes)).expect("a file");
        let begun = Instant::now();
        let answer = self.ask("configure");
        assert!(answer.contains("Reconfigur"), "bird does not take its configuration: {answer}");
        begun
    }

    /// Asks it.
    pub(crate) fn ask(&self, words: &str) -> String {
        let socket = self.folder.path().join("socket");
        run(Command::new(&self.birdc).arg("-s").arg(socket).args(words.split(' ')))
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        let text = fs::read_to_string(self.folder.path().join("pid")).expect("bird writes its number");
        text.trim().parse().expect("a number")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // By force: told to end, it would take its routes out one by one.
        self.running.signal(rustix::process::Signal::KILL);
    }
}

/// Waits until so many of BIRD's routes are in the kernel, and returns the moment at which that was asked which found
/// them all, so that what asking takes is not counted.
pub(crate) fn wait(raw: &mut Raw, routes: usize) -> Instant {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        if raw.count(PROTOCOL) == routes {
            return asked;
        }
        assert!(begun.elapsed() < PATIENCE, "bird installs {} of {routes} routes", raw.count(PROTOCOL));
        thread::sleep(Duration::from_millis(2));
    }
}

fn statics(routes: &[Route]) -> String {
    let mut text = String::new();
    for route in routes {
        let gateway = route.gateway.expect("a gateway");
        writeln!(text, "route {} via {gateway};", route.prefix).expect("text");
    }
    text
}
