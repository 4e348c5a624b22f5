use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc};
use ipvland_store::{Delta, Error, Event, Key, Revision, Snapshot};
use proptest::{collection::vec, prelude::*};
use tokio::sync::watch;

use super::*;
use crate::status::Board;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn snapshot(revision: &str, hosts: &[&str]) -> Snapshot {
    let record = |host: &&str| {
        let text = format!(
            r#"{{"version": 1, "host": "{host}", "next_hops": ["{host}"], "networks": [{{"name": "n", "prefixes": []}}]}}"#
        );
        (key(&format!("{host}.json")), Bytes::from(text))
    };
    Snapshot { records: hosts.iter().map(record).collect(), ..Snapshot::empty(Revision::new(revision)) }
}

struct Follower {
    events: mpsc::UnboundedSender<ipvland_store::Result<Event>>,
    views: watch::Receiver<Arc<View>>,
    board: Board,
}

fn follow(dir: &tempfile::TempDir) -> Follower {
    follow_at("git", dir)
}

fn follow_at(place: &str, dir: &tempfile::TempDir) -> Follower {
    let board = Board::default();
    let own = watch::Sender::new(Some(key("10.1.1.48.json"))).subscribe();
    let fleet = Fleet::new(place.to_owned(), dir.path().join("snapshot.json"), own, board.clone());
    let views = fleet.subscribe();
    let (events, hear) = mpsc::unbounded();
    tokio::spawn(fleet.run(hear.boxed()));
    Follower { events, views, board }
}

impl Follower {
    async fn until(
        &mut self,
        event: ipvland_store::Result<Event>,
        holds: impl Fn(&View) -> bool,
    ) -> Arc<View> {
        self.events.unbounded_send(event).unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(5), self.views.wait_for(|view| holds(view)));
        seen.await.expect("the view in time").expect("a fleet that runs").clone()
    }
}

fn names(view: &View) -> Vec<&str> {
    view.records.keys().map(Key::as_str).collect()
}

