//! Branches that go on, and branches that are taken back or rewritten.

use std::time::Duration;

use futures::StreamExt as _;
use ipvland_store::{Batch, Delta, EndpointStore as _, Error, Remedy, Revision};
use serde_json::json;
use servers::git::Repositories;
use tokio::time::timeout;

use crate::host::{Host, key, put};

async fn next(host: &Host, after: &Revision) -> Result<Delta, Error> {
    let mut watch = host.store.watch(after.clone());
    timeout(Duration::from_secs(10), watch.next()).await.expect("an item in 10 s").expect("an item")
}

#[tokio::test]
async fn a_watch_tells_what_changed() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let host = Host::at(1, &bare.path);
    let empty = host.snapshot().await;
    bare.commit("main", &[("endpoints/a", "1"), ("endpoints/b", "1"), ("endpoints/.x", "")]);
    let first = next(&host, &empty.revision).await.unwrap();
    assert_eq!(first.changes.len(), 2);
    assert_eq!(first.strays.len(), 1);

    // Two commits merge into one delta; what didn't change isn't told.
    bare.commit("main", &[("endpoints/a", "2"), ("endpoints/b", "1"), ("endpoints/c", "1")]);
    bare.commit("main", &[("endpoints/b", "1"), ("endpoints/c", "2"), ("README", "")]);
    let second = next(&host, &first.revision).await.unwrap();
    let told: Vec<_> = second.changes.iter().map(|(key, change)| (key.as_str(), change.as_deref())).collect();
    assert_eq!(told, [("a", None), ("c", Some(b"2".as_slice()))]);
    assert!(second.strays.is_empty());

    let mut applied = empty;
    applied.apply(&first);
    applied.apply(&second);
    assert_eq!(applied, host.snapshot().await);
}

#[tokio::test]
async fn a_nudge_makes_it_look_at_once() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/a", "1")]);
    let host = Host::open(1, bare.path.to_str().unwrap(), json!({ "interval": "1h" }));
    let at = host.snapshot().await.revision;
    let mut watch = host.store.watch(at);
    let looking = tokio::spawn(async move { watch.next().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    bare.commit("main", &[("endpoints/a", "2")]);
    host.nudge.wake();
    let delta = timeout(Duration::from_secs(5), looking).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(delta.changes[&key("a")].as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn rewritten_history_starts_over() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let one = bare.commit("main", &[("endpoints/a", "1")]);
    let host = Host::at(1, &bare.path);
    let at = host.snapshot().await.revision;

    let tree = bare.git(&["rev-parse", "main^{tree}"]);
    let other = bare.commit_tree("main", &tree, None);
    let rewritten = if other == one {
        // Within one second the same commit comes out: make a second one, then cut its root off.
        bare.commit("main", &[("endpoints/a", "2")]);
        let tree = bare.git(&["rev-parse", "main^{tree}"]);
        bare.commit_tree("main", &tree, None)
    } else {
        other
    };
    let error = next(&host, &at).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::StartOver);
    let text = error.to_string();
    assert!(text.contains("main") && text.contains(&one[..10]) && text.contains(&rewritten[..10]), "{text}");

    let again = host.snapshot().await;
    assert_eq!(again.revision.as_str(), rewritten);
    // A commit on the old history is a lost race.
    let error = host.store.commit(&at, put("b", "1")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
}

#[tokio::test]
async fn a_revision_that_nobody_knows_starts_over() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/a", "1")]);
    let host = Host::at(1, &bare.path);
    for unknown in ["0123456789012345678901234567890123456789", "not a commit"] {
        let error = next(&host, &Revision::new(unknown)).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
        let error = host.store.commit(&Revision::new(unknown), put("b", "1")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    }
}

#[tokio::test]
async fn a_branch_that_was_taken_back_is_not_brought_back() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let one = bare.commit("main", &[("endpoints/a", "1")]);
    bare.commit("main", &[("endpoints/a", "1"), ("endpoints/withdrawn", "1")]);
    let host = Host::at(1, &bare.path);
    let at = host.snapshot().await.revision;
    bare.git(&["update-ref", "refs/heads/main", &one]);
    let error = host.store.commit(&at, put("b", "1")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    assert_eq!(bare.tip("main"), Some(one));
    assert_eq!(next(&host, &at).await.unwrap_err().remedy(), Remedy::StartOver);
    host.publish("b", "1").await;
    assert_eq!(bare.records("main"), ["a", "b"]);
}

#[tokio::test]
async fn a_branch_that_was_deleted_starts_over() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/a", "1")]);
    let host = Host::at(1, &bare.path);
    let at = host.snapshot().await.revision;
    bare.git(&["update-ref", "-d", "refs/heads/main"]);
    assert_eq!(next(&host, &at).await.unwrap_err().remedy(), Remedy::StartOver);
    let empty = host.snapshot().await;
    assert!(empty.records.is_empty());
    host.commit(&empty.revision, Batch::new("again").put(key("a"), "2")).await;
    assert_eq!(bare.records("main"), ["a"]);
}
