//! What an operator does with etcdctl, and what other users of the same etcd do.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{Batch, Remedy, Revision, Snapshot};
use servers::etcd::Cluster;
use tokio::time::timeout;

use crate::host::{Host, key, put, remove};

#[tokio::test]
async fn each_change_by_hand_is_a_revision_and_is_told() {
    let cluster = Cluster::one();
    let (host, other) = (Host::at(&cluster).await, Host::at(&cluster).await);
    host.write(put("a", "1").put(key("b"), "1").put(key("c"), "1")).await;
    let mut follower = other.follow();
    follower.until("c", Some("1")).await;
    let mut seen = vec![host.snapshot().await];
    type Step<'a> = (&'a dyn Fn(), &'a str, Option<&'a str>);
    let steps: [Step<'_>; 5] = [
        (&|| cluster.put(b"/ipvland/endpoints/a", b"2"), "a", Some("2")),
        (&|| cluster.delete("/ipvland/endpoints/b"), "b", None),
        (&|| cluster.delete("/ipvland/endpoints/a"), "a", None),
        (&|| cluster.put(b"/ipvland/endpoints/a", b"3"), "a", Some("3")),
        (&|| cluster.delete("/ipvland/generation"), "c", Some("1")),
    ];
    for (step, name, wanted) in steps {
        step();
        follower.until(name, wanted).await;
        let snapshot = host.snapshot().await;
        assert!(seen.iter().all(|before| before.revision != snapshot.revision), "{snapshot:?}");
        seen.push(snapshot);
    }
    let last = seen.last().unwrap().clone();
    // From each of them, also those that only a deletion parts from the one before.
    for from in seen {
        assert_eq!(replay(&host, from.clone(), &last).await, last.records, "from {from:?}");
    }
    assert_eq!(follower.resets, 1);
    host.write(remove("a")).await;
    follower.until("a", None).await;
    assert_eq!(follower.model.unwrap(), host.snapshot().await);
}

async fn replay(
    host: &Host,
    mut model: Snapshot,
    last: &Snapshot,
) -> std::collections::BTreeMap<ipvland_store::Key, bytes::Bytes> {
    let mut deltas = host.0.watch(model.revision.clone());
    while model.revision != last.revision {
        match timeout(Duration::from_secs(10), deltas.next()).await.expect("a change").unwrap() {
            Ok(delta) => model.apply(&delta),
            Err(error) => {
                assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
                model = host.snapshot().await;
            }
        }
    }
    model.records
}

#[tokio::test]
async fn a_write_by_hand_is_not_overwritten() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    let base = host.write(put("a", "1")).await;
    cluster.put(b"/ipvland/endpoints/b", b"by hand");
    let error = host.0.commit(&base, put("b", "2")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    cluster.put(b"/ipvland/generation", b"by hand \xff");
    let foreign = host.snapshot().await.revision;
    assert!(foreign.as_str().starts_with("x-"), "{foreign}");
    let next = host.0.commit(&foreign, put("c", "1")).await.unwrap();
    assert_eq!(host.snapshot().await.revision, next);
    assert_eq!(host.snapshot().await.records[&key("b")], "by hand");
}

