use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use ipvland_store::{
    Batch, Delta, EndpointStore, Key, MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MemoryStore, Result, Revision,
    Snapshot, StoreExt as _,
    conformance::{Fault, Faults, FaultyStore},
    transact::Retry,
};
use tokio::sync::Mutex;

use super::{
    open::Opened,
    sync::{self, Kept, Records},
    *,
};
use crate::record::Record;

const ID: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_ID: &str = "22222222-2222-4222-8222-222222222222";

fn key(host: &str) -> Key {
    Record::key(host.parse().unwrap())
}

fn record(host: &str, id: &str, prefix: &str) -> Bytes {
    let text = format!(
        r#"{{"version": 1, "host": "{host}", "id": "{id}", "name": "n", "next_hops": ["{host}"],
        "networks": [{{"name": "blue", "prefixes": ["{prefix}"]}}]}}"#
    );
    Bytes::from(text)
}

/// Two stores, and the state directory of the host that copies.
struct Two {
    from: MemoryStore,
    to: MemoryStore,
    state: tempfile::TempDir,
}

const A: &str = "10.1.1.48";
const B: &str = "10.1.1.51";
const C: &str = "10.1.1.52";

async fn change(store: &MemoryStore, host: &str, bytes: Option<Bytes>) {
    let edit = |_: &Snapshot| {
        let mut batch = Batch::new("a host");
        batch.changes.insert(key(host), bytes.clone());
        Ok(Some(batch))
    };
    store.transact(Retry::default(), edit).await.unwrap();
}

async fn records(store: &MemoryStore) -> Records {
    store.snapshot().await.unwrap().records
}

impl Two {
    /// A source with three hosts, and a target without any.
    async fn new() -> Self {
        let two =
            Self { from: MemoryStore::new(), to: MemoryStore::new(), state: tempfile::tempdir().unwrap() };
        for (host, prefix) in [(A, "10.1.48.0/24"), (B, "10.1.51.0/24"), (C, "10.1.52.0/24")] {
            change(&two.from, host, Some(record(host, ID, prefix))).await;
        }
        two
    }

    async fn copy(&self, order: Order) -> (String, bool, Vec<String>) {
        copy_between(Arc::new(self.from.clone()), Arc::new(self.to.clone()), self.state.path(), order)
            .await
            .unwrap()
    }

    /// The other direction.
    async fn copy_back(&self) -> String {
        let (from, to) = (Arc::new(self.to.clone()), Arc::new(self.from.clone()));
        let (from, to) =
            (Opened::of(from, "etcd", self.state.path()), Opened::of(to, "git", self.state.path()));
        copy::copy(&from, &to, Order::default(), &mut |_| {}).await.unwrap().words
    }
}

async fn copy_between(
    from: Arc<dyn EndpointStore>,
    to: Arc<dyn EndpointStore>,
    state: &Path,
    order: Order,
) -> std::result::Result<(String, bool, Vec<String>), Trouble> {
    let (from, to) = (Opened::of(from, "git", state), Opened::of(to, "etcd", state));
    let mut lines = Vec::new();
    let copied = copy::copy(&from, &to, order, &mut |line| lines.push(line.to_owned())).await?;
    Ok((copied.words, copied.complete, lines))
}

const PLAIN: Order = Order { dry_run: false, prune: false, force: false };
const PRUNE: Order = Order { prune: true, ..PLAIN };
const FORCE: Order = Order { force: true, ..PLAIN };

