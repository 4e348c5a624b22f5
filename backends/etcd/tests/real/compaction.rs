//! History that etcd compacted away.

use std::time::Duration;

use futures::StreamExt as _;
use ipvland_store::Remedy;
use servers::etcd::Cluster;
use tokio::time::timeout;

use crate::host::{Host, put, remove};

#[tokio::test]
async fn a_follower_that_was_away_gets_a_reset() {
    let cluster = Cluster::one();
    let (writer, reader) = (Host::at(&cluster).await, Host::at(&cluster).await);
    writer.write(put("a", "1").put(crate::host::key("b"), "1")).await;
    let mut follower = reader.follow();
    follower.until("a", Some("1")).await;
    // Not read on for a while, which is what an outage looks like to a watch whose member then dies.
    cluster.kill(0);
    cluster.revive(0);
    writer.write(put("a", "2")).await;
    writer.write(remove("b")).await;
    cluster.compact();
    writer.write(put("a", "3")).await;
    cluster.kill(0);
    cluster.revive(0);
    follower.until("a", Some("3")).await;
    assert!(follower.resets >= 2, "{} resets, {:?}", follower.resets, follower.errors);
    assert_eq!(follower.model.unwrap(), writer.snapshot().await);
}

#[tokio::test]
async fn a_quiet_store_that_is_compacted_is_watched_on() {
    let cluster = Cluster::one();
    let (writer, reader) = (Host::at(&cluster).await, Host::at(&cluster).await);
    let old = writer.write(put("a", "1")).await;
    let mut follower = reader.follow();
    follower.until("a", Some("1")).await;
    // Others write, and all that was before is compacted away, twice.
    for _ in 0..2 {
        cluster.put(b"/others/key", b"x");
        cluster.compact();
    }
    assert_eq!(writer.snapshot().await.revision, old, "others' keys are none of ours");
    // A handle that read the revision before, one that never did, and a follower whose watch is cut.
    let strangers = [Host::at(&cluster).await, reader];
    let mut watches = strangers.iter().map(|host| host.0.watch(old.clone())).collect::<Vec<_>>();
    for watch in &mut watches {
        let quiet = timeout(Duration::from_millis(500), watch.next()).await;
        assert!(quiet.is_err(), "nothing changed, and a watch tells {quiet:?}");
    }
    cluster.kill(0);
    cluster.revive(0);
    follower.until_back().await;
    let new = writer.write(put("a", "2")).await;
    follower.until("a", Some("2")).await;
    assert_eq!(follower.resets, 1, "{:?}", follower.errors);
    assert_eq!(follower.model.unwrap().revision, new);
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_starts_over() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    let empty = host.snapshot().await.revision;
    let old = host.write(put("a", "1")).await;
    host.write(put("a", "2")).await;
    cluster.compact();
    for revision in [empty, old] {
        let mut deltas = host.0.watch(revision);
        let error = deltas.next().await.unwrap().unwrap_err();
        assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
        assert!(error.to_string().contains("compacted"), "{error}");
        assert!(deltas.next().await.is_none());
    }
}

/// Older etcds leave out what was deleted at the revision that they were compacted to.
#[tokio::test]
async fn a_removal_at_the_compacted_revision_is_not_missed() {
    let cluster = Cluster::one();
    let (writer, reader) = (Host::at(&cluster).await, Host::at(&cluster).await);
    for by_hand in [false, true] {
        let before = writer.write(put("a", "1").put(crate::host::key("b"), "1")).await;
        // So that this handle knows the revision, and watches from there without reading.
        assert_eq!(reader.snapshot().await.revision, before);
        if by_hand {
            cluster.delete("/ipvland/endpoints/b");
        } else {
            writer.write(remove("b")).await;
        }
        cluster.ctl(None, &["compact", "--physical", &cluster.revision().to_string()]);
        let item = timeout(Duration::from_secs(10), reader.0.watch(before).next()).await;
        match item.expect("the removal is told").unwrap() {
            Ok(delta) => assert_eq!(delta.changes, [(crate::host::key("b"), None)].into()),
            Err(error) => assert_eq!(error.remedy(), Remedy::StartOver, "{error}"),
        }
    }
}