/// With many records, commits don't have etcd compare all of them where it has taken no other write.
#[tokio::test]
async fn among_many_records_a_hand_is_noticed_as_well() {
    let cluster = Cluster::one();
    let host = Host::at(&cluster).await;
    for chunk in 0..6 {
        let batch = (0..100).fold(Batch::new("a hundred"), |batch, number| {
            batch.put(key(&format!("{chunk}.{number}.json")), "1")
        });
        host.write(batch).await;
    }
    let mut base = host.snapshot().await.revision;
    let batches = [
        put("0.0.json", "2"),
        put("new", "1").put(key("0.1.json"), "2"),
        remove("new").put(key("newer"), "1"),
        remove("0.2.json").remove(key("absent")),
    ];
    for batch in batches {
        let next = host.0.commit(&base, batch.clone()).await.unwrap();
        assert_eq!(host.snapshot().await.revision, next, "{batch:?}");
        let error = host.0.commit(&base, put("late", "1")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
        base = next;
    }
    assert_eq!(host.0.commit(&base, put("0.0.json", "2")).await.unwrap(), base, "nothing to do");

    // Others' writes are none of ours, and an operator's are: of a key of the batch, and of another one.
    cluster.put(b"/elsewhere", b"theirs");
    base = host.0.commit(&base, put("0.0.json", "3")).await.unwrap();
    assert_eq!(host.snapshot().await.revision, base);
    for name in ["0.0.json", "5.99.json"] {
        cluster.put(format!("/ipvland/endpoints/{name}").as_bytes(), b"by hand");
        let error = host.0.commit(&base, put("0.0.json", "4")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
        base = host.snapshot().await.revision;
    }
    host.0.commit(&base, put("0.0.json", "4")).await.unwrap();
}

/// What comes between the question and the commit is found afterwards: what a commit returns is what etcd has then.
#[tokio::test(flavor = "multi_thread")]
async fn commits_among_others_writes_lose_nothing() {
    let cluster = Arc::new(Cluster::one());
    let host = Host::at(&cluster).await;
    for chunk in 0..6 {
        let batch = (0..100).fold(Batch::new("a hundred"), |batch, number| {
            batch.put(key(&format!("{chunk}.{number}.json")), "1")
        });
        host.write(batch).await;
    }
    let hand = Arc::clone(&cluster);
    let hand = tokio::task::spawn_blocking(move || {
        for number in 0..30 {
            hand.put(b"/elsewhere", number.to_string().as_bytes());
            hand.put(format!("/ipvland/endpoints/hand-{number}").as_bytes(), b"by hand");
        }
    });
    let (mut written, mut done) = (0, Vec::new());
    while !hand.is_finished() {
        let base = host.snapshot().await.revision;
        written += 1;
        match host.0.commit(&base, put("counted", &written.to_string())).await {
            Ok(revision) => done.push(revision),
            Err(error) => assert_ne!(error.remedy(), Remedy::GiveUp, "{error}"),
        }
    }
    hand.await.unwrap();
    assert!(done.len() > 10, "only {} of {written} commits were done", done.len());
    for revision in done {
        let parts: Vec<_> = revision.as_str().rsplitn(3, '-').collect();
        let [count, newest, _] = parts[..] else { panic!("{revision} has three parts") };
        let at = format!("--rev={newest}");
        let records = ["get", "--prefix", "/ipvland/endpoints/", &at, "--keys-only"];
        let there = cluster.ctl(None, &records).split_whitespace().count();
        assert_eq!(there.to_string(), count, "{revision}");
    }
    assert_eq!(host.snapshot().await.records.len(), 631);
    assert_eq!(host.write(put("counted", "end")).await, host.snapshot().await.revision);
}

#[tokio::test]
async fn others_in_the_same_etcd_are_left_alone_and_change_nothing() {
    let cluster = Cluster::one();
    let (host, mut nested) = (Host::at(&cluster).await, crate::host::table(&cluster));
    nested["prefix"] = "/ipvland/lab/".into();
    let nested = Host::open(nested).await;
    let others: [&[u8]; 5] =
        [b"/ipvlan", b"/ipvland", b"/ipvland/note", b"/ipvland/foreign\xff", b"/ipvlandx/endpoints/a"];
    others.iter().for_each(|other| cluster.put(other, b"theirs"));
    let empty = host.snapshot().await;
    assert!(empty.records.is_empty() && empty.strays.is_empty(), "{empty:?}");
    let base = host.write(put("a", "1")).await;
    let mut deltas = host.0.watch(base.clone());
    others.iter().for_each(|other| cluster.put(other, b"again"));
    nested.write(put("n", "1")).await;
    assert_eq!(host.snapshot().await.revision, base);
    let quiet = timeout(Duration::from_millis(500), deltas.next()).await;
    assert!(quiet.is_err(), "others' keys are told: {quiet:?}");
    let next = host.0.commit(&base, put("a", "2")).await.unwrap();
    let delta = deltas.next().await.unwrap().unwrap();
    assert_eq!((delta.revision, delta.changes.len()), (next, 1));
    assert_eq!(cluster.ctl(None, &["get", "--print-value-only", "/ipvland/note"]).trim(), "again");
    assert_eq!(nested.snapshot().await.records.len(), 1);
}

/// As after a backup is restored: etcd counts on from there, and comes to the same numbers with other keys.
#[tokio::test]
async fn a_revision_of_another_history_is_refused() {
    let (before, restored) = (Cluster::one(), Cluster::one());
    let (old, new) = (Host::at(&before).await, Host::at(&restored).await);
    let base = old.write(put("a", "1")).await;
    new.write(put("b", "1")).await;
    let numbers = |revision: &Revision| revision.as_str().split_once('-').unwrap().1.to_owned();
    assert_eq!(numbers(&base), numbers(&new.snapshot().await.revision));
    let error = new.0.commit(&base, put("a", "2")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    new.write(put("b", "2")).await;
    // One that etcd has come to, and one that it hasn't.
    let future = old.write(put("a", "2").put(key("c"), "1")).await;
    let future = Revision::new(future.as_str().replacen("-3-", "-300-", 1));
    for revision in [base, future] {
        let error = new.0.watch(revision).next().await.unwrap().unwrap_err();
        assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
    }
}
