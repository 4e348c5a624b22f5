//! Which record a copy takes, keeps and removes.

use ipvland_store::{EndpointStore as _, MAX_BATCH_BYTES, MAX_BATCH_CHANGES};

use super::*;
use crate::stored::sync::{self, Kept};

#[tokio::test]
async fn a_copy_is_whole_and_a_second_has_nothing_to_do() {
    let two = Two::new().await;
    two.from.plant(b".gitkeep", "");
    let dry = two.copy(Order { dry_run: true, ..PLAIN }).await;
    assert!(dry.0.starts_with("from git (/git) to etcd (/etcd): 3 would be copied, "), "{}", dry.0);
    assert_eq!(dry.2, ["add     10.1.1.48.json", "add     10.1.1.51.json", "add     10.1.1.52.json"]);
    assert!(records(&two.to).await.is_empty());

    let (words, complete, _) = two.copy(PLAIN).await;
    assert_eq!(
        words,
        "from git (/git) to etcd (/etcd): 3 copied, 0 the same already, 0 kept, 0 removed; not copied, as no \
         records: .gitkeep"
    );
    assert!(complete);
    assert_eq!(records(&two.to).await, records(&two.from).await);
    let revision = two.to.snapshot().await.unwrap().revision;
    let (words, complete, lines) = two.copy(PLAIN).await;
    assert!(words.starts_with("nothing to copy: from ") && words.contains("3 the same"), "{words}");
    assert!(complete && lines.is_empty());
    assert_eq!(two.to.snapshot().await.unwrap().revision, revision);
}

#[tokio::test]
async fn during_a_swap_each_hosts_newest_record_wins_on_both_sides() {
    let two = Two::new().await;
    two.copy(PLAIN).await;
    // A has moved and changes in the target; B has not and changes in the source; D begins in the target.
    let (a, b) = (record(A, ID, "10.1.148.0/24"), record(B, ID, "10.1.151.0/24"));
    change(&two.to, A, Some(a.clone())).await;
    change(&two.from, B, Some(b.clone())).await;
    change(&two.to, "10.1.1.60", Some(record("10.1.1.60", ID, "10.1.60.0/24"))).await;
    let (words, complete, lines) = two.copy(PLAIN).await;
    assert!(
        words.contains(": 1 copied") && words.contains("1 kept") && words.contains("1 only in the target"),
        "{words}"
    );
    assert!(
        complete && lines.len() == 1 && lines[0].contains("10.1.1.48.json") && lines[0].contains("newer"),
        "{lines:?}"
    );
    let target = records(&two.to).await;
    assert_eq!((&target[&key(A)], &target[&key(B)]), (&a, &b));
    // And for the hosts that haven't moved, the other way round.
    let words = two.copy_back().await;
    assert!(words.contains(": 2 copied"), "{words}");
    assert_eq!(records(&two.from).await, records(&two.to).await);
    assert!(two.copy(PLAIN).await.0.starts_with("nothing to copy"));
}

#[tokio::test]
async fn without_a_memory_of_the_last_copy_the_target_wins_unless_forced() {
    let two = Two::new().await;
    let (moved, other) = (record(A, ID, "10.1.148.0/24"), record(B, OTHER_ID, "10.1.151.0/24"));
    change(&two.to, A, Some(moved.clone())).await;
    change(&two.to, B, Some(other.clone())).await;
    let (words, _, lines) = two.copy(PLAIN).await;
    assert!(words.contains(": 1 copied") && words.contains("2 kept"), "{words}");
    assert!(
        lines[0].contains(Kept::Unknown.words()) && lines[1].contains(Kept::OtherMachine.words()),
        "{lines:?}"
    );
    let target = records(&two.to).await;
    assert_eq!((&target[&key(A)], &target[&key(B)]), (&moved, &other));
    let (words, _, lines) = two.copy(FORCE).await;
    assert!(words.contains(": 2 copied") && lines.is_empty(), "{words} {lines:?}");
    assert_eq!(records(&two.to).await, records(&two.from).await);
}

#[tokio::test]
async fn only_what_left_the_source_is_pruned() {
    let two = Two::new().await;
    two.copy(PLAIN).await;
    change(&two.from, C, None).await;
    change(&two.to, "10.1.1.60", Some(record("10.1.1.60", ID, "10.1.60.0/24"))).await;
    let (words, ..) = two.copy(PLAIN).await;
    assert!(words.contains("2 only in the target") && words.contains("0 removed"), "{words}");
    let (words, _, lines) = two.copy(PRUNE).await;
    assert!(words.contains("1 removed") && words.contains("1 kept"), "{words}");
    assert!(lines[0].contains("10.1.1.60.json"), "{lines:?}");
    assert_eq!(records(&two.to).await.len(), 3);
    two.copy(Order { force: true, ..PRUNE }).await;
    assert_eq!(records(&two.to).await, records(&two.from).await);
    // An emptied source doesn't empty the target.
    for host in [A, B] {
        change(&two.from, host, None).await;
    }
    let (from, to) = (Arc::new(two.from.clone()), Arc::new(two.to.clone()));
    match copy_between(from, to, two.state.path(), PRUNE).await {
        Err(Trouble::Failed(words)) => assert!(words.contains("would remove all 2"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(records(&two.to).await.len(), 2);
}

#[tokio::test]
async fn a_host_that_left_the_target_stays_out_and_a_target_that_was_emptied_is_filled() {
    let two = Two::new().await;
    two.copy(PLAIN).await;
    change(&two.to, A, None).await;
    let (words, _, lines) = two.copy(PLAIN).await;
    assert!(words.contains("1 kept") && lines[0].contains(Kept::TakenOut.words()), "{words} {lines:?}");
    assert_eq!(records(&two.to).await.len(), 2);
    change(&two.from, A, Some(record(A, ID, "10.1.148.0/24"))).await;
    assert!(two.copy(PLAIN).await.2[0].contains(Kept::Both.words()));
    change(&two.to, B, None).await;
    change(&two.to, C, None).await;
    assert!(two.copy(PLAIN).await.0.contains(": 3 copied"));
}

#[tokio::test]
async fn a_large_fleet_goes_in_batches_that_every_store_takes() {
    let source: Records = (0..350_u32)
        .map(|n| {
            let host = format!("10.{}.{}.1", n / 250, n % 250);
            // The first few are large, so that bytes bound their batches.
            let bytes = Bytes::from(vec![b'x'; if n < 40 { 60_000 } else { 100 }]);
            (key(&host), bytes)
        })
        .collect();
    let plan = sync::plan(&source, &Records::new(), &Records::new(), PLAIN);
    let batches = plan.batches();
    assert_eq!(batches.iter().map(std::collections::BTreeMap::len).sum::<usize>(), 350);
    assert!(batches.len() >= 5, "{}", batches.len());
    for batch in &batches {
        let bytes: usize = batch.values().filter_map(|change| Some(change.after.as_ref()?.len())).sum();
        assert!(batch.len() <= MAX_BATCH_CHANGES && bytes <= MAX_BATCH_BYTES, "{} {bytes}", batch.len());
    }
    let two = Two { from: MemoryStore::new(), to: MemoryStore::new(), state: tempfile::tempdir().unwrap() };
    for (key, bytes) in &source {
        two.from.plant(key.as_str().as_bytes(), bytes.clone());
    }
    let (words, complete, lines) = two.copy(PLAIN).await;
    assert!(words.contains(": 350 copied") && complete, "{words}");
    assert_eq!(lines.len(), batches.len() - 1, "{lines:?}");
    assert_eq!(records(&two.to).await, source);
}
