//! RequestAddress and ReleaseAddress, and endpoints that come and go with their addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Entry, Inner, Ipam, Pool, Turn, holder, network_of, space, stale, state::State};
use crate::network::{Network, Networks, short_id};

/// How often a request that found a new block used up by others leases another one.
const ROUNDS: usize = 8;

/// What was found for an address that was asked for by name.
enum Exact {
    /// It is given now.
    Given(Turn),
    /// It is not in any block of this host.
    Elsewhere,
    /// Somebody has it.
    Taken,
}

impl Ipam {
    /// Gives an address of a pool: the next one, or the one that was asked for. The answer has the pool's length.
    ///
    /// # Errors
    /// A lower-case sentence for the user.
    pub async fn request_address(&self, id: &str, wanted: Option<IpAddr>) -> Result<IpNet, String> {
        let pool = self.0.pool(id).await?;
        let address = match wanted {
            None => self.0.give_any(&pool).await?,
            // Before its network is there, a pool is asked only for what the user keeps from containers.
            Some(address) if network_of(&self.0.book.networks(), pool.net).is_none() => {
                self.0.keep(id, address).await?
            }
            Some(address) => self.0.give_exactly(&pool, address).await?,
        };
        Ok(with_length(&pool, address))
    }

    /// Reserves the gateway of a pool: the one that was asked for, the configured one, or the first address.
    ///
    /// It is the gateway of every host alike, so no block is leased for it.
    ///
    /// # Errors
    /// A lower-case sentence for the user.
    pub async fn request_gateway(&self, id: &str, wanted: Option<IpAddr>) -> Result<IpNet, String> {
        let pool = self.0.pool(id).await?;
        let configured = self.0.config.gateway.filter(|gateway| pool.net.contains(gateway));
        let gateway = wanted.or(configured).unwrap_or_else(|| pool.first_gateway());
        self.0.check_fixed(&pool, gateway)?;
        if pool.auxiliary.contains(&gateway) {
            return Err(format!(
                "address {gateway} is an auxiliary address of {} already: give another --gateway",
                pool.net
            ));
        }
        self.0.change_pool(id, |pool| pool.gateway = Some(gateway)).await?;
        Ok(with_length(&pool, gateway))
    }

    /// Takes an address back. One that is not given, a gateway or an auxiliary address, is no error.
    ///
    /// # Errors
    /// A sentence when the disk refuses.
    pub async fn release_address(&self, id: &str, address: IpAddr) -> Result<(), String> {
        let inner = &self.0;
        if inner.pool(id).await.is_err() {
            return Ok(());
        }
        let networks = inner.book.networks();
        let Some((network, endpoint)) = holder(&networks, address) else {
            inner.state().free(address);
            return Ok(());
        };
        // Docker removes an endpoint before its address: either the daemon was away when it did, or this is the repeated
        // release of somebody who had the address earlier, and the one who has it now must keep it.
        match network.endpoints.get(endpoint) {
            Some(known)
                if stale::is_forgotten(known.clone(), Some(inner.times.apart), inner.times.apart).await =>
            {
                inner.remove_forgotten(network, endpoint, known).await;
            }
            _ => tracing::warn!(
                %address,
                "Docker gave back address {address}, which endpoint {} in a container has: it is kept",
                short_id(endpoint)
            ),
        }
        Ok(())
    }

    /// Makes sure that the addresses of a new endpoint are this host's to give, and that they are on disk.
    ///
    /// Docker may come late with an address that was pending for too long: if it is still free, it is given anew.
    ///
    /// # Errors
    /// A lower-case sentence for the user.
    pub async fn admit(&self, network: &Network, addresses: &[IpNet]) -> Result<(), String> {
        for address in addresses.iter().map(|net| net.addr()) {
            let turn = {
                let hosts = self.0.hosts();
                let mut state = self.0.state();
                let Some(pool) = state.pool_of(address).cloned() else { continue };
                if !network.pools().any(|net| net == pool.net) {
                    continue;
                }
                if state.given.contains_key(&address) {
                    state.touch(address);
                    continue;
                }
                let spans = self.0.spans(&pool, pool.net, &state, &hosts);
                if !spans.iter().any(|span| span.contains(address)) {
                    return Err(format!(
                        "address {address} is none that this host may give, as no block of {} that it leases holds it: \
                         start the container again",
                        pool.net
                    ));
                }
                state.give(address, &self.0.ledger, self.0.times.quarantine)
            };
            self.0.settle(address, turn).await?;
        }
        Ok(())
    }

    /// Hears that an endpoint with these addresses has come, gone, or left its container: what is pending now is so from
    /// now on.
    pub fn touch(&self, addresses: &[IpNet]) {
        let mut state = self.0.state();
        addresses.iter().for_each(|net| state.touch(net.addr()));
    }
}

impl Inner {
    async fn give_any(&self, pool: &Pool) -> Result<IpAddr, String> {
        if let Some((address, turn)) = self.take_next(pool) {
            return self.settle(address, turn).await.map(|()| address);
        }
        let _leasing = self.leasing(pool).await;
        let mut reclaimed = false;
        for _ in 0..ROUNDS {
            if let Some((address, turn)) = self.take_next(pool) {
                return self.settle(address, turn).await.map(|()| address);
            }
            if !reclaimed && self.reclaim(pool).await {
                reclaimed = true;
                continue;
            }
            reclaimed = true;
            if self.is_own(pool.net, &self.book.networks()) {
                return Err(format!(
                    "all addresses of {} are given: remove containers, or make another network",
                    pool.dynamic()
                ));
            }
            let leased = self.lease_block(pool, None).await;
            leased.map_err(|why| {
                format!("all addresses of {} that this host may give are given, and {why}", pool.dynamic())
            })?;
        }
        Err(format!(
            "the addresses of {} are asked for faster than blocks of it are leased: try again",
            pool.dynamic()
        ))
    }