#[tokio::test]
async fn a_copy_is_whole_and_a_second_has_nothing_to_do() {
    let two = Two::new().await;
    two.from.plant(b".gitkeep", "");
    let dry = two.copy(Order { dry_run: true, ..PLAIN }).await;
    assert!(dry.0.starts_with("3 records would be copied from git (/git) to etcd (/etcd), "), "{}", dry.0);
    assert_eq!(dry.2, ["add     10.1.1.48.json", "add     10.1.1.51.json", "add     10.1.1.52.json"]);
    assert!(records(&two.to).await.is_empty());

    let (words, complete, _) = two.copy(PLAIN).await;
    assert_eq!(
        words,
        "3 records copied from git (/git) to etcd (/etcd), 0 the same already, 0 kept, 0 removed; not copied, as no \
         records: .gitkeep"
    );
    assert!(complete);
    assert_eq!(records(&two.to).await, records(&two.from).await);
    let revision = two.to.snapshot().await.unwrap().revision;
    let (words, complete, lines) = two.copy(PLAIN).await;
    assert!(
        words.starts_with("nothing to copy: 0 records copied") && words.contains("3 the same"),
        "{words}"
    );
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
        words.contains("1 records copied")
            && words.contains("1 kept")
            && words.contains("1 only in the target"),
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
    assert!(words.starts_with("2 records copied from etcd"), "{words}");
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
    assert!(words.contains("1 records copied") && words.contains("2 kept"), "{words}");
    assert!(
        lines[0].contains(Kept::Unknown.words()) && lines[1].contains(Kept::OtherMachine.words()),
        "{lines:?}"
    );
    let target = records(&two.to).await;
    assert_eq!((&target[&key(A)], &target[&key(B)]), (&moved, &other));
    let (words, _, lines) = two.copy(FORCE).await;
    assert!(words.contains("2 records copied") && lines.is_empty(), "{words} {lines:?}");
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
    assert!(two.copy(PLAIN).await.0.starts_with("3 records copied"));
}

/// A store whose commits are each preceded by another host's.
#[derive(Debug)]
struct Meddled {
    inner: MemoryStore,
    others: Mutex<Vec<Batch>>,
}

#[async_trait]
impl EndpointStore for Meddled {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        if let Some(other) = self.others.lock().await.pop() {
            let now = self.inner.snapshot().await?.revision;
            self.inner.commit(&now, other).await?;
        }
        self.inner.commit(base, batch).await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        self.inner.watch(after)
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_writes_to_the_target_meanwhile_is_not_overwritten() {
    let two = Two::new().await;
    let moved = record(A, ID, "10.1.148.0/24");
    let others = vec![Batch::new("web-1 publishes").put(key(A), moved.clone())];
    let to = Meddled { inner: two.to.clone(), others: Mutex::new(others) };
    // Not even by force: nobody had seen that record when the copy was ordered.
    let copied = copy_between(Arc::new(two.from.clone()), Arc::new(to), two.state.path(), FORCE).await;
    let (words, complete, lines) = copied.unwrap();
    assert!(words.starts_with("2 records copied") && words.contains("1 kept") && complete, "{words}");
    assert!(lines[0].contains("meanwhile"), "{lines:?}");
    assert_eq!(records(&two.to).await[&key(A)], moved);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_meanwhile_is_told_and_the_next_copy_has_it() {
    let two = Two::new().await;
    let new = record(B, ID, "10.1.151.0/24");
    // The other host's commit goes to the source while the copy commits to the target.
    #[derive(Debug)]
    struct Elsewhere(MemoryStore, MemoryStore, Bytes);
    #[async_trait]
    impl EndpointStore for Elsewhere {
        async fn snapshot(&self) -> Result<Snapshot> {
            self.0.snapshot().await
        }
        async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
            change(&self.1, B, Some(self.2.clone())).await;
            self.0.commit(base, batch).await
        }
        fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
            self.0.watch(after)
        }
    }
    let to = Elsewhere(two.to.clone(), two.from.clone(), new.clone());
    let copied = copy_between(Arc::new(two.from.clone()), Arc::new(to), two.state.path(), PLAIN).await;
    let (_, complete, lines) = copied.unwrap();
    assert!(!complete && lines[0].starts_with("changed 10.1.1.51.json"), "{lines:?}");
    let (words, complete, _) = two.copy(PLAIN).await;
    assert!(words.starts_with("1 records copied") && complete, "{words}");
    assert_eq!(records(&two.to).await[&key(B)], new);
}

