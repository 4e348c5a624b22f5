//! Two stores in memory, and what is done between them.

mod copying;
mod showing;
mod swap;
mod trouble;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use ipvland_store::{Batch, EndpointStore, Key, MemoryStore, Snapshot, StoreExt as _, transact::Retry};

use super::{open::Opened, sync::Records, *};
use crate::record::Record;

const ID: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_ID: &str = "22222222-2222-4222-8222-222222222222";

fn key(host: &str) -> Key {
    Record::key(host.parse().unwrap())
}

fn record(host: &str, id: &str, prefix: &str) -> Bytes {
    let text = format!(
        r#"{{"version": 1, "host": "{host}", "id": "{id}", "name": "n", "next_hops": ["{host}"],
        "networks": [{{"name": "blue", "prefixes": ["{prefix}"]}}]}}"#
    );
    Bytes::from(text)
}

/// Two stores, and the state directory of the host that copies.
struct Two {
    from: MemoryStore,
    to: MemoryStore,
    state: tempfile::TempDir,
}

const A: &str = "10.1.1.48";
const B: &str = "10.1.1.51";
const C: &str = "10.1.1.52";

async fn change(store: &MemoryStore, host: &str, bytes: Option<Bytes>) {
    let edit = |_: &Snapshot| {
        let mut batch = Batch::new("a host");
        batch.changes.insert(key(host), bytes.clone());
        Ok(Some(batch))
    };
    store.transact(Retry::default(), edit).await.unwrap();
}

async fn records(store: &MemoryStore) -> Records {
    store.snapshot().await.unwrap().records
}

impl Two {
    /// A source with three hosts, and a target without any.
    async fn new() -> Self {
        let two =
            Self { from: MemoryStore::new(), to: MemoryStore::new(), state: tempfile::tempdir().unwrap() };
        for (host, prefix) in [(A, "10.1.48.0/24"), (B, "10.1.51.0/24"), (C, "10.1.52.0/24")] {
            change(&two.from, host, Some(record(host, ID, prefix))).await;
        }
        two
    }

    async fn copy(&self, order: Order) -> (String, bool, Vec<String>) {
        copy_between(Arc::new(self.from.clone()), Arc::new(self.to.clone()), self.state.path(), order)
            .await
            .unwrap()
    }

    /// The other direction.
    async fn copy_back(&self) -> String {
        let (from, to) = (Arc::new(self.to.clone()), Arc::new(self.from.clone()));
        let (from, to) =
            (Opened::of(from, "etcd", self.state.path()), Opened::of(to, "git", self.state.path()));
        copy::copy(&from, &to, Order::default(), &mut |_| {}).await.unwrap().words
    }
}

async fn copy_between(
    from: Arc<dyn EndpointStore>,
    to: Arc<dyn EndpointStore>,
    state: &Path,
    order: Order,
) -> std::result::Result<(String, bool, Vec<String>), Trouble> {
    let (from, to) = (Opened::of(from, "git", state), Opened::of(to, "etcd", state));
    let mut lines = Vec::new();
    let copied = copy::copy(&from, &to, order, &mut |line| lines.push(line.to_owned())).await?;
    Ok((copied.words, copied.complete, lines))
}

const PLAIN: Order = Order { dry_run: false, prune: false, force: false };
const PRUNE: Order = Order { prune: true, ..PLAIN };
const FORCE: Order = Order { force: true, ..PLAIN };
