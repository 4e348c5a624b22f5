//! A cluster, and what befalls its members.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::{self, Shown};
use crate::process::{Running, free_port, program, wait_for};

/// A user who may read and write below `/ipvland/`.
pub const USER: &str = "web";
/// The user's password.
pub const PASSWORD: &str = "hunter2#/@ü";
pub(super) const ROOT: &str = "root";
pub(super) const ROOT_PASSWORD: &str = "root-hunter3";

/// What a cluster is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// How many members it has.
    pub members: usize,
    /// Whether it asks for a password.
    pub login: bool,
    /// Whether it's reached by TLS, with client certificates.
    pub tls: bool,
    /// How many seconds a login lasts.
    pub token_seconds: u32,
    /// Whether it's reached at every address of its network namespace, for hosts that have namespaces of their own.
    pub for_hosts: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { members: 1, login: false, tls: false, token_seconds: 300, for_hosts: false }
    }
}

/// A cluster, which is stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    pub(super) setup: Setup,
    members: Vec<Member>,
    folder: TempDir,
    asks_for_login: AtomicBool,
}

#[derive(Debug)]
struct Member {
    port: u16,
    peer_port: u16,
    running: Mutex<Option<Running>>,
}

impl Cluster {
    /// Starts one member without a password or TLS.
    pub fn one() -> Self {
        Self::start(Setup::default())
    }

    /// Starts three members without a password or TLS.
    pub fn three() -> Self {
        Self::start(Setup { members: 3, ..Setup::default() })
    }

    /// Starts a cluster and waits until it serves.
    pub fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let member = |_| Member { port: free_port(), peer_port: free_port(), running: Mutex::default() };
        let members = (0..setup.members).map(member).collect();
        let cluster = Self { setup, members, folder, asks_for_login: AtomicBool::new(false) };
        if setup.tls {
            certificates::make(cluster.folder.path(), USER);
            cluster.show(Shown::Valid);
        }
        for number in 0..setup.members {
            cluster.launch(number);
        }
        for number in 0..setup.members {
            cluster.wait_until_it_serves(number);
        }
        if setup.login {
            cluster.set_up_login();
        }
        cluster
    }

    /// Returns how many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there is no member, which is never so.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the URL of a member.
    pub fn url(&self, number: usize) -> String {
        self.url_at(self.address(number))
    }

    /// Returns the URL of a member that is reached at another address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        let scheme = if self.setup.tls { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Returns the URLs of all members.
    pub fn urls(&self) -> Vec<String> {
        (0..self.len()).map(|number| self.url(number)).collect()
    }

    /// Returns where a member listens.
    pub fn address(&self, number: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.members[number].port).into()
    }

    /// Returns a file of the cluster: `ca.pem`, `client.pem`, `client.key`; see the module `certificates`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills a member at once, as a power cut does.
    pub fn kill(&self, number: usize) {
        *self.members[number].running.lock().unwrap() = None;
    }

    /// Starts a member that was killed, and waits until it serves.
    pub fn revive(&self, number: usize) {
        self.launch(number);
        self.wait_until_it_serves(number);
    }

    /// Starts a member that was killed, and waits until it listens; alone among dead ones it doesn't serve.
    pub fn launch(&self, number: usize) {
        let member = &self.members[number];
        let mut running = member.running.lock().unwrap();
        // An old one must let go of the port first.
        *running = None;
        *running = Some(Running::start(&mut self.etcd(number)));
        wait_for(member.port);
    }

    /// Stops a member in its tracks: its connections stay, and nothing answers.
    pub fn pause(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// Lets a member that was paused go on.
    pub fn resume(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    /// Makes all members show a certificate; at each connection they read the file anew.
    pub fn show(&self, shown: Shown) {
        for ending in ["key", "pem"] {
            let new = self.file(&format!("new.{ending}"));
            fs::copy(self.file(&format!("{}.{ending}", shown.stem())), &new).unwrap();
            fs::rename(new, self.file(&format!("server.{ending}"))).unwrap();
        }
    }

    /// Returns what a member logged, for the message of a test that fails.
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.file(&format!("{number}.log"))).unwrap_or_default()
    }

    pub(super) fn has_login(&self) -> bool {
        self.asks_for_login.load(Ordering::Relaxed)
    }

    fn signal(&self, number: usize, signal: Signal) {
        let running = self.members[number].running.lock().unwrap();
        running.as_ref().expect("the member runs").signal(signal);
    }

    fn etcd(&self, number: usize) -> Command {
        let peer = |number: usize| format!("http://127.0.0.1:{}", self.members[number].peer_port);
        let all: Vec<_> = (0..self.len()).map(|number| format!("m{number}={}", peer(number))).collect();
        let (client, peer) = (self.url(number), peer(number));
        let everywhere = self.url_at((Ipv4Addr::UNSPECIFIED, self.members[number].port).into());
        let listens = if self.setup.for_hosts { everywhere.as_str() } else { client.as_str() };
        let mut command = Command::new(program("etcd", "etcd-server"));
        command.arg("--name").arg(format!("m{number}"));
        command.arg("--data-dir").arg(self.file(&format!("data-{number}")));
        for (flag, value) in [
            ("--listen-client-urls", listens),
            ("--advertise-client-urls", client.as_str()),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &all.join(",")),
            ("--initial-cluster-token", &self.members[0].peer_port.to_string()),
            // Faster than the defaults, and still slow enough for a busy machine.
            ("--heartbeat-interval", "100"),
            ("--election-timeout", "800"),
            ("--logger", "zap"),
            ("--log-level", "warn"),
            ("--bcrypt-cost", "4"),
            ("--auth-token-ttl", &self.setup.token_seconds.to_string()),
        ] {
            command.arg(flag).arg(value);
        }
        if self.setup.tls {
            command.arg("--client-cert-auth");
            for (flag, file) in
                [("--cert-file", "server.pem"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.pem")]
            {
                command.arg(flag).arg(self.file(file));
            }
        }
        let log =
            File::options().create(true).append(true).open(self.file(&format!("{number}.log"))).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    /// Waits until a member has applied what the cluster knows, which takes most of the members.
    pub fn wait_until_it_serves(&self, number: usize) {
        let start = Instant::now();
        loop {
            if self.serves(number) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "etcd member {number} does not serve:\n{}",
                self.log(number)
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn set_up_login(&self) {
        let user = format!("{USER}:{PASSWORD}");
        let root = format!("{ROOT}:{ROOT_PASSWORD}");
        for arguments in [
            &["role", "add", "fleet"][..],
            &["role", "grant-permission", "fleet", "--prefix=true", "readwrite", "/ipvland/"],
            &["user", "add", &user],
            &["user", "grant-role", USER, "fleet"],
            &["user", "add", &root],
            &["user", "grant-role", ROOT, "root"],
            &["auth", "enable"],
        ] {
            self.ctl(Some(0), arguments);
        }
        self.asks_for_login.store(true, Ordering::Relaxed);
    }
}
