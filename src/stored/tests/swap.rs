//! A fleet whose hosts are swapped from one store to another, one after the other: each with its follower and its
//! publisher, as the daemon runs them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use ipvland_store::{Nudge, follow::follow};
use tokio::{sync::watch, task::JoinSet};

use super::*;
use crate::{
    fleet::{Cache, Fleet, View},
    host::{Identity, Reach},
    lease::Leases,
    policy::Local,
    publisher::{ClaimSource, Outcome, Publisher, State},
    status::Board,
};

/// A host, whose state directory outlives its daemons.
struct Host {
    address: &'static str,
    id: String,
    prefix: IpNet,
    state: tempfile::TempDir,
    views: watch::Receiver<Arc<View>>,
    board: Board,
    daemon: JoinSet<()>,
}

/// What went missing from a view, and when.
type Losses = Arc<Mutex<Vec<String>>>;

const HOSTS: [&str; 3] = [A, B, C];

impl Host {
    fn new(number: u8) -> Self {
        Self {
            address: HOSTS[usize::from(number)],
            id: format!("{number}1111111-1111-4111-8111-111111111111"),
            prefix: format!("10.2.{number}.0/24").parse().unwrap(),
            state: tempfile::tempdir().unwrap(),
            views: watch::Sender::new(Arc::default()).subscribe(),
            board: Board::default(),
            daemon: JoinSet::new(),
        }
    }

    /// Starts the daemon with a store; `losses` learns of every view that lacks another host.
    fn start(&mut self, place: &str, store: &MemoryStore, losses: Option<&Losses>) {
        self.daemon = JoinSet::new();
        self.board = Board::default();
        let host = self.address.parse().unwrap();
        let reach = watch::Sender::new(Some(Reach { address: host, next_hops: vec![host] })).subscribe();
        let own = watch::Sender::new(Some(key(self.address))).subscribe();
        let cache = self.state.path().join("snapshot.json");
        let fleet = Fleet::new(place.to_owned(), cache, own, self.board.clone());
        self.views = fleet.subscribe();
        if let Some(losses) = losses {
            let (mut views, losses) = (self.views.clone(), Arc::clone(losses));
            let (own, at) = (self.address, format!("{} with {place}", self.address));
            self.daemon.spawn(async move {
                loop {
                    let view = views.borrow_and_update().clone();
                    // No host has a route to itself.
                    let others = HOSTS.iter().filter(|host| **host != own);
                    for host in others.filter(|host| !view.records.contains_key(&key(host))) {
                        let words = format!("{at} lost {host} at {:?}", view.revision);
                        losses.lock().unwrap_or_else(PoisonError::into_inner).push(words);
                    }
                    if views.changed().await.is_err() {
                        return;
                    }
                }
            });
        }
        let nudge = Nudge::new();
        let events = follow(Arc::new(store.clone()), nudge.clone());
        self.daemon.spawn(fleet.run(events));
        let identity = Identity {
            id: self.id.clone(),
            name: self.address.to_owned(),
            interface: Some("eth2".to_owned()),
        };
        let publisher = Publisher {
            store: Arc::new(store.clone()),
            place: place.to_owned(),
            nudge,
            id: self.id.clone(),
            source: ClaimSource::new(
                identity,
                vec![self.prefix],
                watch::Sender::new(Arc::default()).subscribe(),
                reach,
                Leases::open(self.state.path().join("leases.json")).unwrap(),
            ),
            views: self.views.clone(),
            local: watch::Sender::new(Local::default()).subscribe(),
            leaving: watch::Sender::new(false).subscribe(),
            settled_file: self.state.path().join("published.json"),
            board: self.board.clone(),
            outcome: watch::Sender::new(Outcome { claims: None, state: State::Nothing }),
        };
        self.daemon.spawn(publisher.run());
    }

