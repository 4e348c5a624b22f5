//! Many hosts at once: no record is lost.

use std::{path::Path, time::Instant};

use ipvland_store::{Snapshot, StoreExt as _, transact::Retry};
use serde_json::json;
use servers::git::{HttpServer, Repositories, repository::Bare};

use crate::host::{Host, put};

/// Publishes one record as the daemon does; returns how often it tried.
async fn publish(host: Host, number: usize) -> usize {
    let mut attempts = 0;
    let edit = |_: &Snapshot| {
        attempts += 1;
        Ok(Some(put(&format!("10.1.1.{number}.json"), &number.to_string())))
    };
    host.store.transact(Retry::default(), edit).await.unwrap();
    attempts
}

async fn all_publish(hosts: usize, repo: &str, bare: &Bare) {
    let start = Instant::now();
    let tasks: Vec<_> = (1..=hosts)
        .map(|number| tokio::spawn(publish(Host::open(number, repo, json!({})), number)))
        .collect();
    let mut attempts = 0;
    for task in tasks {
        attempts += task.await.unwrap();
    }
    println!("{hosts} hosts, {attempts} attempts, {:?}", start.elapsed());
    assert_eq!(bare.records("main").len(), hosts);
    for number in 1..=hosts {
        assert_eq!(bare.file("main", &format!("endpoints/10.1.1.{number}.json")), number.to_string());
    }
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), hosts.to_string());
    assert_eq!(bare.git(&["rev-list", "--min-parents=2", "main"]), "");
    bare.git(&["fsck", "--strict"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_hosts_publish_over_http() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    all_publish(50, &server.full_url("overlay.git"), &bare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_hosts_publish_into_one_directory() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let path: &Path = &bare.path;
    all_publish(50, path.to_str().unwrap(), &bare).await;
}
