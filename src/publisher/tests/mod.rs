mod around;
mod leasing;
mod names;
mod write;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ipnet::IpNet;
use ipvland_store::{
    Batch, EndpointStore as _, Key, MemoryStore, Nudge, Remedy, Revision, Snapshot, StoreExt as _,
};
use tokio::sync::watch;

use super::*;
use crate::{
    fleet::{Fleet, parse_all},
    host::{Identity, Reach},
    kernel::{Flag, Mode},
    lease::{Held, Leases},
    network::{Network, Networks, Subnet},
    policy::Local,
};

const ID: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_ID: &str = "22222222-2222-4222-8222-222222222222";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn identity() -> Identity {
    Identity { id: ID.to_owned(), name: "web-1".to_owned(), interface: Some("eth2".to_owned()) }
}

fn reach(host: &str) -> Reach {
    let host = host.parse().unwrap();
    Reach { address: host, next_hops: vec![host] }
}

fn claims(host: &str, prefixes: &[&str]) -> Claims {
    Claims::new(&identity(), &reach(host), &[], &Held::default(), &networks(prefixes))
}

/// An L3 network for each pool.
fn networks(pools: &[&str]) -> Networks {
    let network = |pool: &&str| {
        let network = Network {
            id: format!("{pool:x>64}"),
            name: format!("net-{pool}"),
            parent: "eth2".to_owned(),
            made_parent: false,
            mode: Mode::L3,
            flag: Flag::Bridge,
            mtu: None,
            internal: false,
            host_access: None,
            subnets: vec![Subnet { pool: net(pool), gateway: None }],
            endpoints: Default::default(),
        };
        (network.id.clone(), network)
    };
    Arc::new(pools.iter().map(network).collect())
}

fn local() -> Local {
    Local { parent: "eth2".to_owned(), underlay: vec![net("10.1.1.48/24")], ..Local::default() }
}

fn record(host: &str, id: &str, prefix: &str) -> String {
    format!(
        r#"{{"version": 1, "host": "{host}", "id": "{id}", "name": "n", "next_hops": ["{host}"],
        "networks": [{{"name": "net-{prefix}", "prefixes": ["{prefix}"], "colour": "blue"}}], "meta": {{"rack": 7}},
        "underlay": {{"kind": "direct"}}, "later": true}}"#
    )
}

fn snapshot(records: &[(&str, String)]) -> Snapshot {
    let records = records.iter().map(|(name, text)| (key(name), Bytes::from(text.clone()))).collect();
    Snapshot { records, ..Snapshot::empty(Revision::new("1")) }
}

fn apply(claims: &Claims, snapshot: &Snapshot) -> ipvland_store::Result<Option<Batch>> {
    let batch = Edit { id: ID, claims, local: &local() }.on(&parse_all(&snapshot.records))?;
    Ok((!batch.is_noop_on(snapshot)).then_some(batch))
}

#[test]
fn a_host_publishes_changes_and_withdraws_with_words() {
    let mut store = snapshot(&[]);
    for (prefixes, subject) in [
        (&["10.1.48.0/24"][..], "web-1 publishes 10.1.48.0/24"),
        (
            &["10.1.49.0/24", "10.1.50.0/24"],
            "web-1 publishes 10.1.49.0/24, 10.1.50.0/24 and withdraws 10.1.48.0/24",
        ),
        (&[], "web-1 withdraws 10.1.49.0/24, 10.1.50.0/24"),
    ] {
        let claims = claims("10.1.1.48", prefixes);
        let batch = apply(&claims, &store).unwrap().unwrap();
        assert_eq!(batch.subject, subject);
        store.records = batch.changes.into_iter().filter_map(|(key, bytes)| Some((key, bytes?))).collect();
        assert_eq!(apply(&claims, &store).unwrap(), None, "an edit runs again when an answer is lost");
        assert_eq!(store.records.contains_key(&key("10.1.1.48.json")), !prefixes.is_empty());
    }
}

