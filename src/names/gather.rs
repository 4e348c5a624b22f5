//! Keeps the names of this host's containers, by asking Docker.
//!
//! Docker's API is never asked from within a question of Docker's own to the driver: at its start that would wait for
//! itself. This is a task beside; Docker's events only tell it that there may be news, and what counts is read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipvland_store::MAX_RECORD_BYTES;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::docker::{Attached, Docker, Events};
use crate::{
    kernel::Mode,
    network::{Network, Networks},
    publisher::is_published,
    record::{MAX_ADDRESSES, MAX_HOST_NAMES, Names, NamesRecord, is_label},
    status::Board,
};

/// How long events are gathered before Docker is asked.
const GATHER: Duration = Duration::from_millis(300);

/// The longest time between two readings.
const FULL_PASS: Duration = Duration::from_secs(60);

/// How soon Docker is tried again when it is away, doubled each time up to [`FULL_PASS`]'s sixth.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Keeps the names of this host's containers.
#[derive(Debug)]
pub struct Gather {
    /// Docker's API socket.
    pub socket: PathBuf,
    /// The networks that count: those of our driver.
    pub networks: watch::Receiver<Networks>,
    /// This host's own parent interface.
    pub interface: Option<String>,
    /// Where the names go: nothing until Docker has told them for the first time.
    pub names: watch::Sender<Option<Arc<Names>>>,
    /// Where the status goes.
    pub board: Board,
}

/// What a container is called in a network beside its name, and when it was made. It stands as long as the attachment.
#[derive(Debug, Clone)]
struct Known {
    aliases: BTreeSet<String>,
    created: String,
}

/// By network and attachment.
type Cache = HashMap<(String, String), Known>;

/// A name that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// When the container was made: the oldest come first.
    created: String,
    network: String,
    name: String,
    address: IpAddr,
}

impl Gather {
    /// Keeps the names until the future is dropped. While Docker is away the last known ones stay.
    pub async fn run(mut self) {
        let mut cache = Cache::new();
        let mut retry = FIRST_RETRY;
        loop {
            // The events first, so that nothing is missed between the two.
            let away = match self.connect().await {
                Ok((mut docker, mut events)) => {
                    retry = FIRST_RETRY;
                    self.follow(&mut docker, &mut events, &mut cache).await
                }
                Err(away) => away,
            };
            self.tell_away(Some(away));
            sleep(retry).await;
            retry = (retry * 2).min(FULL_PASS / 6);
        }
    }

    async fn connect(&self) -> Result<(Docker, Events), String> {
        let events = Docker::connect(&self.socket).await?.events().await?;
        Ok((Docker::connect(&self.socket).await?, events))
    }

    /// Reads again and again; returns why Docker is away.
    async fn follow(&mut self, docker: &mut Docker, events: &mut Events, cache: &mut Cache) -> String {
        loop {
            let begun = Instant::now();
            match self.read(docker, cache).await {
                Ok(found) => {
                    self.tell_away(None);
                    self.tell(found);
                }
                Err(away) => return away,
            }
            tokio::select! {
                more = events.next() => if !more {
                    return "its events have ended".to_owned();
                },
                Ok(()) = self.networks.changed() => {}
                () = sleep_until(begun + FULL_PASS) => {}
            }
            // What comes meanwhile is answered by the reading that follows.
            let gathered = sleep(GATHER);
            tokio::pin!(gathered);
            loop {
                tokio::select! {
                    () = &mut gathered => break,
                    more = events.next() => if !more {
                        return "its events have ended".to_owned();
                    },
                }
            }
        }
    }

    async fn read(&mut self, docker: &mut Docker, cache: &mut Cache) -> Result<Vec<Found>, String> {
        let networks = self.networks.borrow_and_update().clone();
        let mut found = Vec::new();
        let mut known = Cache::new();
        for network in networks.values().filter(|network| self.is_reached(network)) {
            let Some(answer) = docker.network(&network.id).await? else { continue };
            for (id, attached) in &answer.containers {
                let key = (network.id.clone(), attached.endpoint.clone());
                let about = match cache.get(&key) {
                    Some(about) => about.clone(),
                    None => match docker.container(id).await? {
                        Some(container) => {
                            Known { aliases: container.aliases(id, &network.id), created: container.created }
                        }
                        // Gone since, or an attachment without a container.
                        None => continue,
                    },
                };
                found.extend(names_of(&answer.name, attached, &about));
                known.insert(key, about);
            }
        }
        *cache = known;
        Ok(found)
    }

    /// Says whether containers of a network are reached from other hosts: routed to, or on a segment with them.
    fn is_reached(&self, network: &Network) -> bool {
        network.mode == Mode::L2 || is_published(network, self.interface.as_deref())
    }