#[tokio::test]
async fn a_view_follows_the_store_and_the_disk_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = follow(&dir);
    assert_eq!(fleet.views.borrow().source, Source::None);
    let reset = Event::Reset(snapshot("1", &["10.1.1.48", "10.1.1.51"]));
    let view = fleet.until(Ok(reset), |view| view.source == Source::Store).await;
    assert_eq!(names(&view), ["10.1.1.48.json", "10.1.1.51.json"]);
    assert_eq!(view.readings, 1);

    let changes = [(key("10.1.1.51.json"), None), (key("10.1.1.52.json"), Some(Bytes::from_static(b"{")))];
    let delta = Delta { revision: Revision::new("2"), changes: changes.into(), strays: Vec::new() };
    let view = fleet.until(Ok(Event::Delta(delta)), |view| view.revision == Some(Revision::new("2"))).await;
    assert!(view.records[&key("10.1.1.52.json")].is_err());

    let view = fleet.until(Err(Error::away("no route to host")), |view| view.away.is_some()).await;
    assert_eq!(view.records.len(), 2);
    assert_eq!(fleet.board.read().store.away.as_deref(), Some("no route to host"));

    let disk = Cache::new(dir.path().join("snapshot.json"));
    let written = async {
        while disk.read().is_none_or(|saved| saved.revision.as_str() != "2") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.unwrap();
    let again = follow(&dir);
    let view = again.views.borrow().clone();
    assert_eq!((view.source, view.readings), (Source::Disk, 0));
    assert_eq!(names(&view), ["10.1.1.48.json", "10.1.1.52.json"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_everything_takes_no_route_away() {
    let mut fleet = follow(&tempfile::tempdir().unwrap());
    let all = ["10.1.1.48", "10.1.1.51", "10.1.1.52"];
    fleet.until(Ok(Event::Reset(snapshot("1", &all))), |view| view.records.len() == 3).await;
    // Emptied, but for our own record, which we were quick to write anew.
    let view = fleet.until(Ok(Event::Reset(snapshot("x", &["10.1.1.48"]))), |view| view.readings == 2).await;
    assert_eq!(view.records.len(), 3);
    assert!(view.held.as_ref().unwrap().contains("2 hosts"), "{view:?}");
    assert!(!fleet.board.read().healthy);
    // The first of the others is back: the last one has five minutes from now.
    let changes =
        snapshot("y", &["10.1.1.51"]).records.into_iter().map(|(key, bytes)| (key, Some(bytes))).collect();
    let delta = Delta { revision: Revision::new("y"), changes, strays: Vec::new() };
    let one_left = |view: &View| view.held.as_ref().is_some_and(|held| held.contains("1 hosts"));
    let view = fleet.until(Ok(Event::Delta(delta)), one_left).await;
    assert_eq!(view.records.len(), 3);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let view = fleet.views.borrow().clone();
    assert_eq!((names(&view).len(), view.held.clone()), (2, None));
}

#[tokio::test]
async fn a_commit_that_takes_everybody_out_is_believed() {
    let mut fleet = follow(&tempfile::tempdir().unwrap());
    fleet.until(Ok(Event::Reset(snapshot("1", &["10.1.1.51"]))), |view| view.records.len() == 1).await;
    let changes = [(key("10.1.1.51.json"), None)].into();
    let delta = Delta { revision: Revision::new("2"), changes, strays: Vec::new() };
    let view = fleet.until(Ok(Event::Delta(delta)), |view| view.records.is_empty()).await;
    assert_eq!(view.held, None);
}

#[tokio::test]
async fn a_damaged_snapshot_on_disk_is_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("snapshot.json"), "{").unwrap();
    assert_eq!(follow(&dir).views.borrow().source, Source::None);
}

/// Waits until the snapshot on disk is of a revision, and holds so many records.
async fn saved(dir: &tempfile::TempDir, revision: &str, held: usize) {
    let disk = Cache::new(dir.path().join("snapshot.json"));
    let written = async {
        while disk.read().is_none_or(|saved| saved.revision.as_str() != revision || saved.held.len() != held)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.expect("the snapshot on disk in time");
}

fn delta(revision: &str, changes: &[(&str, bool)]) -> Event {
    let change = |(host, there): &(&str, bool)| {
        let mut records = snapshot(revision, &[*host]).records.into_iter();
        records.next().map(|(key, bytes)| (key, there.then_some(bytes))).unwrap()
    };
    Event::Delta(Delta {
        revision: Revision::new(revision),
        changes: changes.iter().map(change).collect(),
        strays: Vec::new(),
    })
}

const ALL: [&str; 4] = ["10.1.1.48", "10.1.1.51", "10.1.1.52", "10.1.1.53"];

/// A host whose store was git, and whose snapshot on disk says so.
async fn was_on_git(dir: &tempfile::TempDir) {
    let mut fleet = follow_at("git", dir);
    fleet.until(Ok(Event::Reset(snapshot("1", &ALL))), |view| view.records.len() == 4).await;
    saved(dir, "1", 0).await;
}

#[tokio::test]
async fn a_swap_to_a_store_that_lacks_records_takes_no_route_away() {
    let dir = tempfile::tempdir().unwrap();
    was_on_git(&dir).await;
    // Swapped before anything was copied, and not as the first: one other host is there already.
    let mut fleet = follow_at("etcd", &dir);
    let view = fleet.until(Ok(Event::Reset(snapshot("e1", &ALL[..2]))), |view| view.readings == 1).await;
    assert_eq!(view.records.len(), 4);
    let told = view.held.clone().unwrap();
    assert!(
        told.contains("2 hosts") && told.contains("10.1.1.52.json") && told.contains("store copy"),
        "{told}"
    );

    // A restart while they are missing forgets none of them, with the store away and with it back.
    saved(&dir, "e1", 2).await;
    let mut fleet = follow_at("etcd", &dir);
    assert_eq!((fleet.views.borrow().source, fleet.views.borrow().records.len()), (Source::Disk, 4));
    let view = fleet.until(Ok(Event::Reset(snapshot("e1", &ALL[..2]))), |view| view.readings == 1).await;
    assert_eq!(view.records.len(), 4);

    // A host that comes is the store's, and goes when the store says so, though another is still held.
    let one_held = |view: &View| view.held.as_ref().is_some_and(|held| held.contains("1 hosts"));
    fleet.until(Ok(delta("e2", &[("10.1.1.52", true)])), one_held).await;
    let view = fleet.until(Ok(delta("e3", &[("10.1.1.52", false)])), |view| view.records.len() == 3).await;
    assert_eq!(names(&view), ["10.1.1.48.json", "10.1.1.51.json", "10.1.1.53.json"]);
    let view = fleet.until(Ok(delta("e4", &[("10.1.1.53", true)])), |view| view.held.is_none()).await;
    assert_eq!(view.records.len(), 3);
    assert!(fleet.board.read().healthy);
}

#[tokio::test]
async fn a_swap_after_a_copy_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    was_on_git(&dir).await;
    let mut fleet = follow_at("etcd", &dir);
    let view = fleet.until(Ok(Event::Reset(snapshot("e1", &ALL))), |view| view.readings == 1).await;
    assert_eq!((view.records.len(), view.held.clone()), (4, None));
    // And who then leaves is gone.
    let view = fleet.until(Ok(delta("e2", &[("10.1.1.52", false)])), |view| view.records.len() == 3).await;
    assert_eq!(view.held, None);
}

#[tokio::test]
async fn the_same_store_that_misses_a_record_after_a_restart_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    was_on_git(&dir).await;
    let mut fleet = follow_at("git", &dir);
    let view = fleet.until(Ok(Event::Reset(snapshot("2", &ALL[..3]))), |view| view.readings == 1).await;
    assert_eq!((view.records.len(), view.held.clone()), (3, None));
}

