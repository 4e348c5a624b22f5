//! The program runs the daemon with the store, on a real kernel in a network namespace of its own. Needs root.

#[path = "../../namespace/mod.rs"]
mod namespace;
mod program;
mod server;

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ipvland_redis::RedisStore;
use ipvland_store::{Batch, EndpointStore, Key, Retry, Snapshot, StoreExt};
use namespace::ip;
use program::{Setup, parts};
use serde_json::{Value, json};
use server::{RedisServer, SECRET};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(15);

/// Waits until something is there, and returns it.
async fn soon<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The daemon, or another program; it is killed where a test ends before it.
struct Daemon(Child);

impl Daemon {
    fn start(setup: &Setup) -> Self {
        // The log goes to the test's own stderr, which is shown when it fails.
        Self(setup.program(&["run"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Sends SIGTERM, and returns how long the daemon took to end well.
    async fn end(mut self) -> Duration {
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = soon("the daemon ends", async || self.0.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
        begun.elapsed()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where it has ended, both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

async fn write(store: &RedisStore, batch: Batch) {
    store.transact(Retry::default(), |_: &Snapshot| Ok(Some(batch.clone()))).await.unwrap();
}

fn web_2(prefix: &str) -> Batch {
    let record = json!({
        "version": 1, "host": "10.1.1.51", "name": "web-2", "next_hops": ["10.1.1.51"],
        "networks": [{ "name": "blue", "prefixes": [prefix] }], "underlay": { "kind": "direct" },
    });
    Batch::new(format!("web-2 publishes {prefix}")).put(key("10.1.1.51.json"), record.to_string())
}

fn our_routes() -> Vec<String> {
    ip("-o route show proto 214").lines().map(str::to_owned).collect()
}

async fn only_route(begins: &str) {
    let what = format!("the only route of ours is {begins}");
    soon(&what, async || matches!(&*our_routes(), [route] if route.starts_with(begins)).then_some(())).await;
}

#[test]
fn records_of_the_store_become_routes_and_this_hosts_record_gets_there() {
    namespace::run("records_of_the_store_become_routes_and_this_hosts_record_gets_there", || async {
        ip("link set lo up");
        ip("link add eth2 type veth peer name far");
        ip("address add 10.1.1.48/24 dev eth2");
        ip("link set far up");
        ip("link set eth2 up");
        let server = RedisServer::start();
        let setup = Setup::new(server.address, SECRET);
        let store = server.open("web-2", json!({}));
        write(&store, web_2("10.1.51.0/24")).await;
        let daemon = Daemon::start(&setup);

        // What was there at the start, and what this host has to tell.
        only_route("10.1.51.0/24 via 10.1.1.51 dev eth2").await;
        let own = soon("the record of web-1", async || {
            store.snapshot().await.unwrap().records.get("10.1.1.48.json").cloned()
        })
        .await;
        let bytes = own.clone();
        let own: Value = serde_json::from_slice(&own).unwrap();
        assert_eq!((&own["name"], &own["host"]), (&json!("web-1"), &json!("10.1.1.48")), "{own}");
        assert_eq!(own["networks"][0]["prefixes"], json!(["10.1.48.0/24"]), "{own}");

        let status = soon("the daemon is healthy", async || {
            let (code, out, _) = parts(&setup.program(&["status", "-o", "json"]).output().unwrap());
            (code == 0).then(|| serde_json::from_str::<Value>(&out).unwrap())
        })
        .await;
        assert_eq!((&status["healthy"], &status["store"]["kind"]), (&json!(true), &json!("redis")));
        assert_eq!(status["store"]["location"], json!(server.address), "{status}");
        assert_eq!(status["published"]["state"], "published", "{status}");
        assert!(!status.to_string().contains(SECRET), "{status}");

        // What changes and goes.
        write(&store, web_2("10.1.52.0/24")).await;
        only_route("10.1.52.0/24 via 10.1.1.51 dev eth2").await;
        write(&store, Batch::new("web-2 leaves").remove(key("10.1.1.51.json"))).await;
        soon("no route of ours is left", async || our_routes().is_empty().then_some(())).await;

        write(&store, web_2("10.1.53.0/24")).await;
        only_route("10.1.53.0/24 via 10.1.1.51 dev eth2").await;

        // Who can't leave stays whole: no route goes, not even for a moment.
        let another = String::from_utf8(bytes.to_vec()).unwrap();
        let another = another.replace(own["id"].as_str().unwrap(), "22222222-2222-4222-8222-222222222222");
        write(&store, Batch::new("by hand").put(key("10.1.1.48.json"), another)).await;
        let monitor = Command::new("ip").args(["monitor", "route"]).stdout(Stdio::piped()).spawn();
        let mut monitor = Daemon(monitor.expect("ip, of the package iproute2"));
        let (code, out, err) = parts(&setup.program(&["leave"]).output().unwrap());
        assert_eq!(code, 1, "{out}{err}");
        assert!(err.contains("10.1.1.48.json is not this machine's record"), "{err}");
        write(&store, Batch::new("by hand").put(key("10.1.1.48.json"), bytes).remove(key("10.1.1.51.json")))
            .await;
        soon("no route of ours is left", async || our_routes().is_empty().then_some(())).await;
        write(&store, web_2("10.1.53.0/24")).await;
        only_route("10.1.53.0/24 via 10.1.1.51 dev eth2").await;
        monitor.0.kill().unwrap();
        let mut seen = String::new();
        monitor.0.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
        let changes: Vec<_> = seen.lines().filter(|line| line.contains("10.1.53.0/24")).collect();
        assert_eq!(changes.len(), 2, "removed and added once, by the store: {changes:?}");

        let took = daemon.end().await;
        assert!(took < Duration::from_secs(3), "SIGTERM took {took:?}");
        assert_eq!(our_routes().len(), 1, "routes stay when the daemon ends");
        assert!(
            store.snapshot().await.unwrap().records.contains_key("10.1.1.48.json"),
            "and so does the record"
        );

        let (code, out, err) = parts(&setup.program(&["leave"]).output().unwrap());
        assert_eq!(code, 0, "{out}{err}");
        let left = store.snapshot().await.unwrap().records;
        assert_eq!(left.keys().map(Key::as_str).collect::<Vec<_>>(), ["10.1.1.51.json"]);
        assert!(our_routes().is_empty(), "{:?}", our_routes());
    });
}
