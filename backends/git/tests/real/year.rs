//! A year of changes: what it leaves on a host's disk.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{EndpointStore as _, Error, Event, Remedy, Revision, Snapshot, StoreExt as _};
use serde_json::json;
use servers::git::{HttpServer, Repositories, SshServer, repository::Bare};
use tokio::time::timeout;

use crate::{
    fleet,
    host::{Host, key, put},
    relay::Relay,
};

/// Returns the bytes that a folder takes on the disk.
fn size(path: &Path) -> u64 {
    if !path.is_dir() {
        return path.metadata().unwrap().blocks() * 512;
    }
    fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum()
}

const MIB: u64 = 1 << 20;

/// Commits changes of this many days: fifty each, at hosts by turns, each with much that is new.
fn days(bare: &Bare, from: usize, days: usize) {
    let noise = |seed: usize| {
        let mut random = fastrand::Rng::with_seed(seed as u64);
        (0..900).map(|_| random.alphanumeric()).collect::<String>()
    };
    let commits: Vec<_> = (from * 50..(from + days) * 50)
        .map(|change| {
            let host = change * 7 % 300;
            vec![(fleet::name(host), format!("{}{}", fleet::record(host, change), noise(change)))]
        })
        .collect();
    fleet::import(bare, &commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_changes_is_kept_in_bounds_and_followed_without_a_gap() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    fleet::publish_all(&bare, 300);
    let url = server.full_url("overlay.git");
    let host = Host::open(1, &url, json!({ "interval": "1h" }));
    let mut events = Arc::clone(&host.store).follow(host.nudge.clone());
    let mut seen = match events.next().await.unwrap().unwrap() {
        Event::Reset(snapshot) => snapshot,
        Event::Delta(_) => panic!("a delta of nothing"),
    };
    let (mut most, mut shrank, mut last) = (0, 0, 0);
    for fortnight in 0..26 {
        days(&bare, fortnight * 14, 14);
        host.nudge.wake();
        let event = timeout(Duration::from_secs(120), events.next()).await.unwrap().unwrap().unwrap();
        match event {
            Event::Delta(delta) => seen.apply(&delta),
            Event::Reset(_) => panic!("fortnight {fortnight} was not a part of the history"),
        }
        let now = size(host.state.path());
        shrank += usize::from(now < last);
        (most, last) = (most.max(now), now);
    }
    drop(events);
    println!("at most {} KiB, at the server {} KiB", most >> 10, size(&bare.path) >> 10);
    assert!(most < 20 * MIB, "{most} bytes");
    assert!(shrank > 0, "the year was too small to show anything");
    assert_eq!(host.snapshot().await, seen);
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "18201");

    // What is left is enough to write, and nothing of the server's history is harmed.
    host.publish("10.1.1.1.json", "one").await;
    // A new host fetches no history at all, and writes as well.
    let new = Host::open(2, &url, json!({}));
    assert_eq!(new.snapshot().await.records.len(), 301);
    let clone = Bare { path: new.clone_dir() };
    assert_eq!(clone.git(&["rev-list", "--count", "refs/remotes/origin/main"]), "1");
    assert!(size(&clone.path) < MIB, "{} bytes", size(&clone.path));
    new.publish("10.1.1.2.json", "two").await;
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "18203");
    bare.git(&["fsck", "--strict", "--connectivity-only"]);
}

async fn watch_once(host: &Host, after: &Revision) -> Result<Snapshot, Error> {
    let mut watch = host.store.watch(after.clone());
    let delta = timeout(Duration::from_secs(120), watch.next()).await.unwrap().unwrap()?;
    Ok(Snapshot { revision: delta.revision, records: Default::default(), strays: delta.strays })
}

/// Follows, writes and meets a rewritten history with a clone that has none of the old one.
async fn a_clone_without_history_is_a_full_member(bare: &Bare, one: &Host, two: &Host) {
    for change in 0..5 {
        bare.commit("main", &[("endpoints/a", &change.to_string()), ("README", "x")]);
    }
    let (first, early) = (one.snapshot().await, two.snapshot().await.revision);
    let clone = Bare { path: one.clone_dir() };
    assert_eq!(clone.git(&["rev-list", "--count", "refs/remotes/origin/main"]), "1");
    let mut base = first.revision.clone();
    for change in 0..3 {
        base = one.commit(&base, put("10.1.1.1.json", &change.to_string())).await;
    }
    // The other sees it go on, and so does who looks from where the own clone begins.
    assert_eq!(watch_once(two, &early).await.unwrap().revision, base);
    assert_eq!(watch_once(one, &first.revision).await.unwrap().revision, base);
    two.publish("10.1.1.2.json", "two").await;
    assert_eq!(bare.records("main"), ["10.1.1.1.json", "10.1.1.2.json", "a"]);
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "9");
    bare.git(&["fsck", "--strict"]);

    // From a commit that was before the clone, the history is fetched to tell whether the branch went on.
    let old = Revision::new(bare.git(&["rev-parse", "main~7"]));
    let tip = bare.git(&["rev-parse", "main"]);
    assert_eq!(watch_once(two, &old).await.unwrap().revision.as_str(), tip);

    let at = one.snapshot().await.revision;
    // Taken back to a commit that the clone has never seen.
    bare.git(&["update-ref", "refs/heads/main", old.as_str()]);
    assert_eq!(watch_once(one, &at).await.unwrap_err().remedy(), Remedy::StartOver);
    let error = one.store.commit(&at, put("b", "1")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    one.publish("b", "1").await;
    // Written anew from nothing.
    let at = two.snapshot().await.revision;
    let tree = bare.git(&["rev-parse", "main^{tree}"]);
    bare.commit_tree("main", &tree, None);
    assert_eq!(watch_once(two, &at).await.unwrap_err().remedy(), Remedy::StartOver);
    two.publish("b", "2").await;
    assert_eq!(bare.records("main"), ["a", "b"]);
    bare.git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn a_clone_without_history_is_a_full_member_over_http() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let host = |number| Host::open(number, &server.full_url("overlay.git"), json!({}));
    a_clone_without_history_is_a_full_member(&bare, &host(1), &host(2)).await;
}