    fn tell(&self, found: Vec<Found>) {
        let (names, left_out) = within_bounds(found);
        let count = names.values().map(BTreeMap::len).sum();
        let dropped = (left_out > 0).then(|| {
            format!(
                "{left_out} names of this host's containers are not told to the others, as it has more than fit into its \
                 file ({MAX_HOST_NAMES} names, {MAX_RECORD_BYTES} bytes): the oldest are told"
            )
        });
        self.board.update(|status| {
            if let Some(words) = dropped.as_ref().filter(|_| status.names.dropped.is_none()) {
                tracing::warn!("{words}");
            }
            status.names.dropped = dropped;
            status.names.own = count;
        });
        self.names.send_if_modified(|before| {
            let changed = before.as_deref() != Some(&names);
            if changed {
                *before = Some(Arc::new(names));
            }
            changed
        });
    }

    fn tell_away(&self, away: Option<String>) {
        let words = away.map(|away| {
            format!(
                "Docker's API on {} is away, so the names of this host's containers stay as they were: {away}; start \
                 Docker, or name its socket with names.docker",
                self.socket.display()
            )
        });
        self.board.update(|status| {
            match (&status.names.away, &words) {
                // At the machine's start we are there before Docker.
                (None, Some(words)) if self.names.borrow().is_none() => tracing::info!("{words}"),
                (before, Some(words)) if before.as_ref() != Some(words) => tracing::warn!("{words}"),
                (Some(_), None) => tracing::info!("Docker's API is back"),
                _ => {}
            }
            status.names.away = words;
        });
    }
}

/// Returns what a container is called: its name and aliases, as far as they can be labels of DNS, by all its addresses.
fn names_of(network: &str, attached: &Attached, about: &Known) -> Vec<Found> {
    let names = std::iter::once(&attached.name).chain(&about.aliases);
    let names: BTreeSet<String> =
        names.filter(|name| is_label(name)).map(|name| name.to_ascii_lowercase()).collect();
    if !is_label(network) {
        return Vec::new();
    }
    let each = |name: &String| {
        let (name, network, created) = (name.clone(), network.to_ascii_lowercase(), about.created.clone());
        attached.addresses().into_iter().map(move |address| Found {
            created: created.clone(),
            network: network.clone(),
            name: name.clone(),
            address,
        })
    };
    names.iter().flat_map(each).collect()
}

/// Puts names together, the oldest first, for as long as they fit into one file; returns how many don't.
fn within_bounds(mut found: Vec<Found>) -> (Names, usize) {
    found.sort();
    let (mut names, mut count, mut bytes) = (Names::new(), 0, NamesRecord::bytes_of_an_empty_one());
    let mut left_out = BTreeSet::new();
    for Found { network, name, address, .. } in found {
        let of_network = names.get(&network);
        let known = of_network.and_then(|of| of.get(&name));
        let is_new = known.is_none();
        let more = NamesRecord::bytes_of_an_entry(
            of_network.is_none().then_some(&network),
            is_new.then_some(&name),
            address,
        );
        let full = bytes + more > MAX_RECORD_BYTES
            || (is_new && count >= MAX_HOST_NAMES)
            || known.is_some_and(|of| of.len() >= MAX_ADDRESSES);
        if full {
            left_out.insert((network, name));
            continue;
        }
        count += usize::from(is_new);
        bytes += more;
        names.entry(network).or_default().entry(name).or_default().insert(address);
    }
    (names, left_out.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: usize, name: String) -> Found {
        Found {
            created: format!("2026-01-{:05}", n),
            network: "net1".into(),
            name,
            address: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
        }
    }

    #[test]
    fn names_beyond_the_bound_are_left_out_and_the_oldest_stay() {
        let mut all: Vec<_> = (0..600).map(|n| found(n, format!("n{n}"))).collect();
        all.reverse();
        let (names, left_out) = within_bounds(all);
        assert_eq!((names["net1"].len(), left_out), (500, 100));
        assert!(names["net1"].contains_key("n499") && !names["net1"].contains_key("n500"));
    }

    #[test]
    fn names_always_fit_into_a_file() {
        let long = |n: usize| format!("{n:0>63}");
        let all = (0..500).flat_map(|n| {
            (0..3).map(move |a: u16| Found {
                address: std::net::Ipv6Addr::new(
                    0x2001,
                    0xdb8,
                    0x1111,
                    0x2222,
                    0x3333,
                    0x4444,
                    0x5555,
                    0x6660 + a,
                )
                .into(),
                ..found(n, long(n))
            })
        });
        let (names, left_out) = within_bounds(all.collect());
        assert!(left_out > 100, "{left_out}");
        let file = NamesRecord {
            host: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
            id: "i".repeat(128),
            names,
        };
        let bytes = file.to_bytes().len();
        assert!((MAX_RECORD_BYTES - 8192..=MAX_RECORD_BYTES).contains(&bytes), "{bytes}");
    }
}
