//! RequestPool and ReleasePool.

use std::time::Duration;

use ipnet::IpNet;

use super::{Entry, Inner, Ipam, Known, Pool, network_of, state::State};
use crate::{
    lease::{Kind, Wish, free::touch},
    network::{Network, Networks},
};

/// How many pools may be chosen that no network has: Docker asks again, holding what it got, when a route of the host
/// overlaps, and it stops only at an error.
const MOST_CHOSEN: usize = 4;

/// What Docker asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The subnet (`--subnet`), where the user named one.
    pub net: Option<IpNet>,
    /// The part of it that addresses come from (`--ip-range`).
    pub range: Option<IpNet>,
    /// Whether an IPv6 pool is wanted, where no subnet says so.
    pub v6: bool,
}

impl Ipam {
    /// Gives a pool to a network that is to be made: the subnet that was asked for, or a prefix of this host's own.
    ///
    /// # Errors
    /// A lower-case sentence for the user.
    pub async fn request_pool(&self, asked: Asked) -> Result<Pool, String> {
        let inner = &self.0;
        let pool = match asked.net {
            Some(net) => inner.named(net.trunc(), asked.range.map(|range| range.trunc()))?,
            None => inner.choose(asked.v6, asked.range.map(|range| range.trunc())).await?,
        };
        let turn = inner.ledger.enter(Entry::Pool(pool.clone()));
        inner.ledger.settle(turn).await?;
        Ok(pool)
    }

    /// Takes a pool back. Docker does so before it removes the network: the pool then stays until the network goes.
    ///
    /// # Errors
    /// A sentence when the disk refuses.
    pub async fn release_pool(&self, id: &str) -> Result<(), String> {
        let networks = self.0.book.networks();
        let gone = {
            let mut state = self.0.state();
            match state.pools.get_mut(id) {
                Some(known) if network_of(&networks, known.pool.net).is_some() => {
                    known.released = true;
                    false
                }
                Some(_) => state.pools.remove(id).is_some(),
                None => false,
            }
        };
        if gone { self.0.forget_pool(id).await } else { Ok(()) }
    }

    /// Says why a network can't have the pool that was chosen for it: one on the segment needs addresses of the segment.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_mode(&self, network: &Network) -> Result<(), String> {
        let chosen = network.pools().find(|pool| self.is_chosen(*pool));
        match chosen.filter(|_| network.mode == crate::kernel::Mode::L2) {
            Some(pool) => Err(format!(
                "an l2 network needs --subnet with the subnet of its segment; {pool} is this host's own prefix: give one, or \
                 `-o ipvlan_mode=l3`"
            )),
            None => Ok(()),
        }
    }

    /// Hears that a network is gone, and takes back its pools that Docker has given back before.
    pub async fn network_gone(&self, network: &Network) {
        for pool in network.pools() {
            let ids: Vec<String> = {
                let mut state = self.0.state();
                let gone = state.pools.extract_if(.., |_, known| known.pool.net == pool && known.released);
                gone.map(|(id, _)| id).collect()
            };
            for id in ids {
                if let Err(error) = self.0.forget_pool(&id).await {
                    tracing::warn!(%pool, "a pool that is gone stays on disk for now: {error}");
                }
            }
        }
    }
}

impl Inner {
    pub(super) async fn forget_pool(&self, id: &str) -> Result<(), String> {
        let turn = self.ledger.enter(Entry::NoPool(id.to_owned()));
        self.idle.notify_one();
        self.ledger.settle(turn).await
    }

    /// Makes a pool of the subnet that was asked for.
    fn named(&self, net: IpNet, range: Option<IpNet>) -> Result<Pool, String> {
        if net.addr().is_multicast() || net.addr().is_loopback() {
            return Err(format!("subnet {net} is none for containers: give another --subnet"));
        }
        if let Some(range) = range.filter(|range| !net.contains(range)) {
            return Err(format!("the --ip-range {range} is not in the --subnet {net}: give one that is"));
        }
        let networks = self.book.networks();
        let mut state = self.state();
        let pool = Pool::new(net, range, false);
        let id = pool.id();
        let idle = network_of(&networks, net).is_none();
        if let Some(known) = state.pools.get_mut(&id).filter(|known| idle && !known.released) {
            // Docker didn't hear the answer, or two ask for it at once: CreateNetwork takes one of them.
            *known = Known::new(known.pool.clone());
            return Ok(known.pool.clone());
        }
        state.pools.retain(|_, known| !known.released || network_of(&networks, known.pool.net).is_some());
        check_free(net, &state, &networks)?;
        state.pools.insert(id, Known::new(pool.clone()));
        Ok(pool)
    }

