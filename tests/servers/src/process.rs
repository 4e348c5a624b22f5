//! Programs that a server is made of.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// A program that runs until this is dropped, with all that it started.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program in a process group of its own.
    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .process_group(0)
                .spawn()
                .unwrap_or_else(|why| panic!("{command:?} does not start: {why}")),
        )
    }

    /// The number of the program's process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal to the program and all that it started.
    pub fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Finds a program, or fails the test with the package that holds it.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

/// Runs a program to its end and returns what it printed; fails the test when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?} does not start: {why}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The ports that servers get: below those that the kernel gives to connections, so that a server which is stopped for a
/// while finds its own free again.
const PORTS: std::ops::Range<usize> = 10_000..32_000;

/// Returns a port that nobody listens on at the moment, and another one at each call.
pub fn free_port() -> u16 {
    // Processes start at random places, or they would be after the same ports.
    static NEXT: LazyLock<AtomicUsize> =
        LazyLock::new(|| AtomicUsize::new(RandomState::new().hash_one(0) as usize % PORTS.len()));
    loop {
        let port = (PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len()) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens on the port.
pub fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "nobody listens on port {port}");
        thread::sleep(Duration::from_millis(10));
    }
}
