//! Cases of commits, one after another and at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use tokio::{sync::Barrier, time::timeout};

use super::{Fixture, Host, steps::key, steps::put};
use crate::{Batch, Remedy, Revision, StoreExt};

pub(super) async fn a_fresh_store_is_empty_and_a_commit_builds_on_it(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let empty = host.snapshot().await;
    assert!(empty.records.is_empty() && empty.strays.is_empty(), "{empty:?}");
    let revision = host.commit(&empty.revision, put("a", "1")).await.expect("the first commit");
    assert_ne!(revision, empty.revision);
    let full = host.snapshot().await;
    assert_eq!(full.revision, revision);
    assert_eq!(full.records, [(key("a"), "1".into())].into());
}

pub(super) async fn a_handle_reads_what_another_wrote(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    for round in 0..6 {
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let value = round.to_string();
        let base = writer.snapshot().await.revision;
        let revision = writer.commit(&base, put("a", value.clone())).await.expect("nobody else writes");
        for host in [writer, reader] {
            let snapshot = host.snapshot().await;
            assert_eq!(snapshot.revision, revision);
            assert_eq!(snapshot.records[&key("a")], value.as_bytes());
        }
    }
}

pub(super) async fn a_batch_is_never_seen_half(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let writer = Host::new(fixture, stage.open().await);
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (reader, done) = (Host::new(fixture, stage.open().await), done.clone());
        readers.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let records = reader.snapshot().await.records;
                assert_eq!(records.get("left"), records.get("right"), "half a batch");
            }
        }));
    }
    for round in 0..20 {
        let value = round.to_string();
        let both = Batch::new("write both").put(key("left"), value.clone()).put(key("right"), value);
        writer.write(if round % 5 == 4 { both.remove(key("left")).remove(key("right")) } else { both }).await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("a reader");
    }
}

pub(super) async fn a_stale_base_conflicts_and_writes_nothing(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    a.write(put("a", "1")).await;
    let stale = b.snapshot().await.revision;
    a.write(put("a", "2")).await;
    // The handle that wrote and the one that has not heard of it answer alike; so do other keys than the written.
    for host in [&b, &a] {
        for batch in [put("a", "3"), put("b", "3"), Batch::new("remove a").remove(key("a"))] {
            let error = host.commit(&stale, batch).await.expect_err("the base is stale");
            assert_eq!(error.remedy(), Remedy::RunAgain, "{error:?}");
        }
    }
    assert_eq!(b.snapshot().await.records, [(key("a"), "2".into())].into());
}

pub(super) async fn a_revision_never_given_out_is_refused_and_writes_nothing(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let base = host.write(put("a", "1")).await;
    // What other stores call their revisions, and what none does.
    for name in ["", "0", "18446744073709551615", &"d".repeat(40), "../a", "HEAD", "never given out"] {
        let invented = Revision::new(name);
        let error = host.commit(&invented, put("a", "2")).await.expect_err("the base is invented");
        assert!(matches!(error.remedy(), Remedy::GiveUp | Remedy::RunAgain), "{name:?}: {error:?}");
        let (error, mut deltas) = host.watch_error(&invented).await;
        assert!(matches!(error.remedy(), Remedy::GiveUp | Remedy::StartOver), "{name:?}: {error:?}");
        assert!(host.within("the end of the stream", deltas.next()).await.is_none(), "the stream must end");
    }
    let snapshot = host.snapshot().await;
    assert_eq!((snapshot.revision, snapshot.records), (base, [(key("a"), "1".into())].into()));
}

pub(super) async fn a_batch_without_effect_makes_no_revision(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let empty = host.snapshot().await.revision;
    assert_eq!(host.commit(&empty, Batch::new("nothing")).await.expect("no change"), empty);
    let base = host.write(put("a", "1")).await;
    for batch in [Batch::new("nothing"), put("a", "1")] {
        assert_eq!(host.commit(&base, batch).await.expect("no change"), base);
    }
    assert_eq!(host.snapshot().await.revision, base);
}