#[test]
fn what_others_added_to_the_record_is_kept() {
    let store = snapshot(&[("10.1.1.48.json", record("10.1.1.48", ID, "10.1.48.0/24"))]);
    let batch = apply(&claims("10.1.1.48", &["10.1.48.0/24", "10.1.49.0/24"]), &store).unwrap().unwrap();
    let written = batch.changes[&key("10.1.1.48.json")].clone().unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["later"], true);
    assert_eq!(written["meta"]["rack"], 7);
    assert_eq!(written["networks"][0]["colour"], "blue");
    assert_eq!(written["networks"][1]["prefixes"][0], "10.1.49.0/24");
    assert_eq!(written["networks"][0]["prefixes"][0], "10.1.48.0/24");
}

#[test]
fn a_second_machine_with_one_address_refuses() {
    let store = snapshot(&[("10.1.1.48.json", record("10.1.1.48", OTHER_ID, "10.1.48.0/24"))]);
    let error = apply(&claims("10.1.1.48", &["10.1.48.0/24"]), &store).unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("another machine"), "{error}");
    assert!(error.to_string().contains(OTHER_ID), "{error}");
}

#[test]
fn a_machine_whose_address_changed_moves_its_record() {
    let store = snapshot(&[("10.1.1.60.json", record("10.1.1.60", ID, "10.1.48.0/24"))]);
    let batch = apply(&claims("10.1.1.48", &["10.1.48.0/24"]), &store).unwrap().unwrap();
    assert_eq!(batch.subject, "web-1 moves from 10.1.1.60 to 10.1.1.48");
    assert_eq!(batch.changes[&key("10.1.1.60.json")], None);
    assert!(batch.changes[&key("10.1.1.48.json")].is_some());
}

#[test]
fn a_prefix_that_overlaps_or_cuts_off_is_not_published() {
    let store = snapshot(&[("10.1.1.51.json", record("10.1.1.51", OTHER_ID, "10.1.48.0/25"))]);
    let error = apply(&claims("10.1.1.48", &["10.1.48.0/24"]), &store).unwrap_err();
    assert!(
        error.to_string().contains("10.1.48.0/24 overlaps 10.1.48.0/25, which 10.1.1.51.json publishes"),
        "{error}"
    );
    let error = apply(&claims("10.1.1.48", &["10.1.1.0/25"]), &snapshot(&[])).unwrap_err();
    assert!(error.to_string().contains("10.1.1.0/25 can't be published"), "{error}");
}

#[test]
fn the_first_plugin_s_record_of_this_host_is_taken_over() {
    let legacy = r#"[{"Endpoint": "10.1.1.48", "Network": "10.1.48.0/24", "Meta": ""}]"#.to_owned();
    let store = snapshot(&[("10.1.1.48.json", legacy)]);
    let batch = apply(&claims("10.1.1.48", &["10.1.48.0/24"]), &store).unwrap().unwrap();
    assert_eq!(batch.subject, "web-1 updates its record");
}

#[test]
fn leaving_takes_out_this_machine_only() {
    let store = snapshot(&[
        ("10.1.1.48.json", record("10.1.1.48", OTHER_ID, "10.1.48.0/24")),
        ("10.1.1.60.json", record("10.1.1.60", ID, "10.1.60.0/24")),
    ]);
    let leave =
        |host: Option<&str>, force| withdraw(&store, ID, "web-1", host.map(|h| h.parse().unwrap()), force);
    let taken = |batch: Option<Batch>| batch.unwrap().changes.into_keys().collect::<Vec<_>>();
    assert_eq!(taken(leave(None, false).unwrap()), [key("10.1.1.60.json")]);
    assert!(leave(Some("10.1.1.48"), false).unwrap_err().to_string().contains("--force"));
    assert_eq!(taken(leave(Some("10.1.1.48"), true).unwrap()).len(), 2);
}

/// A publisher over a memory store, with the fleet that follows it.
struct Host {
    store: MemoryStore,
    networks: watch::Sender<Networks>,
    _reach: watch::Sender<Option<Reach>>,
    leaving: watch::Sender<bool>,
    announcer: Announcer,
    board: Board,
    _state: tempfile::TempDir,
}

fn start(store: MemoryStore, state: tempfile::TempDir, pools: &[&str]) -> Host {
    start_at("git", store, state, pools)
}