#[tokio::test(start_paused = true)]
async fn faults_of_either_store_are_ridden_out_and_a_store_that_stays_away_is_told() {
    for fault in [Fault::Away, Fault::LostAnswer, Fault::Conflict] {
        let two = Two::new().await;
        let faults = Faults::none();
        let to = Arc::new(FaultyStore::new(Arc::new(two.to.clone()), faults.clone()));
        faults.next(fault);
        let copied = copy_between(Arc::new(two.from.clone()), to, two.state.path(), PLAIN).await.unwrap();
        assert!(copied.0.starts_with("3 records copied") && copied.1, "{fault:?}: {}", copied.0);
        assert_eq!(records(&two.to).await, records(&two.from).await);
    }
    let two = Two::new().await;
    let faults = Faults::none();
    faults.set_away(true);
    let from = Arc::new(FaultyStore::new(Arc::new(two.from.clone()), faults));
    match copy_between(from, Arc::new(two.to.clone()), two.state.path(), PLAIN).await {
        Err(Trouble::Failed(words)) => {
            assert_eq!(words, "cannot read the store git (/git): the store is away (injected)");
        }
        other => panic!("{other:?}"),
    }
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
    assert!(words.starts_with("350 records copied") && complete, "{words}");
    assert_eq!(lines.len(), batches.len() - 1, "{lines:?}");
    assert_eq!(records(&two.to).await, source);
}

#[tokio::test]
async fn a_listing_judges_and_a_difference_shows_lines() {
    let two = Two::new().await;
    two.to.plant(b"10.1.1.48.json", record(A, ID, "10.1.48.0/24"));
    two.to.plant(b"10.1.1.51.json", record(B, ID, "10.1.48.0/25"));
    two.to.plant(b"10.1.1.53.json", "{ \x1b");
    two.to.plant(b"..", "");
    let state = two.state.path();
    let (from, to) =
        (Opened::of(Arc::new(two.from), "git", state), Opened::of(Arc::new(two.to), "etcd", state));
    let (a, b) = (from.read().await.unwrap(), to.read().await.unwrap());
    let text = Listing::new(&to, &b).to_text();
    let line = |file: &str| {
        text.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}: {text}"))
    };
    assert!(line("10.1.1.48.json").ends_with("10.1.1.48  n     10.1.1.48  10.1.48.0/24"), "{text}");
    assert!(
        line("10.1.1.51.json").contains("refused: 10.1.48.0/25: it overlaps 10.1.48.0/24 of 10.1.1.48.json"),
        "{text}"
    );
    assert!(line("10.1.1.53.json").contains("refused: ") && text.contains("strays (1)\n"), "{text}");
    assert_eq!(find(&to, &b, "10.1.1.48").unwrap(), record(A, ID, "10.1.48.0/24"));
    assert_eq!(find(&to, &b, "::ffff:10.1.1.53").unwrap(), b"{ \x1b");
    assert!(find(&to, &b, "../x").is_err());

    let difference = differ((&from, &a), (&to, &b));
    let text = difference.to_text();
    assert!(text.contains("only in --from: 10.1.1.52.json\nonly in --to: 10.1.1.53.json\n"), "{text}");
    assert!(text.contains("\n-        \"10.1.51.0/24\"\n+        \"10.1.48.0/25\"\n"), "{text}");
    assert!(
        text.ends_with("1 records are the same, 1 differ, 1 are only in --from, 1 only in --to\n"),
        "{text}"
    );
    assert!(!difference.is_none() && differ((&from, &a), (&to, &a)).is_none());

    let document = to_json(&to, &b);
    assert_eq!(document["records"]["10.1.1.48.json"]["host"], A);
    assert_eq!(document["escaped"]["10.1.1.53.json"], "{ \\x1b");
    let dir = state.join("out");
    let words = to_directory(&to, &b, &dir).unwrap();
    assert!(
        words.starts_with("3 records of etcd (/etcd), revision ") && words.contains("not a record: .."),
        "{words}"
    );
    assert_eq!(std::fs::read(dir.join("10.1.1.53.json")).unwrap(), b"{ \x1b");
    assert!(matches!(to_directory(&to, &b, &dir), Err(Trouble::Usage(_))));
}
