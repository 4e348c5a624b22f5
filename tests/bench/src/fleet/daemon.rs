//! The real daemon on one host.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use ipvland::kernel::ROUTE_PROTOCOL;
use serde_json::{Value, json};
use servers::process::Running;

use super::{
    place::Place,
    segment::{Host, LINK},
};
use crate::{process::Used, route::raw::Raw};

/// How long a daemon may take, for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long daemons get between two looks.
const SETTLING: Duration = Duration::from_millis(200);

/// A daemon that runs, and is killed when dropped.
pub(crate) struct Daemon {
    running: Running,
    socket: PathBuf,
    log: PathBuf,
    /// A socket of the host's, to look at its routes.
    raw: Raw,
    /// When it was started.
    pub(crate) started: Instant,
    /// How long it took until it told that it is ready.
    pub(crate) ready: Duration,
}

impl Daemon {
    /// Starts a daemon, whose state is in a directory, and waits until it tells that it is ready.
    pub(crate) fn start(program: &Path, host: &Host, place: &Place, folder: &Path) -> Self {
        Self::start_with(program, host, place, folder, &json!({}))
    }

    /// Starts a daemon with further tables of the config.
    pub(crate) fn start_with(
        program: &Path,
        host: &Host,
        place: &Place,
        folder: &Path,
        tables: &Value,
    ) -> Self {
        let at = |name: &str| folder.join(name);
        fs::create_dir_all(at("state")).expect("a directory");
        let mut config = json!({
            "host": { "interface": LINK, "address": host.address, "name": host.name },
            "network": { "mode": "l3", "subnet": [host.subnet] },
            "store": { "kind": place.kind, place.kind: place.table },
            "daemon": { "state_dir": at("state"), "socket": at("socket") },
        });
        for (name, table) in tables.as_object().expect("tables") {
            config[name] = table.clone();
        }
        // JSON is YAML too.
        fs::write(at("ipvland.yaml"), config.to_string()).expect("a file");
        let notify = at("notify");
        _ = fs::remove_file(&notify);
        let ears = UnixDatagram::bind(&notify).expect("a socket");
        ears.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let log = fs::File::options().create(true).append(true).open(at("log")).expect("a file");
        let mut command = host.namespace.command(program);
        command.arg("--config").arg(at("ipvland.yaml")).arg("run").env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let started = Instant::now();
        let running = Running::start(&mut command);
        let mut told = [0; 4096];
        loop {
            let length = ears.recv(&mut told);
            let length =
                length.unwrap_or_else(|why| panic!("a daemon is not ready: {why}\n{}", read(&at("log"))));
            if String::from_utf8_lossy(&told[..length]).contains("READY=1") {
                break;
            }
        }
        let ready = started.elapsed();
        let raw = host.namespace.inside(Raw::open);
        Self { running, socket: at("socket"), log: at("log"), raw, started, ready }
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.running.id()
    }

    /// The processor time that its threads have used so far.
    pub(crate) fn used(&self) -> Used {
        Used::so_far(self.process())
    }

    /// Waits until so many routes of its are in the kernel, and returns when that was asked which found them.
    pub(crate) fn wait_for_routes(&mut self, routes: usize) -> Instant {
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let there = self.raw.count(ROUTE_PROTOCOL);
            if there == routes {
                return asked;
            }
            assert!(begun.elapsed() < PATIENCE, "{there} of {routes} routes are there\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Has daemons look into the store, as `ipvland sync` does, until each has so many routes in its kernel.
    pub(crate) fn settle(daemons: &mut [&mut Self], routes: usize) {
        let begun = Instant::now();
        loop {
            daemons.iter().for_each(|daemon| daemon.sync());
            let there: Vec<_> = daemons.iter_mut().map(|daemon| daemon.raw.count(ROUTE_PROTOCOL)).collect();
            if there.iter().all(|there| *there == routes) {
                return;
            }
            let logs: Vec<_> = daemons.iter().map(|daemon| daemon.log()).collect();
            assert!(
                begun.elapsed() < PATIENCE,
                "{there:?} of {routes} routes are there\n{}",
                logs.join("\n\n")
            );
            thread::sleep(SETTLING);
        }
    }

    /// Has it make a network with a subnet, which it publishes, as Docker asks for it.
    pub(crate) fn create_network(&self, number: usize, subnet: IpNet) {
        let request = json!({
            "NetworkID": format!("{number:064x}"),
            "Options": { "com.docker.network.generic": { "parent": LINK, "ipvlan_mode": "l3" } },
            "IPv4Data": [{ "AddressSpace": "LocalDefault", "Gateway": "", "Pool": subnet }],
            "IPv6Data": [],
        });
        self.post("/NetworkDriver.CreateNetwork", &request.to_string());
    }

    /// Has it remove a network.
    pub(crate) fn delete_network(&self, number: usize) {
        let request = json!({ "NetworkID": format!("{number:064x}") });
        self.post("/NetworkDriver.DeleteNetwork", &request.to_string());
    }

    /// Has it look into the store, as `ipvland sync` does.
    pub(crate) fn sync(&self) {
        self.post("/sync", "");
    }

    fn post(&self, path: &str, body: &str) {
        let mut stream = UnixStream::connect(&self.socket).expect("the daemon's socket");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: ipvland\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}\n{}", self.log());
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }
}

fn read(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
