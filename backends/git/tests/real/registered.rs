//! The store as the daemon opens it: by kind, from the table of the config file, and followed.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{
    EndpointStore, Event, Nudge, OpenContext, Registry, Remedy, Result, Snapshot, StoreExt as _, Writer,
};
use serde_json::{Value, json};
use servers::git::{HttpServer, http::PASSWORD};
use tokio::time::timeout;

use crate::host::key;

async fn open(table: Value, state: &std::path::Path) -> Result<Arc<dyn EndpointStore>> {
    let mut registry = Registry::new();
    ipvland_store_git::register(&mut registry);
    let context = OpenContext {
        state_dir: state.join("store"),
        writer: Writer { name: "web-1".into(), address: "10.1.1.1".into() },
        nudge: Nudge::new(),
    };
    registry.open("git", table, context).await
}

#[tokio::test]
async fn a_fleet_is_followed_through_an_outage_and_a_rewrite() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/a", "1")]);
    let state = tempfile::tempdir().unwrap();
    let table = json!({ "repo": server.full_url("overlay.git"), "interval": "50ms" });
    let store = open(table, state.path()).await.unwrap();
    let mut events = Arc::clone(&store).follow(Nudge::new());

    let mut seen = Snapshot::empty(ipvland_store::Revision::new(""));
    let mut resets = 0;
    let mut errors = Vec::new();
    let mut expect = async |wanted: &str, text: &str| {
        let reached = timeout(Duration::from_secs(20), async {
            loop {
                match events.next().await.unwrap() {
                    Ok(Event::Reset(snapshot)) => {
                        resets += 1;
                        seen = snapshot;
                    }
                    Ok(Event::Delta(delta)) => seen.apply(&delta),
                    Err(error) => errors.push(error.to_string()),
                }
                if seen.records.get(&key(wanted)).is_some_and(|bytes| bytes == text) {
                    return resets;
                }
            }
        });
        reached.await.unwrap_or_else(|_| panic!("{wanted} never came"))
    };
    assert_eq!(expect("a", "1").await, 1);
    bare.commit("main", &[("endpoints/a", "2"), ("endpoints/b", "1")]);
    assert_eq!(expect("b", "1").await, 1);

    // The repository is away for a while.
    let hidden = bare.path.with_extension("hidden");
    std::fs::rename(&bare.path, &hidden).unwrap();
    let back = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::rename(&hidden, &bare.path).unwrap();
        bare.commit("main", &[("endpoints/a", "3")]);
        bare
    });
    expect("a", "3").await;
    let bare = back.await.unwrap();

    // Somebody rewrites the history.
    rewrite(&bare);
    let after = expect("a", "4").await;
    assert!(after >= 2, "{after} resets");
}

/// Replaces the branch by one unrelated commit.
fn rewrite(bare: &servers::git::repository::Bare) {
    let blob = bare.blob(b"4");
    let folder = bare.tree(&[("100644", "blob", blob, b"a")]);
    let tree = bare.tree(&[("040000", "tree", folder, b"endpoints")]);
    bare.commit_tree("main", &tree, None);
}

#[tokio::test]
async fn wrong_settings_are_sentences_without_their_values() {
    let state = tempfile::tempdir().unwrap();
    for (table, words) in [
        (json!({ "brnach": "main" }), "unknown key store.git.brnach (known: branch, ca_file, client_cert"),
        (json!({ "interval": "soon" }), "store.git.interval \"soon\""),
        (json!({ "branch": "a..b" }), "store.git.branch"),
        (json!({ "repo": [PASSWORD] }), "store.git.repo must be"),
        (json!({ "password": { "x": PASSWORD } }), "store.git.password must be"),
        (json!({ "repo": format!("ftp://me:{PASSWORD}@git.example/x") }), "store.git.repo"),
        (json!({ "repo": "git.example/x.git" }), "store.git.repo"),
        (json!({ "password": PASSWORD, "password_file": "/x" }), "both password and password_file"),
    ] {
        let error = open(table, state.path()).await.err().unwrap();
        assert_eq!(error.remedy(), Remedy::GiveUp);
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
    }
}
