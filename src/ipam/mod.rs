//! Docker's IPAM driver: one address space over all hosts, given out by each host without asking the others.
//!
//! A subnet that hosts share (an l2 network on the LAN) is leased in blocks through the store, one commit a block, and the
//! host gives the addresses of its blocks by itself. A prefix of the host's own (its `network.subnet`, a leased prefix, or
//! the subnet of an l3 network) is its alone as a whole.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | this one | [`Ipam`]: the handle, and what is shared by all of it |
//! | `pools` | Docker asks for a pool and gives it back |
//! | `addresses` | Docker asks for an address and gives it back, and endpoints come and go with them |
//! | `leasing` | blocks for subnets that are shared |
//! | `stale` | endpoints that Docker forgot |
//! | `tend` | what happens by itself: waits that end, leases that go back, the status |
//! | `never` | addresses that no container gets, and why |
//! | `neighbours` | the other hosts, as far as addresses go |
//! | `state` | which addresses are given, in memory |
//! | `ledger` | the same on disk |
//! | `pool` | a pool and its id |
//! | [`space`] | the search for the next address: pure functions |
//!
//! # What survives a kill at any instant
//!
//! - An address is in the ledger before Docker hears of it, and a block is in the store and on disk before that.
//! - The book of networks says which endpoint has which address, and no address is in it twice. CreateEndpoint is what
//!   decides: whatever was promised to two is entered for one.
//! - An address that no endpoint holds is *pending*: between RequestAddress and CreateEndpoint, or between DeleteEndpoint
//!   and ReleaseAddress. Pending ones, and pools without a network, vanish after a minute, so lost answers leak nothing.
//! - After a restart every address that the ledger knows is pending anew, also those that came back shortly before: their
//!   release may come again, as Docker repeats what was not answered for up to a quarter of a minute, and must not hit a
//!   new holder.

mod addresses;
mod leasing;
mod ledger;
mod neighbours;
mod never;
mod pool;
mod pools;
pub mod space;
mod stale;
mod state;
mod tend;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::sync::{Notify, watch};

use crate::{
    config::NetworkConfig,
    fleet::View,
    kernel::Mode,
    lease::{Kind, Leases},
    network::{Book, Network, Networks},
    policy::Local,
    status::Board,
};

use ledger::{Entry, Ledger, Turn};
use neighbours::Neighbours;
pub use pool::Pool;
pub use pools::Asked;
use state::{Known, State};

/// The name of the ledger in the state directory.
pub const LEDGER: &str = "addresses.log";

/// How long things may take and wait.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long an address without an endpoint, and a pool without a network, are kept; a minute. Docker's client repeats
    /// a call for 15 s.
    pub quarantine: Duration,
    /// How long a request waits for the store; 10 s.
    pub patience: Duration,
    /// How long an endpoint may be in no container before its address counts as forgotten, when addresses run out; two
    /// minutes. Docker joins an endpoint as soon as it has made it.
    pub apart: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            quarantine: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            apart: Duration::from_secs(120),
        }
    }
}

/// What the address management asks and tells.
#[derive(Debug)]
pub struct Parts {
    /// The table `[network]` of the config.
    pub config: NetworkConfig,
    /// How long things may take.
    pub times: Times,
    /// What this host leases.
    pub leases: Leases,
    /// The networks and their endpoints.
    pub book: Book,
    /// What the store shows.
    pub views: watch::Receiver<Arc<View>>,
    /// This host's interfaces.
    pub local: watch::Receiver<Local>,
    /// Where the status goes.
    pub board: Board,
}

/// The address management of this host. Clones are handles on one.
#[derive(Debug, Clone)]
pub struct Ipam(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: NetworkConfig,
    times: Times,
    leases: Leases,
    book: Book,
    board: Board,
    ledger: Ledger,
    neighbours: Mutex<Neighbours>,
    state: Mutex<State>,
    // Held while a prefix is chosen: what is leased for a pool must not go back before the pool is there.
    choosing: tokio::sync::Mutex<()>,
    // Held, for each subnet, while a block is leased: who comes meanwhile takes from that block.
    leasing: Mutex<HashMap<IpNet, Arc<tokio::sync::Mutex<()>>>>,
    // Something may have become of no use.
    idle: Notify,
}

