use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc};
use ipvland_store::{Delta, Error, Event, Key, Revision, Snapshot};
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
    let board = Board::default();
    let own = watch::Sender::new(Some(key("10.1.1.48.json"))).subscribe();
    let fleet = Fleet::new(dir.path().join("snapshot.json"), own, board.clone());
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
        while disk.read().is_none_or(|snapshot| snapshot.revision.as_str() != "2") {
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