    fn take_next(&self, pool: &Pool) -> Option<(IpAddr, Turn)> {
        let hosts = self.hosts();
        let never = self.never(pool, &hosts);
        let mut state = self.state();
        let spans = self.spans(pool, pool.dynamic(), &state, &hosts);
        let after = state.last.get(&pool.net).copied();
        let address = space::next(&spans, &never, &state.given, after)?;
        state.last.insert(pool.net, address);
        Some((address, state.give(address, &self.ledger, self.times.quarantine)))
    }

    async fn give_exactly(&self, pool: &Pool, address: IpAddr) -> Result<IpAddr, String> {
        let hosts = self.hosts();
        if let Some(why) = self.why_never(pool, address, &hosts) {
            return Err(why);
        }
        let mut leasing = None;
        for _ in 0..ROUNDS {
            match self.take_exactly(pool, address) {
                Exact::Given(turn) => return self.settle(address, turn).await.map(|()| address),
                Exact::Taken => self.make_way(address).await?,
                Exact::Elsewhere => {
                    if leasing.is_none() {
                        // Who waited looks again: the block may be there now.
                        leasing = Some(self.leasing(pool).await);
                        continue;
                    }
                    self.lease_block(pool, Some(address)).await?;
                }
            }
        }
        Err(format!("the block that was leased for {address} can't be used: see `ipvland status`"))
    }

    fn take_exactly(&self, pool: &Pool, address: IpAddr) -> Exact {
        let hosts = self.hosts();
        let mut state = self.state();
        if !self.spans(pool, pool.net, &state, &hosts).iter().any(|span| span.contains(address)) {
            return Exact::Elsewhere;
        }
        let has_endpoint = holder(&self.book.networks(), address).is_some();
        match state.given.get(&address) {
            // Docker has not heard of what was pending before a restart, or asks again.
            Some(given) if has_endpoint || !given.lost => Exact::Taken,
            _ => Exact::Given(state.give(address, &self.ledger, self.times.quarantine)),
        }
    }

    /// Removes the endpoint that has an address, if Docker forgot it.
    async fn make_way(&self, address: IpAddr) -> Result<(), String> {
        let networks = self.book.networks();
        let Some((network, id)) = holder(&networks, address) else {
            return Err(format!(
                "address {address} is pending: a container with it starts or ends at this moment; try again in a minute"
            ));
        };
        let refusal = taken(address, network, id);
        let endpoint = network.endpoints.get(id).ok_or_else(|| refusal.clone())?;
        let forgotten =
            stale::is_forgotten(endpoint.clone(), self.apart_for(endpoint), self.times.apart).await;
        if forgotten && self.remove_forgotten(network, id, endpoint).await { Ok(()) } else { Err(refusal) }
    }

    /// Keeps an auxiliary address from containers of this host. Every host does so, as the network is made on each.
    async fn keep(&self, id: &str, address: IpAddr) -> Result<IpAddr, String> {
        let pool = self.pool(id).await?;
        self.check_fixed(&pool, address)?;
        if pool.gateway == Some(address) {
            return Err(format!("address {address} is the gateway of {} already: give another", pool.net));
        }
        self.change_pool(id, |pool| _ = pool.auxiliary.insert(address)).await?;
        Ok(address)
    }

    /// Says why an address can be neither a gateway nor an auxiliary one.
    fn check_fixed(&self, pool: &Pool, address: IpAddr) -> Result<(), String> {
        if !pool.net.contains(&address) {
            return Err(format!("address {address} is not in {}: give another", pool.net));
        }
        if pool.ends().contains(&address) {
            return Err(format!("address {address} names {} itself: give another", pool.net));
        }
        match holder(&self.book.networks(), address) {
            Some((network, endpoint)) => Err(taken(address, network, endpoint)),
            None => Ok(()),
        }
    }

    async fn change_pool(&self, id: &str, change: impl FnOnce(&mut Pool)) -> Result<(), String> {
        let turn = {
            let mut state = self.state();
            let gone = || format!("pool {id} was given back meanwhile: try again");
            let known = state.pools.get_mut(id).ok_or_else(gone)?;
            change(&mut known.pool);
            self.ledger.enter(Entry::Pool(known.pool.clone()))
        };
        self.ledger.settle(turn).await
    }

    /// Returns the addresses that endpoints of this host have.
    pub(super) fn held(networks: &Networks) -> impl Iterator<Item = IpAddr> {
        let endpoints = networks.values().flat_map(|network| network.endpoints.values());
        endpoints.flat_map(|endpoint| endpoint.addresses.iter().map(|net| net.addr()))
    }

    /// Frees what was pending for too long.
    pub(super) fn end_waits(&self, state: &mut State) {
        let networks = self.book.networks();
        let held: std::collections::HashSet<IpAddr> = Self::held(&networks).collect();
        let over = state.given.iter().filter(|(address, given)| {
            given.since.elapsed() >= self.times.quarantine && !held.contains(*address)
        });
        for address in over.map(|(address, _)| *address).collect::<Vec<_>>() {
            tracing::info!(%address, "address {address} was given and no endpoint has it: it is free again");
            state.free(address);
        }
    }
}

/// Says who has an address.
pub(super) fn taken(address: IpAddr, network: &Network, endpoint: &str) -> String {
    format!(
        "address {address} is taken by endpoint {} of network {}: give another",
        short_id(endpoint),
        network.name
    )
}

fn with_length(pool: &Pool, address: IpAddr) -> IpNet {
    IpNet::new(address, pool.net.prefix_len()).unwrap_or_else(|_| IpNet::from(address))
}