impl Ipam {
    /// Opens the address management over its ledger. It blocks.
    ///
    /// # Errors
    /// A sentence when the ledger can't be read or written: whoever guessed might give addresses twice.
    pub fn open(path: PathBuf, parts: Parts) -> Result<Self, String> {
        let ledger = Ledger::open(path)?;
        let state = State::restore(ledger.image());
        let inner = Inner {
            config: parts.config,
            times: parts.times,
            leases: parts.leases,
            book: parts.book,
            board: parts.board,
            ledger,
            neighbours: Mutex::new(Neighbours::new(parts.views, parts.local)),
            state: Mutex::new(state),
            choosing: tokio::sync::Mutex::default(),
            leasing: Mutex::default(),
            idle: Notify::new(),
        };
        // Should the ledger lack what an endpoint has: it was moved away.
        inner.match_book(&mut inner.state());
        inner.ledger.settle_now()?;
        Ok(Self(Arc::new(inner)))
    }

    /// Says whether the subnet of a network was chosen here, as the user named none.
    pub fn is_chosen(&self, net: IpNet) -> bool {
        self.0.state().pools.values().any(|known| known.pool.chosen && known.pool.net == net)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a whole subnet is this host's own.
    fn is_own(&self, net: IpNet, networks: &Networks) -> bool {
        let of_network =
            |network: &Network| network.mode != Mode::L2 && network.pools().any(|pool| pool == net);
        self.prefixes().iter().any(|prefix| prefix.contains(&net)) || networks.values().any(of_network)
    }

    /// Returns the prefixes of this host: those of the config, and those that it leases.
    fn prefixes(&self) -> Vec<IpNet> {
        let leased = self.leases.held();
        let leased = leased.iter().filter(|(_, kind)| **kind == Kind::Prefix).map(|(net, _)| *net);
        self.config.subnet.iter().copied().chain(leased).collect()
    }

    /// Takes what endpoints of our pools have, and the state does not know, into it.
    fn match_book(&self, state: &mut State) {
        for network in self.book.networks().values() {
            for address in network.endpoints.values().flat_map(|endpoint| &endpoint.addresses) {
                let address = address.addr();
                if state.pool_of(address).is_some() && !state.given.contains_key(&address) {
                    // The caller waits for the disk.
                    let _turn = state.give(address, &self.ledger, self.times.quarantine);
                }
            }
        }
    }

    /// Waits until an address that was given is on disk; takes it back where the disk refuses.
    async fn settle(&self, address: IpAddr, turn: Turn) -> Result<(), String> {
        let settled = self.ledger.settle(turn).await;
        if settled.is_err() {
            self.state().given.remove(&address);
        }
        settled
    }

    /// Finds a pool by its id; one that the ledger lost is known again by it.
    async fn pool(&self, id: &str) -> Result<Pool, String> {
        if let Some(known) = self.state().pools.get(id) {
            return Ok(known.pool.clone());
        }
        let unknown = || {
            format!(
                "pool {id:?} is unknown to ipvland: make the network anew with `docker network rm` and `docker network create`"
            )
        };
        let mut pool = Pool::of_id(id).ok_or_else(unknown)?;
        let networks = self.book.networks();
        let subnets = networks.values().flat_map(|network| &network.subnets);
        let subnet = subnets.into_iter().find(|subnet| subnet.pool == pool.net).ok_or_else(unknown)?;
        pool.gateway = subnet.gateway;
        tracing::warn!(pool = %pool.net, "the ledger of addresses had lost pool {}: it is entered anew", pool.net);
        let turn = {
            let mut state = self.state();
            state.pools.insert(id.to_owned(), Known::new(pool.clone()));
            self.ledger.enter(Entry::Pool(pool.clone()));
            self.match_book(&mut state);
            self.ledger.newest()
        };
        self.ledger.settle(turn).await?;
        Ok(pool)
    }
}

/// Finds the network that a pool belongs to.
fn network_of(networks: &Networks, net: IpNet) -> Option<&Network> {
    networks.values().find(|network| network.pools().any(|pool| pool == net))
}

/// Finds the endpoint that has an address.
fn holder(networks: &Networks, address: IpAddr) -> Option<(&Network, &str)> {
    networks.values().find_map(|network| {
        let within = network.pools().any(|pool| pool.contains(&address));
        let has =
            |endpoint: &crate::network::Endpoint| endpoint.addresses.iter().any(|net| net.addr() == address);
        let (id, _) = network.endpoints.iter().find(|(_, endpoint)| within && has(endpoint))?;
        Some((network, id.as_str()))
    })
}