#[tokio::test]
async fn a_restart_forgets_nothing_of_a_store_that_lost_everything() {
    let dir = tempfile::tempdir().unwrap();
    was_on_git(&dir).await;
    let mut fleet = follow(&dir);
    fleet.until(Ok(Event::Reset(snapshot("x", &["10.1.1.48"]))), |view| view.readings == 1).await;
    saved(&dir, "x", 3).await;
    let mut fleet = follow(&dir);
    assert_eq!(fleet.views.borrow().records.len(), 4);
    let view = fleet.until(Ok(Event::Reset(snapshot("x", &["10.1.1.48"]))), |view| view.readings == 1).await;
    assert_eq!(view.records.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_a_swap_leaves_behind_is_dropped_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::new(dir.path().join("snapshot.json"));
    let before = Saved {
        place: "git".into(),
        revision: Revision::new("1"),
        records: snapshot("1", &ALL).records.into_iter().collect(),
        names: Map::new(),
        held: Map::new(),
        swapped: false,
    };
    cache.write(before).await;
    let mut fleet = follow_at("etcd", &dir);
    fleet.until(Ok(Event::Reset(snapshot("e1", &ALL[..2]))), |view| view.held.is_some()).await;
    tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(fleet.views.borrow().records.len(), 4);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let view = fleet.views.borrow().clone();
    assert_eq!((names(&view).len(), view.held.clone()), (2, None));
    saved(&dir, "e1", 0).await;
}

#[tokio::test]
async fn names_are_apart_from_the_records_and_leave_them_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::default();
    let own = watch::Sender::new(Some(key("10.1.1.48.json"))).subscribe();
    let fleet = Fleet::new("git".to_owned(), dir.path().join("snapshot.json"), own.clone(), board.clone());
    let (views, mut names) = (fleet.subscribe(), fleet.subscribe_names());
    let (events, hear) = mpsc::unbounded();
    tokio::spawn(fleet.run(hear.boxed()));
    let mut store = snapshot("1", &["10.1.1.48", "10.1.1.51"]);
    let told = r#"{"version": 1, "host": "10.1.1.51", "id": "b", "names": {"net1": {"db": ["10.1.51.7"]}}}"#;
    store.records.insert(key("10.1.1.51.names.json"), Bytes::from(told));
    events.unbounded_send(Ok(Event::Reset(store))).unwrap();
    let seen = names.wait_for(|names| names.source == Source::Store).await.unwrap().clone();
    assert_eq!(seen.files[&key("10.1.1.51.names.json")].as_ref().unwrap().count(), 1);
    let before = Arc::clone(&views.borrow());
    assert_eq!(self::names(&before), ["10.1.1.48.json", "10.1.1.51.json"]);

    let changes =
        [(key("10.1.1.51.names.json"), None), (key("10.1.1.52.names.json"), Some(Bytes::from_static(b"{")))];
    let delta = Delta { revision: Revision::new("2"), changes: changes.into(), strays: Vec::new() };
    events.unbounded_send(Ok(Event::Delta(delta))).unwrap();
    let bad = key("10.1.1.52.names.json");
    let seen = names.wait_for(|names| names.files.contains_key(&bad)).await.unwrap().clone();
    assert!(seen.files.len() == 1 && seen.files[&bad].is_err());
    let after = Arc::clone(&views.borrow());
    assert_eq!(after.revision, Some(Revision::new("2")));
    assert!(Arc::ptr_eq(&before.records, &after.records) && after.routes_as(&before));

    // The store loses the records and shows names alone: that is no host, and the routes are held.
    let mut lost = snapshot("3", &[]);
    lost.records.insert(key("10.1.1.51.names.json"), Bytes::from(told));
    events.unbounded_send(Ok(Event::Reset(lost))).unwrap();
    names.wait_for(|names| names.files.len() == 1 && !names.files.contains_key(&bad)).await.unwrap();
    let held = Arc::clone(&views.borrow());
    assert!(held.held.is_some() && held.records.contains_key(&key("10.1.1.51.json")), "{held:?}");

    // The next start knows the names from the disk.
    let path = dir.path().join("snapshot.json");
    for _ in 0..100 {
        if Cache::new(path.clone()).read().is_some_and(|saved| saved.revision == Revision::new("3")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = Fleet::new("git".to_owned(), path, own, board);
    let names = again.subscribe_names().borrow().clone();
    assert_eq!((names.source, names.files.len()), (Source::Disk, 1));
    assert!(!again.subscribe().borrow().records.contains_key(&key("10.1.1.51.names.json")));
}

#[tokio::test]
async fn what_was_learned_at_the_last_moment_is_on_the_disk_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.json");
    let own = watch::Sender::new(Some(key("10.1.1.48.json"))).subscribe();
    let fleet = Fleet::new("git".to_owned(), path.clone(), own, Board::default());
    let mut views = fleet.subscribe();
    let (events, hear) = mpsc::unbounded();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runs = tokio::spawn(fleet.run_until(hear.boxed(), async { _ = stopped.await }));
    events.unbounded_send(Ok(Event::Reset(snapshot("7", &["10.1.1.51"])))).unwrap();
    views.wait_for(|view| view.source == Source::Store).await.unwrap();
    stop.send(()).unwrap();
    runs.await.unwrap();
    let saved = Cache::new(path).read().unwrap();
    assert_eq!(saved.revision, Revision::new("7"));
}

/// What a store may tell next: a delta, a whole reading, or one that lost all others.
#[derive(Debug, Clone)]
enum Told {
    Delta(Vec<(u8, Option<u8>)>),
    Reset(Vec<(u8, u8)>),
}

fn told() -> impl Strategy<Value = Told> {
    let delta = vec((0u8..30, proptest::option::weighted(0.7, 0u8..3)), 0..4).prop_map(Told::Delta);
    let reset = vec((0u8..30, 0u8..3), 0..30).prop_map(Told::Reset);
    prop_oneof![5 => delta, 1 => reset]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_changed_is_what_differs(events in vec(told(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let own = watch::Sender::new(Some(key("10.1.1.0.json"))).subscribe();
        let mut fleet = Fleet::new("git".to_owned(), dir.path().join("snapshot"), own, Board::default());
        let record = |(host, version): (u8, u8)| {
            let host = format!("10.1.1.{host}");
            let text = format!(
                r#"{{"version": 1, "host": "{host}", "name": "v{version}", "next_hops": ["{host}"], "networks": []}}"#
            );
            (key(&format!("{host}.json")), Bytes::from(if version == 2 { "{".to_owned() } else { text }))
        };
        let mut views = vec![Arc::clone(&fleet.subscribe().borrow())];
        let mut store = BTreeMap::new();
        for (at, event) in events.into_iter().enumerate() {
            let revision = Revision::new(at.to_string());
            let event = match event {
                Told::Reset(records) => {
                    store = records.into_iter().map(record).collect();
                    Event::Reset(Snapshot { records: store.clone(), ..Snapshot::empty(revision) })
                }
                Told::Delta(changes) => {
                    let changes: BTreeMap<Key, Option<Bytes>> = changes
                        .into_iter()
                        .map(|(host, version)| {
                            let (key, bytes) = record((host, version.unwrap_or_default()));
                            (key, version.is_some().then_some(bytes))
                        })
                        .collect();
                    let mut snapshot = Snapshot { records: store, ..Snapshot::empty(revision.clone()) };
                    let delta = Delta { revision, changes, strays: Vec::new() };
                    snapshot.apply(&delta);
                    store = snapshot.records;
                    Event::Delta(delta)
                }
            };
            fleet.take(Ok(event));
            fleet.tell();
            views.push(Arc::clone(&fleet.subscribe().borrow()));
            let held = &fleet.hold.held().0;
            let expected: BTreeSet<&Key> = store.keys().chain(held.keys()).collect();
            let view = views.last().unwrap();
            prop_assert!(view.records.keys().eq(expected));
            prop_assert!(store.iter().all(|(key, bytes)| view.records[key] == parse(key, bytes)));
        }
        for earlier in &views {
            for later in &views {
                let keys = earlier.records.keys().chain(later.records.keys());
                let differs = |key: &&Key| earlier.records.get(*key) != later.records.get(*key);
                let naive: BTreeSet<Key> = keys.filter(differs).cloned().collect();
                prop_assert_eq!(naive.is_empty(), later.records == earlier.records);
                prop_assert_eq!(later.changed_since(earlier), Some(naive));
            }
        }
    }
}
