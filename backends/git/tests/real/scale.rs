//! Ten thousand records in one repository.

use std::{fs, time::Duration};

use futures::StreamExt as _;
use ipvland_store::EndpointStore as _;
use serde_json::json;
use servers::git::{HttpServer, repository::Bare};
use tokio::time::timeout;

use crate::{
    fleet,
    host::{Host, key},
    relay::Relay,
};

const HOSTS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_without_change_moves_as_much_at_any_size_and_reads_no_object() {
    let server = HttpServer::start();
    let relay = Relay::start(&server, |_| {});
    let mut moved = Vec::new();
    for (name, hosts) in [("small.git", 10), ("large.git", HOSTS)] {
        let bare = server.repositories.create(name, "main");
        fleet::publish_all(&bare, hosts);
        let host = Host::open(1, &relay.url(name), json!({ "interval": "1h" }));
        let snapshot = host.snapshot().await;
        assert_eq!(snapshot.records.len(), hosts);
        relay.settled().await;

        let objects = host.clone_dir().join("objects");
        let away = objects.with_extension("away");
        fs::rename(&objects, &away).unwrap();
        fs::create_dir(&objects).unwrap();
        let mut watch = host.store.watch(snapshot.revision);
        let mut looking = tokio::spawn(async move { watch.next().await });
        // One look as the watch begins, and one for each nudge.
        for _ in 0..3 {
            moved.push(relay.settled().await);
            assert!(timeout(Duration::ZERO, &mut looking).await.is_err(), "the poll needed an object");
            host.nudge.wake();
        }
        relay.settled().await;
        assert_eq!(fs::read_dir(&objects).unwrap().count(), 0);

        fs::remove_dir(&objects).unwrap();
        fs::rename(&away, &objects).unwrap();
        fleet::import(&bare, &[vec![(fleet::name(3), fleet::record(3, 1))]]);
        host.nudge.wake();
        let delta = timeout(Duration::from_secs(120), looking).await.unwrap().unwrap().unwrap().unwrap();
        assert_eq!(delta.changes.len(), 1);
        relay.settled().await;
    }
    println!("a poll moves {} bytes", moved[0]);
    assert!(moved.iter().all(|bytes| *bytes == moved[0]), "{moved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_among_many_decodes_one_record() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    fleet::publish_all(&bare, HOSTS);
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let before = host.snapshot().await;
    assert_eq!(before.records.len(), HOSTS);

    // The other records' bytes go, so that reading any of them fails, and so does measuring it.
    let clone = Bare { path: host.clone_dir() };
    let packs = clone.path.join("objects/pack");
    let away = clone.path.join("away");
    fs::rename(&packs, &away).unwrap();
    fs::create_dir(&packs).unwrap();
    for file in fs::read_dir(&away).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "pack") {
            clone.git_with(&["unpack-objects", "-q"], &fs::read(file).unwrap());
        }
    }
    let changed = fleet::name(3);
    let mut gone = 0;
    for line in bare.git(&["ls-tree", "main:endpoints"]).lines() {
        let (found, name) = line.split_once('\t').unwrap();
        let id = found.rsplit(' ').next().unwrap();
        if name != changed {
            fs::remove_file(clone.path.join(format!("objects/{}/{}", &id[..2], &id[2..]))).unwrap();
            gone += 1;
        }
    }
    assert_eq!(gone, HOSTS - 1);

    let new = fleet::record(3, 1);
    fleet::import(&bare, &[vec![(changed.clone(), new.clone())]]);
    let mut watch = host.store.watch(before.revision.clone());
    let delta = timeout(Duration::from_secs(120), watch.next()).await.unwrap().unwrap().unwrap();
    let told: Vec<_> = delta.changes.iter().collect();
    assert_eq!(told, [(&key(&changed), &Some(new.into()))]);
    drop(watch);
    assert!(away.exists(), "the clone was made again");

    // A whole snapshot misses them, and gets them again.
    let mut after = before;
    after.apply(&delta);
    assert_eq!(host.snapshot().await, after);
}