#[tokio::test]
async fn a_clone_without_history_is_a_full_member_over_ssh() {
    let server = SshServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let settings = json!({ "ssh_key": server.key("key"), "known_hosts": server.known_hosts("host_key") });
    let host = |number| Host::open(number, &server.url("overlay.git"), settings.clone());
    a_clone_without_history_is_a_full_member(&bare, &host(1), &host(2)).await;
}

#[tokio::test]
async fn a_server_that_can_not_leave_history_out_is_read_with_it() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    for change in 0..5 {
        bare.commit("main", &[("endpoints/a", &change.to_string())]);
    }
    let relay = Relay::start(&server, |bytes| {
        let word = b" shallow ";
        if let Some(at) = bytes.windows(word.len()).position(|part| part == word) {
            bytes[at + 1] = b'x';
        }
    });
    let host = Host::open(1, &relay.url("overlay.git"), json!({}));
    assert_eq!(host.snapshot().await.records[&key("a")], "4");
    host.snapshot().await;
    let clone = Bare { path: host.clone_dir() };
    assert_eq!(clone.git(&["rev-list", "--count", "refs/remotes/origin/main"]), "5");
    host.publish("b", "1").await;
    assert_eq!(bare.records("main"), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_on_this_host_is_not_copied() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    fleet::publish_all(&bare, 300);
    days(&bare, 0, 7);
    let host = Host::at(1, &bare.path);
    assert_eq!(host.snapshot().await.records.len(), 300);
    assert!(size(host.state.path()) < MIB / 8, "{} bytes", size(host.state.path()));
    // What is written there is here for a while, and no longer.
    let one = host.publish("10.1.1.1.json", "one").await;
    leave_much(&host);
    let mut base = one;
    for change in 0..20 {
        base = host.commit(&base, put("10.1.1.1.json", &change.to_string())).await;
    }
    host.snapshot().await;
    assert!(size(host.state.path()) < MIB / 8, "{} bytes", size(host.state.path()));
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "372");
}

/// Leaves in the clone what fetches that were broken off leave.
fn leave_much(host: &Host) {
    fs::write(host.clone_dir().join("objects/pack/pack_git2_left"), vec![1; 20 << 20]).unwrap();
}

#[tokio::test]
async fn a_clone_is_written_anew_without_the_server_and_without_a_gap() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    fleet::publish_all(&bare, 300);
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let mut revisions = vec![host.snapshot().await.revision];
    for change in 0..40 {
        let base = revisions.last().unwrap();
        revisions.push(host.commit(base, put("10.1.1.1.json", &change.to_string())).await);
    }
    leave_much(&host);
    server.set_away(true);
    // Its size is looked at when the store is opened, and every few changes.
    let (url, state) = (server.full_url("overlay.git"), Arc::clone(&host.state));
    drop(host);
    let host = Host::try_open(1, json!({ "repo": url }), state).unwrap();
    // Once a call was answered: the next one waits for that.
    for _ in 0..2 {
        assert_eq!(host.store.snapshot().await.unwrap_err().remedy(), Remedy::RetryLater);
    }
    assert!(size(host.state.path()) < MIB, "{} bytes", size(host.state.path()));
    let clone = Bare { path: host.clone_dir() };
    clone.git(&["fsck", "--strict"]);
    server.set_away(false);
    let other = Host::open(2, &server.full_url("overlay.git"), json!({}));
    let tip = other.publish("10.1.1.2.json", "two").await;
    // Also who is a few commits behind goes on.
    for before in &revisions[30..] {
        assert_eq!(watch_once(&host, before).await.unwrap().revision, tip);
    }
    // And who is far behind, for whom the history is fetched.
    assert_eq!(watch_once(&host, &revisions[1]).await.unwrap().revision, tip);
    host.publish("10.1.1.1.json", "again").await;
    bare.git(&["fsck", "--strict"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_its_own_is_packed_and_keeps_all_of_its_history() {
    let state = Arc::new(tempfile::tempdir().unwrap());
    let host = Host::try_open(1, json!({}), Arc::clone(&state)).unwrap();
    let bare = Bare { path: state.path().join("store/repository.git") };
    let mut base = host.snapshot().await.revision;
    for change in 0..300 {
        base = host.commit(&base, put("10.1.1.1.json", &fleet::record(1, change))).await;
    }
    // Four objects a commit.
    let loose: usize = bare.git(&["count-objects"]).split(' ').next().unwrap().parse().unwrap();
    assert!(loose < 1_000, "{loose} loose objects");
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "300");
    assert_eq!(bare.git(&["show", "main~200:endpoints/10.1.1.1.json"]) + "\n", fleet::record(1, 99));
    bare.git(&["fsck", "--strict"]);
    let again = Host::try_open(1, json!({}), state).unwrap();
    assert_eq!(again.snapshot().await.records[&key("10.1.1.1.json")], fleet::record(1, 299));
}
