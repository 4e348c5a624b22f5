//! Daemons of real hosts: each in a network namespace of its own, all over one Git repository.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read, Write},
    net::IpAddr,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use serde_json::Value;

use crate::{SUBNET, docker::Docker};

/// How long a daemon may take to start.
const SOON: Duration = Duration::from_secs(60);

/// The hosts and what they share.
pub(crate) struct Fleet {
    daemons: Vec<Daemon>,
    dir: tempfile::TempDir,
}

/// One host's daemon.
pub(crate) struct Daemon {
    number: u8,
    dir: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Fleet {
    /// Starts the hosts 10.1.1.1 and on.
    pub(crate) fn start(hosts: u8) -> Self {
        // In memory: a program that is killed loses nothing of what it wrote, synced or not, and a disk would take longer for
        // the syncs than all the rest does.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(dir.path().join("net.git")));
        let daemons: Vec<_> = (1..=hosts).map(|number| Daemon::new(number, dir.path())).collect();
        daemons.iter().for_each(Daemon::start);
        daemons.iter().for_each(Daemon::answers);
        Self { daemons, dir }
    }

    pub(crate) fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    /// Returns every block in the store, and the number of the host that leases it.
    pub(crate) fn blocks(&self) -> Vec<(IpNet, u8)> {
        let mut blocks = Vec::new();
        for daemon in &self.daemons {
            let text = self.git(&["show", &format!("main:endpoints/10.1.1.{}.json", daemon.number)]);
            let record: Value = serde_json::from_str(&text).unwrap();
            for block in record["blocks"].as_array().unwrap() {
                blocks.push((block.as_str().unwrap().parse().unwrap(), daemon.number));
            }
        }
        blocks
    }

    /// Returns how often the store was written.
    pub(crate) fn commits(&self) -> usize {
        self.git(&["rev-list", "--count", "main"]).trim().parse().unwrap()
    }

    fn git(&self, words: &[&str]) -> String {
        run(Command::new("git").arg("-C").arg(self.dir.path().join("net.git")).args(words))
    }
}

impl Daemon {
    fn new(number: u8, shared: &Path) -> Self {
        let dir = shared.join(format!("h{number}"));
        fs::create_dir(&dir).unwrap();
        let text = format!(
            "[host]\nname = \"h{number}\"\ninterface = \"eth2\"\n[store]\nkind = \"git\"\n[store.git]\nrepo = \"{}\"\n\
             interval = \"2s\"\n[daemon]\nstate_dir = \"{}\"\nsocket = \"{}\"\n",
            shared.join("net.git").display(),
            dir.join("state").display(),
            dir.join("ipvland.sock").display(),
        );
        fs::write(dir.join("ipvland.toml"), text).unwrap();
        fs::set_permissions(dir.join("ipvland.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { number, dir, process: Mutex::new(None) }
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::new(self.dir.join("ipvland.sock"), SUBNET)
    }

    /// Starts the daemon, with a card of the host's own.
    pub(crate) fn start(&self) {
        let log = File::options().append(true).create(true).open(self.dir.join("log")).unwrap();
        let script = format!(
            "ip link set lo up && ip link add eth2 type veth peer name wire && ip address add 10.1.1.{}/24 dev eth2 && \
             ip link set wire up && ip link set eth2 up && exec {} run --config {}",
            self.number,
            env!("CARGO_BIN_EXE_ipvland"),
            self.dir.join("ipvland.toml").display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *self.process.lock().unwrap() = Some(command.spawn().expect("`unshare` of util-linux is needed"));
    }

    /// Kills the daemon at once.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the daemon of h{} ended by itself with {status}:\n{}", self.number, self.log());
            }
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn answers(&self) {
        let begun = Instant::now();
        while self.status().is_none() {
            assert!(
                begun.elapsed() < SOON,
                "h{} does not start, which takes root:\n{}",
                self.number,
                self.log()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn status(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.dir.join("ipvland.sock")).ok()?;
        stream.write_all(b"GET /status.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Returns how many addresses the daemon says that it gave.
    pub(crate) fn given(&self) -> usize {
        let status = self.status();
        let rows = status.as_ref().and_then(|status| status["addresses"].as_array());
        rows.into_iter().flatten().map(|row| row["used"].as_u64().unwrap() as usize).sum()
    }

    /// Returns the addresses that endpoints have in the book of networks on disk.
    pub(crate) fn endpoints(&self) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        for file in fs::read_dir(self.dir.join("state/networks")).unwrap() {
            let Ok(text) = fs::read(file.unwrap().path()) else { continue };
            let Ok(network) = serde_json::from_slice::<Value>(&text) else { continue };
            for endpoint in network["endpoints"].as_object().unwrap().values() {
                for address in endpoint["addresses"].as_array().unwrap() {
                    let net: IpNet = address.as_str().unwrap().parse().unwrap();
                    assert!(addresses.insert(net.addr()), "{net} is in the book of h{} twice", self.number);
                }
            }
        }
        addresses
    }

    /// Returns the end of the log.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("`git` is needed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
