//! A real redis-server with a password, on a loopback address of its own, stopped when dropped.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use ipvland_redis::{RedisStore, Settings};
use ipvland_store::Writer;
use redis::{Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

/// The server's password.
pub const SECRET: &str = "geheim-4711";

/// What the server is to do, besides what each test needs: keep what it acknowledged.
const KEEPS: &str = "appendonly yes\nappendfsync always\nsave \"\"\n";

/// A port that no server of the machine's own listens at.
const PORT: u16 = 27379;

/// A server, and what it wrote.
pub struct RedisServer {
    dir: TempDir,
    pub address: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts a server.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a server with further lines of its config file.
    pub fn with(more: &str) -> Self {
        // A server that comes back needs its address again, so no other test may have got it meanwhile.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 1 + high % 250, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "bind {ip}\nport {PORT}\ndir {0}\nlogfile {0}/log\nrequirepass {SECRET}\n{KEEPS}{more}",
            dir.path().display()
        );
        fs::write(dir.path().join("redis.conf"), config).unwrap();
        let address = SocketAddr::new(IpAddr::V4(ip), PORT);
        let server = Self { dir, address, child: Mutex::default() };
        server.come_back();
        server
    }

    /// Starts the server, or starts it again.
    pub fn come_back(&self) {
        let mut child = self.child.lock().unwrap();
        let started =
            Command::new("redis-server").arg(self.dir.path().join("redis.conf")).stdin(Stdio::null()).spawn();
        *child = Some(started.expect("redis-server is missing: apt-get install redis-server"));
        let begun = Instant::now();
        while self.try_ask::<String>(&redis::cmd("PING")).is_err() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(child.as_mut().unwrap().try_wait().unwrap().is_none(), "redis-server ended: {log}");
            assert!(begun.elapsed() < Duration::from_secs(20), "redis-server doesn't answer: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the server as a crash does.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the server from answering, its connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        kill_process(Pid::from_child(child.as_ref().unwrap()), signal).unwrap();
    }

    /// Sends a command as an operator would.
    pub fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).unwrap()
    }

    fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let url = format!("redis://:{SECRET}@{}/", self.address);
        let mut connection = redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        command.query(&mut connection)
    }

    /// Returns the store's settings, with what a test wants otherwise.
    pub fn settings(&self, otherwise: serde_json::Value) -> Settings {
        let mut table = json!({ "address": self.address, "password": SECRET, "timeout_ms": 1000 });
        table.as_object_mut().unwrap().extend(otherwise.as_object().unwrap().clone());
        table.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        serde_json::from_value(table).unwrap()
    }

    /// Opens the store as a host of this name.
    pub fn open(&self, name: &str, otherwise: serde_json::Value) -> RedisStore {
        let writer = Writer { name: name.to_owned(), address: "10.1.1.48".to_owned() };
        RedisStore::new(self.settings(otherwise), writer).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
