//! Tells the others what this host has written, and finds out who is there to be told.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use ipvland_store::{Key, Revision};
use tokio::{sync::watch, time::Instant};

use super::{
    datagram::{Letter, Seal},
    ear::{Counter, Hearing},
    peers::Peers,
    tour::{Standing, Tour},
};
use crate::{
    fleet::{Source, View},
    record::Record,
};

/// How long after a webhook news are taken for what it hinted at.
const RELAY: Duration = Duration::from_secs(10);

/// Returns the id in a host's record: who has none can't be nudged.
pub(super) fn id_of(view: &View, host: IpAddr) -> Option<&str> {
    view.records.get(&Record::key(host))?.as_ref().ok()?.id.as_deref()
}

/// Returns the hosts that can be nudged, without one.
fn nudgeable<'a>(view: &'a View, own: &'a Key) -> impl Iterator<Item = IpAddr> + 'a {
    let others = view.records.iter().filter(move |(key, _)| *key != own);
    others
        .filter(|(_, record)| record.as_ref().is_ok_and(|record| record.id.is_some()))
        .filter_map(|(key, _)| Record::host_of(key))
}

/// Sockets that nudges and answers leave by, one a family, made when they are needed. They never wait: a datagram that
/// the kernel has no room for is lost.
#[derive(Debug, Default)]
pub(super) struct Mouth {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Mouth {
    /// Sends, and says whether the kernel took it.
    pub(super) fn say(&mut self, bytes: &[u8], to: SocketAddr) -> bool {
        let (socket, any) = match to {
            SocketAddr::V4(_) => (&mut self.v4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&mut self.v6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        if socket.is_none() {
            *socket = open(any).inspect_err(|error| tracing::debug!(%error, "no socket to nudge by")).ok();
        }
        socket.as_ref().is_some_and(|socket| socket.send_to(bytes, to).is_ok())
    }
}

fn open(any: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Tells the others.
pub(super) struct Teller {
    pub(super) enabled: bool,
    pub(super) port: u16,
    /// Whether there is a poller that the store needs.
    pub(super) polled: watch::Receiver<bool>,
    /// What this host has written.
    pub(super) commits: watch::Receiver<Option<Revision>>,
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) own: watch::Receiver<Option<Key>>,
    pub(super) peers: Arc<Peers>,
    pub(super) hearing: Arc<Hearing>,
    /// Changes with each webhook.
    pub(super) relay: watch::Receiver<()>,
    /// How many nudges were sent.
    pub(super) told: Arc<Counter>,
}

/// What is being told, to whom.
struct Round {
    letter: Letter,
    view: Arc<View>,
    tour: Tour,
}

/// What the others are to be told that this host has not written.
enum News {
    /// What this host has read after its start.
    Hello(Revision),
    /// What a webhook hinted at.
    Relay(Revision),
}

/// The sockets for hosts that are alive, and for those that may not be: what waits for an address that nobody answers for
/// takes room in its socket's buffer for seconds.
#[derive(Default)]
struct Mouths {
    alive: Mouth,
    unheard: Mouth,
}

impl Teller {
    /// Tells for ever, once a poller says that the store needs it.
    pub(super) async fn run(mut self) {
        if !self.enabled || self.polled.wait_for(|polled| *polled).await.is_err() {
            return std::future::pending().await;
        }
        let mut mouths = Mouths::default();
        let mut round: Option<Round> = None;
        let mut before: Option<Arc<View>> = None;
        let mut relay_until: Option<Instant> = None;
        self.views.mark_changed();
        loop {
            let due = round.as_ref().and_then(|round| round.tour.due());
            tokio::select! {
                // What this host has written comes first.
                biased;
                Ok(()) = self.commits.changed() => {
                    let revision = self.commits.borrow_and_update().clone();
                    if let Some(revision) = revision {
                        // What is still to be told of an older one is not told any more.
                        round = self.begin(&revision, &mut mouths);
                    }
                }
                Ok(()) = self.relay.changed() => relay_until = Some(Instant::now() + RELAY),
                Ok(()) = self.views.changed() => {
                    let view = self.views.borrow_and_update().clone();
                    let known = before.replace(Arc::clone(&view));
                    match self.seen(known.as_deref(), &view, &mut relay_until, &mut mouths) {
                        Some(News::Relay(revision)) => round = self.begin(&revision, &mut mouths),
                        // What this host has written meanwhile is newer.
                        Some(News::Hello(revision)) if round.is_none() => {
                            round = self.begin(&revision, &mut mouths);
                        }
                        Some(News::Hello(_)) | None => {}
                    }
                }
                () = sleep_until(due) => {
                    if let Some(round) = &mut round
                        && let Some(host) = round.tour.next()
                        && !self.tell(&round.letter, &round.view, host, &mut mouths)
                    {
                        round.tour.give_back();
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    /// Begins to tell of a revision: hosts that are alive hear of it at once.
    fn begin(&self, revision: &Revision, mouths: &mut Mouths) -> Option<Round> {
        let own = self.own.borrow().clone()?;
        let letter = Letter::nudge(self.hearing.new_round(), &own, revision)?;
        let view = self.views.borrow().clone();
        let living = self.peers.living();
        let alive =
            living.into_iter().filter(|host| id_of(&view, *host).is_some() && Record::key(*host) != own);
        let unheard = || {
            let hosts = nudgeable(&view, &own);
            hosts.filter(|host| self.peers.standing(*host) == Standing::Unheard).collect()
        };
        let tour = Tour::begin(alive.collect(), unheard, |host| _ = self.tell(&letter, &view, host, mouths));
        tracing::debug!(%revision, "telling the other hosts of a revision");
        Some(Round { letter, view, tour })
    }

    /// Tells one host; says whether the datagram left.
    fn tell(&self, letter: &Letter, view: &View, host: IpAddr, mouths: &mut Mouths) -> bool {
        let Some(id) = id_of(view, host) else { return false };
        let mouth = match self.peers.standing(host) {
            Standing::Alive => &mut mouths.alive,
            Standing::Unheard | Standing::Off => &mut mouths.unheard,
        };
        let left = mouth.say(&letter.sealed(&Seal::of(id)), SocketAddr::new(host, self.port));
        if left {
            self.told.add();
        }
        self.peers.nudged(host);
        left
    }

    /// Learns from a new view who lives; returns what the others are to be told, if there is something.
    fn seen(
        &self,
        before: Option<&View>,
        view: &View,
        relay_until: &mut Option<Instant>,
        mouths: &mut Mouths,
    ) -> Option<News> {
        if view.source != Source::Store {
            return None;
        }
        let revision = view.revision.clone()?;
        let own = self.own.borrow().clone()?;
        let Some(before) = before.filter(|before| before.source == Source::Store) else {
            // After a start nobody is known to live. Who is told what it knows already only answers.
            return Some(News::Hello(revision));
        };
        let changed = view.changed_since(before).unwrap_or_default();
        for host in changed.iter().filter_map(Record::host_of) {
            if !view.records.contains_key(&Record::key(host)) {
                self.peers.forget(host);
            }
        }
        if before.readings == view.readings {
            // Who has just written lives. It doesn't know that of this host, and hears it now.
            let hosts = changed.iter().filter(|key| **key != own).filter_map(Record::host_of);
            for host in hosts.filter(|host| id_of(view, *host).is_some()) {
                if self.peers.hear(host)
                    && let Some(letter) = Letter::nudge(self.hearing.new_round(), &own, &revision)
                {
                    let _ = self.tell(&letter, view, host, mouths);
                }
            }
        }
        let new = before.revision.as_ref() != Some(&revision);
        // The Git server told one host, which tells the others once it has seen that it is true.
        let relay = new && relay_until.take_if(|_| new).is_some_and(|until| until > Instant::now());
        relay.then_some(News::Relay(revision))
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
