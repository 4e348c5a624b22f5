//! Members that die, hang or lose their leader while hosts write and follow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use ipvland_store::{Remedy, Snapshot, StoreExt as _};
use serde_json::json;
use servers::etcd::Cluster;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::host::{Host, key, put, quick, table};

const WRITERS: usize = 3;

/// Starts writers that append to one record what only they write, until they are told to stop. Each returns how much.
fn start_writers(
    cluster: &Arc<Cluster>,
    stop: &Arc<AtomicBool>,
    landed: &Arc<AtomicUsize>,
) -> JoinSet<usize> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (cluster, stop, landed) = (cluster.clone(), stop.clone(), landed.clone());
        writers.spawn(async move {
            let host = Host::at(&cluster).await;
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let mark = format!("{writer}.{round};");
                let edit = |snapshot: &Snapshot| {
                    let log = snapshot.records.get("log").map(|bytes| bytes.to_vec()).unwrap_or_default();
                    let log = String::from_utf8(log).unwrap();
                    let is_there = log.split_inclusive(';').any(|known| known == mark);
                    Ok((!is_there).then(|| {
                        let own = key(&format!("own-{writer}"));
                        put("log", &format!("{log}{mark}")).put(own, mark.clone())
                    }))
                };
                host.0.transact(quick(), edit).await.unwrap();
                landed.fetch_add(1, Ordering::Relaxed);
                round += 1;
                sleep(Duration::from_millis(30)).await;
            }
            round
        });
    }
    writers
}

/// Waits until so many more writes landed.
async fn until_more_land(landed: &AtomicUsize, more: usize) {
    let wanted = landed.load(Ordering::Relaxed) + more;
    let reached = timeout(Duration::from_secs(30), async {
        while landed.load(Ordering::Relaxed) < wanted {
            sleep(Duration::from_millis(20)).await;
        }
    });
    reached.await.expect("writing goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_killed_and_paused_in_turn_lose_nothing() {
    let cluster = Arc::new(Cluster::three());
    let (stop, landed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writers = start_writers(&cluster, &stop, &landed);
    let mut follower = Host::at(&cluster).await.follow();
    until_more_land(&landed, 10).await;
    for victim in 0..3 {
        cluster.kill(victim);
        until_more_land(&landed, 10).await;
        cluster.revive(victim);
        cluster.pause(victim);
        until_more_land(&landed, 10).await;
        cluster.resume(victim);
        cluster.wait_until_it_serves(victim);
    }
    // The leader, whichever it is now: dead, then deaf.
    let leader = cluster.leader(0);
    cluster.kill(leader);
    until_more_land(&landed, 10).await;
    cluster.revive(leader);
    let leader = cluster.leader(leader);
    cluster.pause(leader);
    until_more_land(&landed, 10).await;
    cluster.resume(leader);
    stop.store(true, Ordering::Relaxed);
    let mut rounds = Vec::new();
    while let Some(round) = writers.join_next().await {
        rounds.push(round.unwrap());
    }
    let snapshot = Host::at(&cluster).await.snapshot().await;
    let log = String::from_utf8(snapshot.records[&key("log")].to_vec()).unwrap();
    let entries: Vec<_> = log.split_terminator(';').collect();
    assert_eq!(entries.len(), rounds.iter().sum::<usize>(), "an entry was lost or written twice: {log}");
    for writer in 0..WRITERS {
        let own = entries.iter().filter_map(|entry| entry.strip_prefix(&format!("{writer}.")));
        let numbers: Vec<usize> = own.map(|number| number.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len()), "writer {writer} is out of order: {log}");
    }
    follower.until_records(|records| *records == snapshot.records).await;
    assert_eq!(follower.resets, 1, "no history was lost: {:?}", follower.errors);
}

#[tokio::test]
async fn a_member_that_hangs_costs_one_time_out() {
    let cluster = Cluster::three();
    let host = Host::at(&cluster).await;
    host.write(put("a", "1")).await;
    for victim in 0..3 {
        cluster.pause(victim);
        // A first call may find a leader that is deaf; that the next ones don't is what counts.
        host.write(put("a", &victim.to_string())).await;
        let began = Instant::now();
        for round in 0..5 {
            host.write(put("b", &format!("{victim}.{round}"))).await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?} with member {victim} paused",
            began.elapsed()
        );
        cluster.resume(victim);
        cluster.wait_until_it_serves(victim);
    }
}

#[tokio::test]
async fn a_watch_at_a_member_that_hangs_is_noticed_and_goes_on_elsewhere() {
    let cluster = Cluster::three();
    let writer = Host::at(&cluster).await;
    writer.write(put("a", "1")).await;
    let mut follower = Host::at(&cluster).await.follow();
    follower.until("a", Some("1")).await;
    for victim in 0..3 {
        cluster.pause(victim);
        let text = format!("without {victim}");
        writer.write(put("a", &text)).await;
        let began = Instant::now();
        follower.until("a", Some(&text)).await;
        // Sooner than the pings of HTTP/2, which etcd allows every five seconds at most.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        cluster.resume(victim);
        cluster.wait_until_it_serves(victim);
    }
    assert_eq!(follower.resets, 1, "{:?}", follower.errors);
}

#[tokio::test]
async fn without_a_majority_it_is_away_and_comes_back() {
    let cluster = Cluster::three();
    let host = Host::at(&cluster).await;
    let base = host.write(put("a", "1")).await;
    let mut deltas = host.0.watch(base.clone());
    let reading = tokio::spawn(async move { deltas.next().await });
    cluster.kill(0);
    cluster.kill(1);
    let snapshot = host.0.snapshot().await.unwrap_err();
    let commit = host.0.commit(&base, put("a", "2")).await.unwrap_err();
    let watch = reading.await.unwrap().unwrap().unwrap_err();
    for error in [snapshot, commit, watch] {
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    }
    cluster.launch(0);
    host.write(put("a", "3")).await;
    assert_eq!(host.snapshot().await.records[&key("a")], "3");
}

#[tokio::test]
async fn a_dead_first_endpoint_is_passed_over_at_once() {
    let cluster = Cluster::one();
    let dead = servers::process::free_port();
    let endpoints = format!("http://127.0.0.1:{dead},{}", cluster.url(0));
    let began = Instant::now();
    // Hosts start anywhere in the list, so some of these start at the dead one.
    for number in 0..8 {
        let host = Host::open(json!({ "endpoints": endpoints, "timeout": "20s" })).await;
        let base = host.snapshot().await.revision;
        let fresh = Host::open(json!({ "endpoints": endpoints, "timeout": "20s" })).await;
        fresh.0.commit(&base, put("a", &number.to_string())).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let lonely = json!({ "endpoints": [format!("http://127.0.0.1:{dead}")] });
    let error = Host::open(lonely).await.0.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert_eq!(Host::open(table(&cluster)).await.snapshot().await.records.len(), 1);
}
