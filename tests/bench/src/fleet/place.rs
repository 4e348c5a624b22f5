//! The stores of a fleet, with so many records in them.

use std::{path::Path, process::Command, sync::Arc};

use ipnet::IpNet;
use ipvland_store::{EndpointStore, Key, Nudge};
use serde_json::{Value, json};
use servers::{
    etcd::{Cluster, Setup},
    git::HttpServer,
    process::run,
};

use super::segment::SERVER;
use crate::{
    route::{address, prefix},
    subject,
};

/// A server that fleets keep their records on.
pub(crate) enum Shop {
    /// nginx and git http-backend.
    Git(HttpServer),
    /// One member of etcd.
    Etcd(Cluster),
}

/// A store, as the table of a config file has it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The kind.
    pub(crate) kind: &'static str,
    /// The kind's table.
    pub(crate) table: Value,
}

impl Shop {
    /// Starts nginx and git http-backend.
    pub(crate) fn git() -> Self {
        Self::Git(HttpServer::start_for_hosts())
    }

    /// Starts etcd.
    pub(crate) fn etcd() -> Self {
        Self::Etcd(Cluster::start(Setup { for_hosts: true, ..Setup::default() }))
    }

    /// Makes a store of so many records.
    pub(crate) async fn place(&self, name: &str, records: usize) -> Place {
        if let Self::Git(server) = self {
            server.repositories.create(name, "main");
        }
        let place = self.named(name);
        place.fill(records).await;
        if let Self::Git(server) = self {
            // As a server's own housekeeping leaves it.
            let bare = server.repositories.folder().join(name);
            run(Command::new("git").arg("--git-dir").arg(bare).args(["gc", "--quiet"]));
        }
        place
    }

    /// Makes a copy of a repository, so that who works on one moves nothing for who works on the other.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Place {
        let Self::Git(server) = self else { panic!("only repositories are copied") };
        let folder = server.repositories.folder();
        run(Command::new("cp").arg("-a").arg(folder.join(from)).arg(folder.join(to)));
        self.named(to)
    }

    /// Names a store that may be empty.
    pub(crate) fn named(&self, name: &str) -> Place {
        match self {
            Self::Git(server) => {
                let url = server.full_url(name).replace("127.0.0.1", &SERVER.to_string());
                // Nobody is to see a change because it was time to look.
                Place { kind: "git", table: json!({ "repo": url, "interval": "1h" }) }
            }
            Self::Etcd(cluster) => {
                let endpoint = cluster.url(0).replace("127.0.0.1", &SERVER.to_string());
                Place {
                    kind: "etcd",
                    table: json!({ "endpoints": [endpoint], "prefix": format!("/{name}") }),
                }
            }
        }
    }
}

impl Place {
    async fn fill(&self, records: usize) {
        let state = tempfile::tempdir().expect("a directory");
        let (store, _) = self.open(state.path(), "filler").await;
        subject::fill(&*store, records, key, |number| record(number, 0)).await;
    }

    /// Opens it without a daemon.
    pub(crate) async fn open(&self, state: &Path, name: &str) -> (Arc<dyn EndpointStore>, Nudge) {
        subject::open(self.kind, self.table.clone(), state, name).await
    }
}

/// Returns the key of a host of the fleet.
pub(crate) fn key(number: usize) -> Key {
    Key::parse(&format!("{}.json", address(number))).expect("an address is a key")
}

/// Returns a host's record, as the daemon writes it; `round` changes it, and no route.
pub(crate) fn record(number: usize, round: usize) -> String {
    record_of(number, round, &[prefix(number)])
}

/// Returns a host's record with these prefixes.
pub(crate) fn record_of(number: usize, round: usize, prefixes: &[IpNet]) -> String {
    let address = address(number);
    let record = json!({
        "version": 1,
        "host": address,
        "id": format!("{number:032x}"),
        "name": if round == 0 { format!("web-{number}") } else { format!("web-{number}-{round}") },
        "next_hops": [address],
        "networks": [{ "name": "blue", "prefixes": prefixes }],
        "underlay": { "kind": "direct" },
        "meta": {},
    });
    serde_json::to_string_pretty(&record).expect("a record is JSON") + "\n"
}