    /// Chooses a prefix of this host that nothing has, and leases a further one where there is none and the config allows.
    async fn choose(&self, v6: bool, range: Option<IpNet>) -> Result<Pool, String> {
        let _choosing = self.choosing.lock().await;
        let family = if v6 { "IPv6" } else { "IPv4" };
        let ours = |net: &IpNet| net.addr().is_ipv6() == v6;
        if let Some(pool) = self.chosen_before(v6, range) {
            return Ok(pool);
        }
        let waiting = {
            let networks = self.book.networks();
            let state = self.state();
            let chosen = state.pools.values().filter(|known| known.pool.chosen);
            chosen.filter(|known| network_of(&networks, known.pool.net).is_none()).count()
        };
        if waiting >= MOST_CHOSEN {
            return Err(format!(
                "{MOST_CHOSEN} prefixes of this host were offered and no network was made of them: routes of this host \
                 overlap them all (`ip route`), or try again in a minute; or give a --subnet"
            ));
        }
        if let Some(pool) = self.take_free(self.prefixes().into_iter().filter(ours), range)? {
            return Ok(pool);
        }
        let pools: Vec<IpNet> = self.config.pool.iter().filter(|pool| ours(pool)).copied().collect();
        let Some(first) = pools.first() else {
            return Err(format!(
                "this host has no {family} prefix of its own that no network uses: give a --subnet, or set network.pool (or \
                 a further network.subnet) in ipvland's config"
            ));
        };
        let prefix = if self.prefixes().iter().any(ours) {
            let (length, reserved) = (self.config.prefix_length_in(*first), self.config.reserved.clone());
            self.leases.lease(Wish::Prefix { pools, length, reserved }, self.times.patience).await?
        } else {
            self.first_prefix(v6, self.times.patience).await.ok_or_else(|| {
                format!(
                    "the store has not given this host its first {family} prefix yet: see `ipvland status`"
                )
            })?
        };
        let taken = self.take_free([prefix].into_iter(), range)?;
        taken.ok_or_else(|| format!("prefix {prefix} was taken by another network meanwhile: try again"))
    }

    /// Returns a pool that was chosen before a restart, and that Docker has perhaps never heard of.
    fn chosen_before(&self, v6: bool, range: Option<IpNet>) -> Option<Pool> {
        let networks = self.book.networks();
        let mut state = self.state();
        let fits = |known: &&mut Known| {
            let pool = &known.pool;
            let idle = network_of(&networks, pool.net).is_none();
            known.lost && idle && pool.chosen && pool.range == range && pool.net.addr().is_ipv6() == v6
        };
        let known = state.pools.values_mut().find(fits)?;
        *known = Known::new(known.pool.clone());
        Some(known.pool.clone())
    }

    /// Makes a pool of the first prefix that touches no other pool or network.
    fn take_free(
        &self,
        prefixes: impl Iterator<Item = IpNet>,
        range: Option<IpNet>,
    ) -> Result<Option<Pool>, String> {
        let networks = self.book.networks();
        let mut state = self.state();
        let mut free = prefixes
            .filter(|net| !state.returning.contains(net) && check_free(*net, &state, &networks).is_ok());
        let Some(net) = free.next() else { return Ok(None) };
        drop(free);
        if let Some(range) = range.filter(|range| !net.contains(range)) {
            return Err(format!("the --ip-range {range} is not in this host's prefix {net}: leave it out"));
        }
        let pool = Pool::new(net, range, true);
        state.pools.insert(pool.id(), Known::new(pool.clone()));
        Ok(Some(pool))
    }

    /// Waits for the prefix that the config asks for by itself.
    async fn first_prefix(&self, v6: bool, patience: Duration) -> Option<IpNet> {
        let mut held = self.leases.subscribe();
        let prefix = |held: &crate::lease::Held| {
            let prefixes = held.iter().filter(|(_, kind)| **kind == Kind::Prefix).map(|(net, _)| *net);
            prefixes.into_iter().find(|net| net.addr().is_ipv6() == v6)
        };
        let granted = held.wait_for(|held| prefix(held).is_some());
        let granted = tokio::time::timeout(patience, granted).await.ok()?.ok()?;
        prefix(&granted)
    }
}

/// Says what of this host stands against a new pool.
fn check_free(net: IpNet, state: &State, networks: &Networks) -> Result<(), String> {
    let mut subnets =
        networks.values().flat_map(|network| network.pools().map(move |pool| (pool, &network.name)));
    if let Some((pool, name)) = subnets.find(|(pool, _)| touch(pool, &net)) {
        return Err(format!(
            "subnet {net} overlaps {pool} of network {name} on this host: give another --subnet"
        ));
    }
    match state.pools.values().find(|known| touch(&known.pool.net, &net)) {
        Some(known) => Err(format!(
            "subnet {net} overlaps {}, which Docker asked for {} s ago and made no network of yet: try again in a minute",
            known.pool.net,
            known.since.elapsed().as_secs()
        )),
        None => Ok(()),
    }
}
