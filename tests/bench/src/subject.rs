//! The stores, each on a real server.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use ipvland_store::{
    Batch, EndpointStore, Key, MAX_BATCH_CHANGES, MemoryStore, Nudge, OpenContext, Retry, Snapshot,
    StoreExt as _, Writer,
};
use serde_json::{Value, json};
use servers::{
    etcd::Cluster,
    git::{HttpServer, Repositories},
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::peer::{BareEtcd, Files, GitProgram, Peer};

/// One store to time.
pub(crate) struct Subject {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    server: Server,
    /// Places that hold so many records already.
    filled: Mutex<BTreeMap<usize, Arc<Place>>>,
}

enum Server {
    Memory,
    GitPath(Repositories),
    GitHttp(HttpServer),
    Etcd(Cluster),
    Filesystem(TempDir),
}

type Start = fn() -> Server;

/// One store of a server: a repository, a prefix, a directory.
pub(crate) struct Place {
    /// The kind, as in a config file.
    pub(crate) kind: &'static str,
    /// The table, as in a config file.
    pub(crate) table: Value,
    /// The store itself, where only this process has it.
    own: Option<MemoryStore>,
    peer: Option<Box<dyn Peer>>,
}

/// Starts the servers of the stores that are asked for, or of all.
pub(crate) fn all(only: &[String]) -> Vec<Subject> {
    let kinds: [(&str, Start); 5] = [
        ("memory", || Server::Memory),
        ("filesystem", || Server::Filesystem(tempfile::tempdir().expect("a directory"))),
        ("etcd", || Server::Etcd(Cluster::three())),
        ("git-path", || Server::GitPath(Repositories::default())),
        ("git-http", || Server::GitHttp(HttpServer::start())),
    ];
    let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let chosen = kinds.into_iter().filter(|(name, _)| wanted(name));
    let chosen: Vec<_> =
        chosen.map(|(name, start)| Subject { name, server: start(), filled: Mutex::default() }).collect();
    assert!(!chosen.is_empty(), "no store has such a name");
    chosen
}

impl Subject {
    /// Whether other processes reach it.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.server, Server::Memory)
    }

    /// Gives a place with so many records; an empty one is new each time.
    pub(crate) async fn fresh(&self, size: usize) -> Arc<Place> {
        let mut filled = self.filled.lock().await;
        if let Some(place) = filled.get(&size).filter(|_| size > 0) {
            return Arc::clone(place);
        }
        let place = Arc::new(self.place().await);
        place.fill(size).await;
        filled.insert(size, Arc::clone(&place));
        place
    }

    async fn place(&self) -> Place {
        let name = format!("place-{:08x}", number_of_place());
        let place = |kind, table, peer| Place { kind, table, own: None, peer: Some(peer) };
        match &self.server {
            Server::Memory => {
                Place { kind: "memory", table: json!({}), own: Some(MemoryStore::new()), peer: None }
            }
            Server::GitPath(repositories) => {
                let url = repositories.create(&name, "main").path.display().to_string();
                place("git", json!({ "repo": url, "interval": "1h" }), Box::new(GitProgram::new(url)) as _)
            }
            Server::GitHttp(server) => {
                server.repositories.create(&name, "main");
                let url = server.full_url(&name);
                place("git", json!({ "repo": url, "interval": "1h" }), Box::new(GitProgram::new(url)))
            }
            Server::Etcd(cluster) => {
                let prefix = format!("/{name}");
                let table = json!({ "endpoints": cluster.urls(), "prefix": prefix });
                place("etcd", table, Box::new(BareEtcd::new(cluster.urls(), prefix).await))
            }
            Server::Filesystem(folder) => {
                let path = folder.path().join(name);
                std::fs::create_dir(&path).expect("a directory");
                let table = json!({ "path": path, "interval": "1h" });
                place("filesystem", table, Box::new(Files::new(&path)))
            }
        }
    }
}

/// Fills a store with the records of so many hosts.
pub(crate) async fn fill(
    store: &dyn EndpointStore,
    hosts: usize,
    key: impl Fn(usize) -> Key,
    record: impl Fn(usize) -> String,
) {
    for first in (0..hosts).step_by(MAX_BATCH_CHANGES) {
        let numbers = first..hosts.min(first + MAX_BATCH_CHANGES);
        let batch = numbers.fold(Batch::new("fill"), |batch, number| batch.put(key(number), record(number)));
        let filled = store.transact(Retry::default(), |_: &Snapshot| Ok(Some(batch.clone()))).await;
        filled.expect("filling a store");
    }
}

/// A number that no other place has.
fn number_of_place() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLACES: AtomicU64 = AtomicU64::new(1);
    PLACES.fetch_add(1, Ordering::Relaxed)
}

impl Place {
    async fn fill(&self, size: usize) {
        let state = tempfile::tempdir().expect("a directory");
        let store = self.open_in(state.path(), "filler").await;
        fill(&*store, size, key, |number| record(number, 0)).await;
    }

    /// Opens the store as a host does whose state is in a directory.
    pub(crate) async fn open_in(&self, state: &Path, name: &str) -> Arc<dyn EndpointStore> {
        self.open_nudged(state, name).await.0
    }

    /// Opens the store with the nudge that wakes it.
    pub(crate) async fn open_nudged(&self, state: &Path, name: &str) -> (Arc<dyn EndpointStore>, Nudge) {
        match &self.own {
            Some(own) => (Arc::new(own.clone()), Nudge::new()),
            None => open(self.kind, self.table.clone(), state, name).await,
        }
    }

    /// Reads the whole store, and counts.
    pub(crate) async fn records(&self, store: &dyn EndpointStore) -> usize {
        store.snapshot().await.expect("a snapshot").records.len()
    }

    /// What the store is held against.
    pub(crate) fn peer(&self) -> Option<&dyn Peer> {
        self.peer.as_deref()
    }
}

/// Opens a store by its kind and table, as the daemon does.
pub(crate) async fn open(
    kind: &str,
    table: Value,
    state: &Path,
    name: &str,
) -> (Arc<dyn EndpointStore>, Nudge) {
    let nudge = Nudge::new();
    let context = OpenContext {
        state_dir: state.join("store"),
        writer: Writer { name: name.to_owned(), address: "10.1.1.1".to_owned() },
        nudge: nudge.clone(),
    };
    let opened = ipvland_backends::registry().open(kind, table, context).await;
    (opened.unwrap_or_else(|why| panic!("{kind} does not open: {why}")), nudge)
}

/// Returns the key of a host.
pub(crate) fn key(number: usize) -> Key {
    let name = format!("10.{}.{}.{}.json", 1 + number / 62_500, number / 250 % 250, 1 + number % 250);
    Key::parse(&name).expect("an address is a key")
}

/// Returns a host's record, as the daemon writes it; `round` changes it.
pub(crate) fn record(number: usize, round: usize) -> String {
    let address = key(number).as_str().trim_end_matches(".json").to_owned();
    let record = json!({
        "version": 1,
        "host": address,
        "id": format!("{number:032x}"),
        "name": format!("web-{number}"),
        "next_hops": [address],
        "networks": [{ "name": "blue", "prefixes": [format!("fd00:{:x}:{round:x}::/64", number)] }],
        "underlay": { "kind": "direct" },
        "meta": {},
    });
    serde_json::to_string_pretty(&record).expect("a record is JSON") + "\n"
}
