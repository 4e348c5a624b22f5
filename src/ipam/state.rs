//! Which pools are there and which addresses are given, in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

use super::{
    Pool,
    ledger::{Entry, Image, Ledger, Turn},
};

/// The state; the ledger holds never less.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The pools by their ids.
    pub(super) pools: BTreeMap<String, Known>,
    /// The addresses that are given.
    pub(super) given: BTreeMap<IpAddr, Given>,
    /// Leases that go back at this moment: nothing is given from them.
    pub(super) returning: BTreeSet<IpNet>,
    /// The address given last, by pool.
    pub(super) last: HashMap<IpNet, IpAddr>,
    resting: Resting,
}

/// A pool, and how it stands.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) pool: Pool,
    /// Since when it waits for a network, where none has it.
    pub(super) since: Instant,
    /// Docker gave it back while its network was there, as it does before it removes a network.
    pub(super) released: bool,
    /// It is from before the daemon started, so Docker may not have heard of it.
    pub(super) lost: bool,
}

/// An address that is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    /// Since when it waits for an endpoint, where none has it.
    pub(super) since: Instant,
    /// It is from before the daemon started, so Docker may not have heard of it.
    pub(super) lost: bool,
}

/// Addresses that came back, and are still on disk: a repeated release that comes after a restart finds them pending.
#[derive(Debug, Default)]
struct Resting {
    since: HashMap<IpAddr, Instant>,
    queue: VecDeque<(Instant, IpAddr)>,
}

impl Known {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, since: Instant::now(), released: false, lost: false }
    }
}

impl Given {
    fn new(lost: bool) -> Self {
        Self { since: Instant::now(), lost }
    }
}

impl State {
    /// Returns the state after a restart.
    pub(super) fn restore(image: Image) -> Self {
        let known = |(id, pool)| (id, Known { lost: true, ..Known::new(pool) });
        Self {
            pools: image.pools.into_iter().map(known).collect(),
            given: image.given.into_iter().map(|address| (address, Given::new(true))).collect(),
            ..Self::default()
        }
    }

    /// Returns the pool that holds an address.
    pub(super) fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        self.pools.values().map(|known| &known.pool).find(|pool| pool.net.contains(&address))
    }

    /// Gives an address; the ledger's turn is to be waited for.
    pub(super) fn give(&mut self, address: IpAddr, ledger: &Ledger, rest: Duration) -> Turn {
        let before = self.given.insert(address, Given::new(false));
        if self.resting.since.remove(&address).is_some() && before.is_none() {
            return ledger.newest();
        }
        self.resting.write_off(ledger, rest);
        ledger.enter(Entry::Given(address))
    }

    /// Takes an address back: it is free at once, and on disk for a while longer.
    pub(super) fn free(&mut self, address: IpAddr) {
        if self.given.remove(&address).is_some() {
            let now = Instant::now();
            self.resting.since.insert(address, now);
            self.resting.queue.push_back((now, address));
        }
    }

    /// Lets the time of waiting begin anew for an address.
    pub(super) fn touch(&mut self, address: IpAddr) {
        if let Some(given) = self.given.get_mut(&address) {
            *given = Given::new(false);
        }
    }
}

impl Resting {
    /// Has those taken off the disk that came back long enough ago, together with what is written next.
    fn write_off(&mut self, ledger: &Ledger, rest: Duration) {
        while let Some((since, address)) = self.queue.pop_front_if(|(since, _)| since.elapsed() >= rest) {
            // Given anew, or back for a second time, it has another time or none.
            if self.since.get(&address) == Some(&since) {
                self.since.remove(&address);
                ledger.enter(Entry::Free(address));
            }
        }
    }
}