pub(super) async fn removing_an_absent_record_has_no_effect(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let absent = || Batch::new("remove b").remove(key("b"));
    let empty = host.snapshot().await.revision;
    assert_eq!(host.commit(&empty, absent()).await.expect("no change"), empty);
    let base = host.write(put("a", "1")).await;
    assert_eq!(host.commit(&base, absent()).await.expect("no change"), base);
    let revision = host.commit(&base, absent().put(key("c"), "1")).await.expect("half of it has an effect");
    assert_ne!(revision, base);
    assert_eq!(host.snapshot().await.records.len(), 2);
    host.write(Batch::new("remove all").remove(key("a")).remove(key("c"))).await;
    assert!(host.snapshot().await.records.is_empty());
}

pub(super) async fn concurrent_writers_lose_nothing(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    // All start each round together, so that they do collide, however fast the store is.
    let start = Arc::new(Barrier::new(8));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (host, start) = (Host::new(fixture, stage.open().await), start.clone());
        writers.push(tokio::spawn(async move {
            for round in 0..4 {
                start.wait().await;
                // A record of its own, and one that all add to.
                let line = format!("{writer}.{round}\n");
                let edit = |snapshot: &crate::Snapshot| {
                    let shared = snapshot.records.get("shared").cloned().unwrap_or_default();
                    let mut shared = String::from_utf8(shared.to_vec()).expect("text");
                    if !shared.lines().any(|known| known == line.trim_end()) {
                        shared.push_str(&line);
                    }
                    Ok(Some(put(&format!("own-{writer}"), line.clone()).put(key("shared"), shared)))
                };
                host.store.transact(host.retry, edit).await.expect("a transaction under contention");
            }
        }));
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    let records = Host::new(fixture, stage.open().await).snapshot().await.records;
    let mut lines: Vec<_> =
        std::str::from_utf8(&records[&key("shared")]).expect("text").lines().map(str::to_owned).collect();
    lines.sort();
    let all: Vec<_> = (0..8).flat_map(|w| (0..4).map(move |r| format!("{w}.{r}"))).collect();
    assert_eq!(lines, all);
    assert_eq!(records.len(), 9);
    for writer in 0..8 {
        assert_eq!(
            records[&key(&format!("own-{writer}"))],
            format!("{writer}.3\n"),
            "not the last of its writer"
        );
    }
}

pub(super) async fn of_two_first_commits_one_wins_and_both_land(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let (base_a, base_b) = (a.snapshot().await.revision, b.snapshot().await.revision);
    let results = join_all([a.commit(&base_a, put("a", "1")), b.commit(&base_b, put("b", "1"))]).await;
    let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(errors.len(), 1, "one wins: {results:?}");
    assert_eq!(errors[0].remedy(), Remedy::RunAgain, "{errors:?}");
    assert_eq!(a.snapshot().await.records.len(), 1, "the other wrote nothing");
    a.write(put("a", "1")).await;
    b.write(put("b", "1")).await;
    assert_eq!(a.snapshot().await.records.len(), 2);
}

pub(super) async fn a_dropped_commit_is_done_or_not_done(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    // Polls that the commit gets before it's dropped, for stores that work in the caller's task; then milliseconds, for
    // those that work in another.
    let drops = [(0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (1, 5), (1, 10), (1, 20), (1, 40), (1, 80)];
    for (round, (polls, millis)) in drops.into_iter().enumerate() {
        let value = round.to_string();
        let base = a.snapshot().await.revision;
        let both = Batch::new("write both").put(key("left"), value.clone()).put(key("right"), value);
        let mut commit = a.store.commit(&base, both);
        let mut done = false;
        for _ in 0..polls {
            done = done || futures::poll!(&mut commit).is_ready();
        }
        if !done && millis > 0 {
            // That time is over is what is wanted; how the commit ends otherwise, other cases ask.
            let _ = timeout(Duration::from_millis(millis), &mut commit).await;
        }
        drop(commit);
        for host in [&a, &b] {
            let records = host.snapshot().await.records;
            assert_eq!(records.get("left"), records.get("right"), "half a batch");
        }
    }
    // The handle still works.
    a.write(put("left", "end").put(key("right"), "end")).await;
    assert_eq!(b.snapshot().await.records[&key("left")], "end".as_bytes());
}