fn start_at(place: &str, store: MemoryStore, state: tempfile::TempDir, pools: &[&str]) -> Host {
    let own = watch::Sender::new(Some(key("10.1.1.48.json")));
    let snapshot = state.path().join("snapshot.json");
    let fleet = Fleet::new(place.to_owned(), snapshot, own.subscribe(), Board::default());
    let views = fleet.subscribe();
    tokio::spawn(fleet.run(Arc::new(store.clone()).follow(Nudge::new())));
    let (publisher, senders) = publisher(place, Arc::new(store.clone()), &state, views, pools);
    let announcer = Announcer {
        source: publisher.source.clone(),
        outcome: publisher.outcome.subscribe(),
        views: publisher.views.clone(),
        local: publisher.local.clone(),
    };
    let board = publisher.board.clone();
    tokio::spawn(publisher.run());
    let Senders { networks, reach, leaving } = senders;
    Host { store, networks, _reach: reach, leaving, announcer, board, _state: state }
}

/// What tells a publisher what to do.
struct Senders {
    networks: watch::Sender<Networks>,
    reach: watch::Sender<Option<Reach>>,
    leaving: watch::Sender<bool>,
}

fn publisher(
    place: &str,
    store: Arc<dyn EndpointStore>,
    state: &tempfile::TempDir,
    views: watch::Receiver<Arc<View>>,
    pools: &[&str],
) -> (Publisher, Senders) {
    let senders = Senders {
        networks: watch::Sender::new(networks(pools)),
        reach: watch::Sender::new(Some(reach("10.1.1.48"))),
        leaving: watch::Sender::new(false),
    };
    let leases = Leases::open(state.path().join("leases.json")).unwrap();
    let (networks, reach) = (senders.networks.subscribe(), senders.reach.subscribe());
    let publisher = Publisher {
        store,
        place: place.to_owned(),
        nudge: Nudge::new(),
        id: ID.to_owned(),
        source: ClaimSource::new(identity(), Vec::new(), networks, reach, leases),
        views,
        local: watch::Sender::new(local()).subscribe(),
        leaving: senders.leaving.subscribe(),
        settled_file: state.path().join("published.json"),
        board: Board::default(),
        outcome: watch::Sender::new(Outcome { claims: None, state: State::Nothing }),
    };
    (publisher, senders)
}

impl Host {
    async fn until(&self, what: &str, holds: impl Fn(&Snapshot, &str) -> bool) {
        let held = async {
            while !holds(&self.store.snapshot().await.unwrap(), &self.board.read().published.state) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let held = tokio::time::timeout(Duration::from_secs(10), held).await;
        assert!(held.is_ok(), "{what}: {:?}, {:?}", self.store.snapshot().await, self.board.read());
    }

    async fn by_hand(&self, bytes: Option<&str>) {
        let change = bytes.map(|bytes| Bytes::from(bytes.to_owned()));
        let edit = |_: &Snapshot| {
            let mut batch = Batch::new("by hand");
            batch.changes.insert(key("10.1.1.48.json"), change.clone());
            Ok(Some(batch))
        };
        self.store.transact(Retry::default(), edit).await.unwrap();
    }
}

#[tokio::test]
async fn an_edit_by_hand_stands_until_the_host_has_news() {
    let mut host = start(MemoryStore::new(), tempfile::tempdir().unwrap(), &["10.1.48.0/24"]);
    assert_eq!(host.announcer.settle(Duration::from_secs(5)).await, State::Published);
    let holds = |prefix: &'static str, state: &'static str| {
        move |store: &Snapshot, is: &str| {
            let own = store.records.get(&key("10.1.1.48.json"));
            is == state && own.is_some_and(|own| String::from_utf8_lossy(own).contains(prefix))
        }
    };
    host.until("published", holds("10.1.48.0/24", "published")).await;

    host.by_hand(Some(&record("10.1.1.48", ID, "10.1.99.0/24"))).await;
    host.until("edited", holds("10.1.99.0/24", "edited")).await;
    let reason = host.board.read().published.reason.unwrap();
    assert!(reason.contains("10.1.99.0/24"), "{reason}");

    host.networks.send_replace(networks(&["10.1.49.0/24"]));
    assert_eq!(
        host.announcer.settle(Duration::from_secs(5)).await,
        State::Published,
        "the newest claims count"
    );
    host.until("news", holds("10.1.49.0/24", "published")).await;

    host.by_hand(None).await;
    host.until("taken out", |store, is| store.records.is_empty() && is == "edited").await;
    host.networks.send_replace(networks(&["10.1.48.0/24"]));
    host.until("back", holds("10.1.48.0/24", "published")).await;

    host.leaving.send_replace(true);
    host.until("left", |_, is| is == "left").await;
}

/// The state directory of a host that told its claims to a store.
fn told(place: &str, claims: &Claims) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let file = SettledFile { store: place.to_owned(), claims: claims.clone() };
    std::fs::write(state.path().join("published.json"), serde_json::to_vec(&file).unwrap()).unwrap();
    state
}

