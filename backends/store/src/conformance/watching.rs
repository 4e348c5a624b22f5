//! Cases of watch and follow while the store is well.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Fixture, Host,
    steps::{key, put},
};
use crate::{Batch, Nudge, Snapshot, StoreExt};

pub(super) async fn a_watch_ends_at_the_snapshot(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let from = b.snapshot().await;
    let watcher = tokio::spawn({
        let wanted = (0..10).step_by(2).map(|n| (key(&format!("k{n}")), "1".into())).collect();
        async move { b.watch_until(from, &wanted).await }
    });
    for n in 0..10 {
        a.write(put(&format!("k{n}"), "1")).await;
    }
    // The even ones alone are never there before the last step.
    let odd = (1..10).step_by(2);
    a.write(odd.fold(Batch::new("remove odd"), |batch, n| batch.remove(key(&format!("k{n}"))))).await;
    let seen = watcher.await.expect("the watcher");
    let snapshot = a.snapshot().await;
    assert_eq!((seen.revision, seen.strays), (snapshot.revision, snapshot.strays));
}

pub(super) async fn a_watch_sees_another_handles_commit(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let from = b.snapshot().await;
    let watcher = tokio::spawn(async move { b.watch_until(from, &[(key("a"), "1".into())].into()).await });
    // So that the watcher is waiting when the commit comes.
    sleep(Duration::from_millis(50)).await;
    let revision = a.write(put("a", "1")).await;
    assert_eq!(watcher.await.expect("the watcher").revision, revision);
}

pub(super) async fn a_watch_resumes_from_an_old_revision(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let mut at: Vec<Snapshot> = vec![a.snapshot().await];
    for n in 0..4 {
        a.write(put("a", n.to_string()).put(key(&format!("k{n}")), "1")).await;
        at.push(a.snapshot().await);
    }
    let last = at.last().expect("snapshots").clone();
    // From each revision on, also the empty store's, and by a handle that never saw it.
    for from in at {
        let seen = b.watch_until(from, &last.records).await;
        assert_eq!(seen.revision, last.revision);
    }
}

pub(super) async fn follow_converges_under_concurrent_writers(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let reader = Host::new(fixture, stage.open().await);
    let mut events = reader.store.clone().follow(Nudge::new());
    let mut writers = Vec::new();
    for writer in 0..4 {
        let host = Host::new(fixture, stage.open().await);
        writers.push(tokio::spawn(async move {
            for round in 0..5 {
                host.write(put(&format!("w{writer}"), round.to_string())).await;
            }
        }));
    }
    let wanted = (0..4).map(|writer| (key(&format!("w{writer}")), "4".into())).collect();
    reader.follow_until(&mut events, &mut None, &wanted).await;
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert_eq!(reader.snapshot().await.records, wanted);
}
