//! The store as the daemon opens it: by kind, from the table of the config file.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{
    EndpointStore, Event, Nudge, OpenContext, Registry, Remedy, Result, StoreExt as _, Writer,
};
use serde_json::{Value, json};

use crate::host::{Host, Share, key};

async fn open(table: Value, state: &std::path::Path) -> Result<Arc<dyn EndpointStore>> {
    let mut registry = Registry::new();
    ipvland_store_filesystem::register(&mut registry);
    let context = OpenContext {
        state_dir: state.join("store"),
        writer: Writer { name: "web-1".into(), address: "10.1.1.1".into() },
        nudge: Nudge::new(),
    };
    registry.open("filesystem", table, context).await
}

#[tokio::test]
async fn a_fleet_is_followed_by_a_store_of_the_registry() {
    let (share, state) = (Share::new(), tempfile::tempdir().unwrap());
    let store = open(json!({ "path": share.path(), "interval": "50ms" }), state.path()).await.unwrap();
    let mut events = store.follow(Nudge::new());
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first, Event::Reset(snapshot) if snapshot.records.is_empty()));
    Host::at(&share.path()).publish("a", "1").await;
    let told = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(told, Event::Delta(delta) if delta.changes.contains_key(&key("a"))));
}

#[tokio::test]
async fn wrong_settings_are_sentences() {
    let state = tempfile::tempdir().unwrap();
    for (table, words) in [
        (json!({}), "store.filesystem has no path"),
        (json!({ "path": "srv/net" }), "store.filesystem.path \"srv/net\" is no absolute path"),
        (json!({ "path": 1 }), "store.filesystem.path must be"),
        (json!({ "path": "/x", "interval": "soon" }), "store.filesystem.interval \"soon\""),
        (json!({ "path": "/x", "timeout": "0s" }), "store.filesystem.timeout \"0s\""),
        (json!({ "pth": "/x" }), "unknown key store.filesystem.pth (known: interval, path, timeout)"),
    ] {
        let error = open(table, state.path()).await.err().unwrap();
        assert_eq!(error.remedy(), Remedy::GiveUp);
        assert!(error.to_string().contains(words), "{error}");
    }
}