    /// Waits until the daemon shows these prefixes, its own is published, and the disk knows all of it.
    async fn settle(&mut self, prefixes: &[IpNet]) {
        let shown = |view: &View| -> Vec<IpNet> {
            let records = view.records.values().filter_map(|record| record.as_ref().ok());
            records
                .flat_map(|record| record.prefixes().map(|(_, prefix)| prefix).collect::<Vec<_>>())
                .collect()
        };
        let disk = Cache::new(self.state.path().join("snapshot.json"));
        let settled = async {
            loop {
                let view = self.views.borrow().clone();
                let on_disk = disk.read().is_some_and(|saved| Some(saved.revision) == view.revision);
                let published = self.board.read().published.state == "published";
                if shown(&view) == prefixes && on_disk && published {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(10), settled).await;
        assert!(settled.is_ok(), "{}: {:?} {:?}", self.address, self.views.borrow(), self.board.read());
    }
}

fn prefixes(hosts: &[Host]) -> Vec<IpNet> {
    hosts.iter().map(|host| host.prefix).collect()
}

/// A fleet on one store that has settled, and another store.
async fn fleet() -> (Vec<Host>, MemoryStore, MemoryStore) {
    let (git, etcd) = (MemoryStore::new(), MemoryStore::new());
    let mut hosts: Vec<Host> = (0..3).map(Host::new).collect();
    for host in &mut hosts {
        host.start("git", &git, None);
    }
    let all = prefixes(&hosts);
    for host in &mut hosts {
        host.settle(&all).await;
    }
    (hosts, git, etcd)
}

async fn copied(from: &MemoryStore, to: &MemoryStore, state: &Path) {
    let (from, to) = (Arc::new(from.clone()), Arc::new(to.clone()));
    copy_between(from, to, state, PLAIN).await.unwrap();
}

#[tokio::test]
async fn a_fleet_that_is_copied_and_swapped_host_after_host_loses_no_route() {
    let (mut hosts, git, etcd) = fleet().await;
    let (losses, copies) = (Losses::default(), tempfile::tempdir().unwrap());
    copied(&git, &etcd, copies.path()).await;
    let all = prefixes(&hosts);
    hosts[0].start("etcd", &etcd, Some(&losses));
    hosts[0].settle(&all).await;

    // A host that is still on the old store changes its subnet; a copy brings it to the one that has moved.
    hosts[1].prefix = "10.2.101.0/24".parse().unwrap();
    hosts[1].start("git", &git, Some(&losses));
    let all = prefixes(&hosts);
    hosts[1].settle(&all).await;
    hosts[2].settle(&all).await;
    copied(&git, &etcd, copies.path()).await;
    hosts[0].settle(&all).await;

    // And one that has moved changes: a copy the other way brings it to those that haven't.
    hosts[0].prefix = "10.2.100.0/24".parse().unwrap();
    hosts[0].start("etcd", &etcd, Some(&losses));
    let all = prefixes(&hosts);
    hosts[0].settle(&all).await;
    let (from, to) = (
        Opened::of(Arc::new(etcd.clone()), "etcd", copies.path()),
        Opened::of(Arc::new(git.clone()), "git", copies.path()),
    );
    copy(&from, &to, PLAIN, &mut |_| {}).await.unwrap();
    hosts[2].settle(&all).await;

    // One changes as it is swapped, so that what was copied of it is old.
    hosts[2].prefix = "10.2.102.0/24".parse().unwrap();
    let all = prefixes(&hosts);
    for host in &mut hosts[1..] {
        host.start("etcd", &etcd, Some(&losses));
    }
    for host in &mut hosts {
        host.settle(&all).await;
        assert_eq!(host.views.borrow().held, None);
    }
    assert_eq!(*losses.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fleet_that_nobody_copied_loses_no_route_either() {
    let (mut hosts, _git, etcd) = fleet().await;
    let losses = Losses::default();
    let all = prefixes(&hosts);
    for host in &mut hosts {
        host.start("etcd", &etcd, Some(&losses));
        host.settle(&all).await;
    }
    for host in &mut hosts {
        host.settle(&all).await;
        assert_eq!(host.views.borrow().held, None);
    }
    assert_eq!(etcd.snapshot().await.unwrap().records.len(), 3);
    assert_eq!(*losses.lock().unwrap(), Vec::<String>::new());
}