#[tokio::test]
async fn a_host_that_is_swapped_to_another_store_tells_it_what_it_has_and_not_what_was_copied() {
    let store = MemoryStore::new();
    let base = store.snapshot().await.unwrap().revision;
    // Copied before the host changed its subnet, which the store before was told.
    let copied = record("10.1.1.48", ID, "10.1.99.0/24");
    store.commit(&base, Batch::new("copy").put(key("10.1.1.48.json"), copied)).await.unwrap();
    let state = told("git", &claims("10.1.1.48", &["10.1.48.0/24"]));
    let host = start_at("etcd", store, state, &["10.1.48.0/24"]);
    host.until("published", |store, is| {
        let own = store.records.get(&key("10.1.1.48.json"));
        is == "published" && own.is_some_and(|own| String::from_utf8_lossy(own).contains("10.1.48.0/24"))
    })
    .await;
    // From now on an edit by hand stands, over a restart too.
    host.by_hand(Some(&record("10.1.1.48", ID, "10.1.99.0/24"))).await;
    host.until("edited", |_, is| is == "edited").await;
    let Host { store, _state, .. } = host;
    let again = start_at("etcd", store, _state, &["10.1.48.0/24"]);
    again.until("still edited", |store, is| store.records.len() == 1 && is == "edited").await;
}

#[tokio::test]
async fn a_host_that_withdrew_everything_takes_its_copied_record_out_of_the_new_store() {
    let store = MemoryStore::new();
    let base = store.snapshot().await.unwrap().revision;
    let copied = record("10.1.1.48", ID, "10.1.99.0/24");
    store.commit(&base, Batch::new("copy").put(key("10.1.1.48.json"), copied)).await.unwrap();
    let host = start_at("etcd", store, told("git", &claims("10.1.1.48", &[])), &[]);
    host.until("taken out", |store, is| store.records.is_empty() && is == "nothing").await;
}

#[tokio::test]
async fn a_restart_keeps_an_edit_and_restores_a_record_that_the_store_lost() {
    let claimed = claims("10.1.1.48", &["10.1.48.0/24"]);
    let state = told("git", &claimed);
    let store = MemoryStore::new();
    let edited = record("10.1.1.48", ID, "10.1.99.0/24");
    let base = store.snapshot().await.unwrap().revision;
    store.commit(&base, Batch::new("by hand").put(key("10.1.1.48.json"), edited)).await.unwrap();
    let host = start(store, state, &["10.1.48.0/24"]);
    host.until("edited", |store, is| store.records.len() == 1 && is == "edited").await;

    let host = start(MemoryStore::new(), told("git", &claimed), &["10.1.48.0/24"]);
    host.until("published anew", |store, is| store.records.len() == 1 && is == "published").await;
}

#[tokio::test]
async fn a_refusal_is_told_and_ends_when_the_other_host_is_gone() {
    let store = MemoryStore::new();
    let base = store.snapshot().await.unwrap().revision;
    let other = record("10.1.1.51", OTHER_ID, "10.1.48.0/25");
    store.commit(&base, Batch::new("other").put(key("10.1.1.51.json"), other)).await.unwrap();
    let mut host = start(store, tempfile::tempdir().unwrap(), &["10.1.48.0/24"]);
    match host.announcer.settle(Duration::from_secs(5)).await {
        State::Refused(reason) => assert!(reason.contains("overlaps"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(host.announcer.check(&[net("10.1.48.0/26")]).unwrap_err().contains("10.1.1.51.json"));
    assert_eq!(host.announcer.check(&[net("10.1.49.0/26")]), Ok(()));
    let remove = |_: &Snapshot| Ok(Some(Batch::new("gone").remove(key("10.1.1.51.json"))));
    host.store.transact(Retry::default(), remove).await.unwrap();
    host.until("published", |store, is| store.records.len() == 1 && is == "published").await;
}
