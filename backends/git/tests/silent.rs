//! Servers that take a connection and then say nothing. In a process of its own, because libgit2 has one time-out for all.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use ipvland_store::{EndpointStore, Nudge, OpenContext, Remedy, Writer};
use ipvland_store_git::{GitStore, Settings};
use serde_json::json;

fn open(repo: &str, state: &std::path::Path) -> Arc<GitStore> {
    let settings: Settings = serde_json::from_value(json!({ "repo": repo, "timeout": "300ms" })).unwrap();
    let context = OpenContext {
        state_dir: state.join("store"),
        writer: Writer { name: "web-1".into(), address: "10.1.1.1".into() },
        nudge: Nudge::new(),
    };
    Arc::new(GitStore::open(&settings, context).unwrap())
}

#[tokio::test]
async fn a_silent_server_is_away() {
    // The kernel takes connections for a listener that nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "https", "ssh"] {
        let state = tempfile::tempdir().unwrap();
        let store = open(&format!("{scheme}://{address}/overlay.git"), state.path());
        let start = Instant::now();
        let error = store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RetryLater, "{scheme}: {error}");
        assert!(start.elapsed() < Duration::from_secs(3), "{scheme} took {:?}: {error}", start.elapsed());
        println!("{scheme} {:?} {error}", start.elapsed());
    }
}

#[tokio::test]
async fn callers_who_wait_for_each_other_wait_no_longer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = tempfile::tempdir().unwrap();
    let store = open(&format!("http://{address}/overlay.git"), state.path());
    let start = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.snapshot().await.unwrap_err().remedy() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Remedy::RetryLater);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_host_that_is_not_there_is_away() {
    let state = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("http://127.0.0.1:{port}/x.git"), "http://nowhere.invalid/x.git".into()] {
        let error = open(&url, state.path()).snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    }
}
