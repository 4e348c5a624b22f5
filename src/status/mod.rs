//! What the daemon tells about itself: the state behind `ipvland status`, the plugin's `/status`, and its JSON.
//!
//! Each part of the daemon writes its own section on the [`Board`], or is asked for it when somebody reads; readers see all
//! of them at once.

mod render;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use render::render_text;
pub(crate) use render::{clean, table};

/// Everything that the daemon tells, as `ipvland status -o json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the running daemon.
    pub version: String,
    /// Whether nothing in `problems` is there.
    pub healthy: bool,
    /// What keeps the daemon from being healthy, a sentence each.
    pub problems: Vec<String>,
    /// Who this host is.
    pub host: HostStatus,
    /// The store and how it is.
    pub store: StoreStatus,
    /// What this host publishes.
    pub published: PublishedStatus,
    /// The records of the other hosts that are believed, by file.
    pub learned: Vec<Learned>,
    /// The records, and prefixes of records, that are refused, and why.
    pub refused: Vec<Refused>,
    /// Each route that is wanted, and what became of it.
    pub routes: Vec<RouteStatus>,
    /// The Docker networks of this host.
    pub networks: Vec<NetworkStatus>,
    /// Names of containers across hosts.
    #[serde(default)]
    pub names: NamesStatus,
    /// What hosts tell each other of news, and how often the store is looked at.
    #[serde(default)]
    pub nudges: NudgeStatus,
    /// The networks whose containers this host reaches, or ought to.
    #[serde(default)]
    pub host_access: Vec<HostAccessStatus>,
    /// What this host gives addresses of by itself.
    #[serde(default)]
    pub addresses: Vec<AddressStatus>,
}

/// Who this host is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// The stable id of the machine.
    pub id: String,
    /// The parent interface, where there is one.
    pub interface: Option<String>,
    /// The address that names it in the store, where it has one.
    pub address: Option<IpAddr>,
}

/// The store and how it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its kind.
    pub kind: String,
    /// Where it is, secrets hidden.
    pub location: String,
    /// The revision of the records in use.
    pub revision: Option<String>,
    /// Where the records in use come from: `store`, `disk` (the last good snapshot), or `none`.
    pub source: String,
    /// Why the store is away at the moment, if it is.
    pub away: Option<String>,
    /// Why the records in use are kept although the store shows others, if so.
    pub held: Option<String>,
}

/// What this host publishes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedStatus {
    /// The file of this host's record.
    pub file: Option<String>,
    /// What the record ought to hold: network names and prefixes.
    pub prefixes: BTreeMap<String, Vec<IpNet>>,
    /// `published`, `pending`, `refused`, `left`, `edited` (the store's record differs by another's hand), or `nothing`.
    pub state: String,
    /// Why, where the state needs a reason.
    pub reason: Option<String>,
    /// Why no prefix could be leased for this host, if so.
    #[serde(default)]
    pub lacking: Option<String>,
}

/// A record of another host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The file.
    pub file: String,
    /// The host's name.
    pub host: String,
    /// The network.
    pub network: String,
    /// The prefix.
    pub prefix: IpNet,
    /// The next hop.
    pub next_hop: IpAddr,
}

/// A record, or one prefix of it, that is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// The prefix, where the rest of the record stands.
    pub prefix: Option<IpNet>,
    /// Why.
    pub reason: String,
}

/// A wanted route, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Where it leads.
    pub prefix: IpNet,
    /// The next hop.
    pub next_hop: IpAddr,
    /// The interface.
    pub interface: String,
    /// `installed`, `foreign` (somebody else routes the prefix) or `failed`.
    pub state: String,
    /// Why it is not installed, where it isn't.
    pub reason: Option<String>,
}

/// A Docker network of this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// The first 12 digits of Docker's id.
    pub id: String,
    /// The name in records.
    pub name: String,
    /// The mode: `l2`, `l3`, `l3s`.
    pub mode: String,
    /// The parent interface.
    pub parent: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// Whether its prefixes are told to the other hosts.
    pub published: bool,
    /// What a user may have expected otherwise, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Names of containers across hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamesStatus {
    /// Whether this host tells names and answers for them.
    pub enabled: bool,
    /// Where it answers.
    pub listen: Vec<String>,
    /// How many names this host's containers have.
    pub own: usize,
    /// How many names of other hosts' containers are believed.
    pub learned: usize,
    /// What keeps it from answering, a sentence each.
    pub serving: Vec<String>,
    /// Why its names are not in the store, if so.
    pub publishing: Option<String>,
    /// Why Docker can't be asked for names, if so.
    pub away: Option<String>,
    /// Why some of its names are not told, if so.
    pub dropped: Option<String>,
    /// What is left out of the others' names.
    pub refused: Vec<Refused>,
}

/// What hosts tell each other of news, and how often the store is looked at. Numbers are since the start of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NudgeStatus {
    /// `on`, `off`, or `not needed` for a store that tells of changes by itself.
    pub state: String,
    /// Where nudges are heard.
    pub listen: Option<String>,
    /// Why they are not, if so.
    pub problem: Option<String>,
    /// How many hosts are known to be alive.
    pub alive: usize,
    /// Nudges that were sent.
    pub sent: u64,
    /// Answers to them.
    pub answers: u64,
    /// Nudges that were heard.
    pub heard: u64,
    /// Nudges that were heard again.
    pub repeated: u64,
    /// Datagrams that no host of this fleet has signed.
    pub refused: u64,
    /// Looks at the store.
    pub looks: u64,
    /// Hints at something unknown, from nudges and webhooks.
    pub hints: u64,
    /// Hints that brought news.
    pub true_hints: u64,
    /// Hints that brought nothing.
    pub false_hints: u64,
    /// Hints at what was known already.
    pub known_hints: u64,
    /// The revision that was hinted at last, where it was not known.
    pub last_hint: Option<String>,
    /// How often the store is looked at without a hint, at the moment, in milliseconds.
    pub interval_ms: Option<u64>,
    /// The push webhooks, where they are heard.
    pub webhook: Option<WebhookStatus>,
}

