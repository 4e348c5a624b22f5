//! Many hosts at once: no record is lost.

use std::{
    path::Path,
    time::{Duration, Instant},
};

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

/// Lets so many hosts publish at once; returns how often each tried on average.
async fn all_publish(hosts: usize, repo: &str, bare: &Bare) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (1..=hosts)
        .map(|number| tokio::spawn(publish(Host::open(number, repo, json!({})), number)))
        .collect();
    let mut attempts = 0;
    for task in tasks {
        attempts += task.await.unwrap();
    }
    let each = attempts as f64 / hosts as f64;
    println!("{hosts} hosts, {each:.1} attempts each, {:?}", start.elapsed());
    assert_eq!(bare.records("main").len(), hosts);
    for number in 1..=hosts {
        assert_eq!(bare.file("main", &format!("endpoints/10.1.1.{number}.json")), number.to_string());
    }
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), hosts.to_string());
    assert_eq!(bare.git(&["rev-list", "--min-parents=2", "main"]), "");
    bare.git(&["fsck", "--strict"]);
    each
}

/// Returns how long one host needs to publish when it's alone.
async fn alone(repo: &str) -> Duration {
    let host = Host::open(0, repo, json!({}));
    let mut took = Vec::new();
    for round in 0..9 {
        let start = Instant::now();
        host.publish("10.1.1.0.json", &round.to_string()).await;
        took.push(start.elapsed());
    }
    took.sort();
    took[4]
}

/// How many hosts publish at once over HTTP, unless the environment variable of that name says another number.
const CROWD: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_publishes_over_http_in_a_few_attempts_each() {
    let hosts = std::env::var("CROWD").map_or(CROWD, |text| text.parse().unwrap());
    let server = HttpServer::start();
    server.repositories.create("alone.git", "main");
    let ideal = alone(&server.full_url("alone.git")).await;
    let bare = server.repositories.create("overlay.git", "main");
    let start = Instant::now();
    let each = all_publish(hosts, &server.full_url("overlay.git"), &bare).await;
    let times = start.elapsed().as_secs_f64() / (ideal.as_secs_f64() * hosts as f64);
    println!("one alone {ideal:?}; {times:.1} times as long as one after the other");
    // Of a build without optimizations, whose clients take as much of the processors as the server does.
    assert!(each <= 8.0, "{each} attempts each");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_hosts_publish_into_one_directory() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let path: &Path = &bare.path;
    all_publish(50, path.to_str().unwrap(), &bare).await;
}
