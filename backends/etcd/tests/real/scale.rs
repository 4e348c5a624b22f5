//! Many records, large ones, and batches that etcd does not take.

use std::time::{Duration, Instant};

use ipvland_store::{Batch, MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MAX_RECORD_BYTES, Remedy};
use servers::etcd::Cluster;

use crate::host::{Host, key, put};

#[tokio::test]
async fn ten_thousand_records_are_read_and_followed() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    let mut base = host.snapshot().await.revision;
    for chunk in 0..100 {
        let batch = (0..MAX_BATCH_CHANGES).fold(Batch::new("a hundred"), |batch, number| {
            batch.put(key(&format!("{chunk}.{number}.json")), format!("{{\"record\": {number}}}"))
        });
        base = host.0.commit(&base, batch).await.unwrap();
    }
    let reader = Host::at(&cluster).await;
    let began = Instant::now();
    let snapshot = reader.snapshot().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((snapshot.records.len(), &snapshot.revision), (10_000, &base));
    let mut follower = reader.follow();
    follower.until("99.99.json", Some("{\"record\": 99}")).await;
    host.write(put("new", "1")).await;
    follower.until("new", Some("1")).await;
    assert_eq!(follower.resets, 1);
}

#[tokio::test]
async fn no_message_limit_is_met() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    let before = host.snapshot().await;
    // Ten times what a gRPC client takes in one message by default, in 640 of the largest records.
    let large = vec![b'x'; MAX_RECORD_BYTES];
    for chunk in 0..80 {
        let batch = (0..MAX_BATCH_BYTES / MAX_RECORD_BYTES).fold(Batch::new("large ones"), |batch, n| {
            batch.put(key(&format!("{chunk}.{n}")), large.clone())
        });
        host.write(batch).await;
    }
    let after = host.snapshot().await;
    assert_eq!(after.records.len(), 640);
    assert!(after.records.values().all(|bytes| bytes.len() == MAX_RECORD_BYTES));
    // As well by a watch that starts far behind, and is told of many revisions at once.
    let late = Host::at(&cluster).await;
    let mut model = before;
    let mut deltas = late.0.watch(model.revision.clone());
    while model.revision != after.revision {
        let delta = futures::StreamExt::next(&mut deltas).await.unwrap().unwrap();
        model.apply(&delta);
    }
    assert!(model == after, "a watch and a snapshot disagree");
}

#[tokio::test]
async fn the_largest_batch_lands_and_what_etcd_refuses_is_a_sentence() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    let many = |count: usize, bytes: usize| {
        (0..count).fold(Batch::new("many"), |batch, number| {
            batch.put(key(&format!("{}{number}", "k".repeat(120))), vec![b'x'; bytes])
        })
    };
    let largest = many(MAX_BATCH_CHANGES, MAX_BATCH_BYTES / MAX_BATCH_CHANGES);
    let base = host.write(largest).await;
    for (batch, words) in [
        (many(200, 1), "at most 100 records at once, or raise --max-txn-ops"),
        (many(30, MAX_RECORD_BYTES), "at most 524288 bytes at once, or raise --max-request-bytes"),
        (many(90, MAX_RECORD_BYTES), "at most 524288 bytes at once, or raise --max-request-bytes"),
    ] {
        let error = host.0.commit(&base, batch).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(host.snapshot().await.revision, base);
    host.write(put("after", "1")).await;
}