/// Push webhooks of a Git server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookStatus {
    /// Where they are heard.
    pub listen: Option<String>,
    /// Why they are not, if so.
    pub problem: Option<String>,
    /// How many were signed with the secret.
    pub accepted: u64,
    /// How many were not.
    pub refused: u64,
}

/// A network whose containers this host reaches, or ought to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostAccessStatus {
    /// The first 12 digits of Docker's id of the network.
    pub id: String,
    /// The network's name in records.
    pub network: String,
    /// The device in the host's namespace, where there is one.
    pub device: Option<String>,
    /// The addresses that containers see this host by, one a subnet where that is known.
    pub sources: Vec<IpAddr>,
    /// `reached`, `failed`, or `waiting` for a parent that comes with the first container.
    pub state: String,
    /// Why it failed, or what else is to be known.
    pub reason: Option<String>,
}

/// Address space that this host gives out by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The prefix or block.
    pub net: IpNet,
    /// `subnet` (of the config), `prefix` (leased), `block` (leased, of a shared subnet) or `network` (of an l3 network).
    pub kind: String,
    /// How many addresses are given.
    pub used: usize,
    /// How many can be given at all; 2^64 and more count as one less.
    pub size: u64,
    /// Why no new ones are given, if so.
    pub problem: Option<String>,
}

/// Where the parts of the daemon write their sections.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Sections>);

#[derive(Debug, Default)]
struct Sections {
    /// What was written.
    written: Mutex<Status>,
    /// Who is asked for the rest.
    live: Mutex<Option<Arc<dyn Live>>>,
}

/// A part of the daemon that writes its sections when somebody asks: what has a row for each of many thousand routes is
/// not kept twice, nor written at each pass.
pub trait Live: fmt::Debug + Send + Sync {
    /// Writes the sections as they are now.
    fn write(&self, status: &mut Status);
}

impl Board {
    /// Changes sections of the status.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.written.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Has sections written by `live` from now on, in the place of whom was asked before.
    pub fn ask(&self, live: Arc<dyn Live>) {
        *self.0.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(live);
    }

    /// Returns the whole status, with `healthy` and `problems` worked out.
    pub fn read(&self) -> Status {
        let mut status = self.0.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(live) = live {
            live.write(&mut status);
        }
        status.problems = status.find_problems();
        status.healthy = status.problems.is_empty();
        status
    }
}

impl Status {
    fn find_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(away) = &self.store.away {
            problems.push(format!("the store is away: {away}"));
        }
        problems.extend(self.store.held.clone());
        if matches!(self.published.state.as_str(), "pending" | "refused" | "edited") {
            let reason = self.published.reason.as_deref().unwrap_or("not yet in the store");
            problems.push(format!("this host's record is {}: {reason}", self.published.state));
        }
        if let Some(why) = &self.published.lacking {
            problems.push(format!("this host has no prefix of its own: {why}"));
        }
        // Others' records that are refused are for others to mend, and all that is believed is routed.
        let own = self.refused.iter().filter(|refused| Some(&refused.file) == self.published.file.as_ref());
        problems.extend(own.map(|refused| match refused.prefix {
            Some(prefix) => format!("the other hosts refuse this host's {prefix}: {}", refused.reason),
            None => format!("the other hosts refuse this host's record: {}", refused.reason),
        }));
        problems.extend(self.routes.iter().filter(|route| route.state != "installed").map(|route| {
            let reason = route.reason.as_deref().unwrap_or("unknown");
            format!("the route to {} is {}: {reason}", route.prefix, route.state)
        }));
        let names = &self.names;
        problems.extend(names.serving.iter().chain(&names.publishing).chain(&names.away).cloned());
        problems.extend(names.dropped.clone());
        problems.extend(self.host_access.iter().filter(|access| access.state == "failed").map(|access| {
            let reason = access.reason.as_deref().unwrap_or("unknown");
            format!(
                "this host and the containers of network {} can't reach each other: {reason}",
                access.network
            )
        }));
        problems.extend(self.addresses.iter().filter_map(|addresses| addresses.problem.clone()));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_answers_for_its_own_record_and_routes() {
        let board = Board::default();
        let refused = |file: &str| Refused { file: file.to_owned(), prefix: None, reason: "no".to_owned() };
        board.update(|status| {
            status.published.file = Some("10.1.1.48.json".to_owned());
            status.refused = vec![refused(".gitkeep"), refused("10.1.1.51.json")];
        });
        assert!(board.read().healthy, "{:?}", board.read().problems);
        board.update(|status| status.refused.push(refused("10.1.1.48.json")));
        assert_eq!(board.read().problems, ["the other hosts refuse this host's record: no"]);
        board.update(|status| {
            status.refused.clear();
            status.published.state = "pending".to_owned();
            status.store.away = Some("no route to host".to_owned());
        });
        assert_eq!(board.read().problems.len(), 2);
        assert!(!board.read().healthy);
    }
}
