//! One host with its store, as the daemon would open it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use ipvland_store::{
    Batch, EndpointStore, Event, Key, Nudge, OpenContext, Registry, Result, Retry, Revision, Snapshot,
    StoreExt as _, Writer,
};
use serde_json::{Value, json};
use servers::etcd::{Cluster, PASSWORD, USER};
use tokio::time::timeout;

/// A host.
pub(crate) struct Host(pub(crate) Arc<dyn EndpointStore>);

/// Opens a store by its kind, from a table of the config file.
pub(crate) async fn open(table: Value) -> Result<Arc<dyn EndpointStore>> {
    let mut registry = Registry::new();
    ipvland_store_etcd::register(&mut registry);
    let context = OpenContext {
        state_dir: "/nonexistent".into(),
        writer: Writer { name: "web-1".into(), address: "10.1.1.1".into() },
        nudge: Nudge::new(),
    };
    registry.open("etcd", table, context).await
}

/// Returns the table of a cluster without a password or TLS.
pub(crate) fn table(cluster: &Cluster) -> Value {
    json!({ "endpoints": cluster.urls(), "timeout": "1s" })
}

/// Returns the table of a cluster with both.
pub(crate) fn secured(cluster: &Cluster) -> Value {
    json!({
        "endpoints": cluster.urls(), "timeout": "2s", "username": USER, "password": PASSWORD,
        "ca_file": cluster.file("ca.pem"), "cert_file": cluster.file("client.pem"),
        "key_file": cluster.file("client.key"),
    })
}

impl Host {
    pub(crate) async fn open(table: Value) -> Self {
        Self(open(table).await.unwrap())
    }

    pub(crate) async fn at(cluster: &Cluster) -> Self {
        Self::open(table(cluster)).await
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.0.snapshot().await.unwrap()
    }

    /// Writes a batch, however often it takes.
    pub(crate) async fn write(&self, batch: Batch) -> Revision {
        let retry = Retry { deadline: Some(Duration::from_secs(60)), ..quick() };
        self.0.transact(retry, |_| Ok(Some(batch.clone()))).await.unwrap()
    }

    pub(crate) fn follow(&self) -> Follower {
        Follower { events: self.0.clone().follow(Nudge::new()), model: None, resets: 0, errors: Vec::new() }
    }
}

pub(crate) fn quick() -> Retry {
    Retry { base: Duration::from_millis(20), cap: Duration::from_millis(500), deadline: None }
}

/// Who follows a store, and what came of it.
pub(crate) struct Follower {
    events: BoxStream<'static, Result<Event>>,
    pub(crate) model: Option<Snapshot>,
    pub(crate) resets: usize,
    pub(crate) errors: Vec<String>,
}

impl Follower {
    /// Reads until a record has these bytes, or is not there.
    pub(crate) async fn until(&mut self, name: &str, wanted: Option<&str>) {
        let key = key(name);
        self.until_records(|records| {
            records.get(&key).map(|bytes| &bytes[..]) == wanted.map(|text| text.as_bytes())
        })
        .await;
    }

    /// Reads until the store was away and is back.
    pub(crate) async fn until_back(&mut self) {
        let back = timeout(Duration::from_secs(60), async {
            let before = self.errors.len();
            loop {
                match self.events.next().await.unwrap() {
                    Ok(Event::Delta(delta)) => self.model.as_mut().unwrap().apply(&delta),
                    Ok(Event::Reset(_)) => panic!("a reset that nothing asked for"),
                    Err(error) => {
                        self.errors.push(format!("{error:?}"));
                        continue;
                    }
                }
                if self.errors.len() > before {
                    return;
                }
            }
        });
        back.await.expect("the store comes back");
    }

    /// Reads until the records are as they should be.
    pub(crate) async fn until_records(&mut self, is_so: impl Fn(&BTreeMap<Key, Bytes>) -> bool) {
        let reached = timeout(Duration::from_secs(60), async {
            while !self.model.as_ref().is_some_and(|model| is_so(&model.records)) {
                match self.events.next().await.unwrap() {
                    Ok(Event::Reset(snapshot)) => {
                        self.resets += 1;
                        self.model = Some(snapshot);
                    }
                    Ok(Event::Delta(delta)) => self.model.as_mut().unwrap().apply(&delta),
                    Err(error) => self.errors.push(format!("{error:?}")),
                }
            }
        });
        let is_reached = reached.await.is_ok();
        assert!(is_reached, "it never came; errors: {:?}; now: {:?}", self.errors, self.model);
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

pub(crate) fn put(name: &str, text: &str) -> Batch {
    Batch::new(format!("web publishes {name}")).put(key(name), text.to_owned())
}

pub(crate) fn remove(name: &str) -> Batch {
    Batch::new(format!("web removes {name}")).remove(key(name))
}
