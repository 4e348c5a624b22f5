//! Addresses that no container gets, and why.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Inner, Pool,
    neighbours::Hosts,
    network_of,
    space::{Span, common, merge},
};

impl Inner {
    /// Returns what is never given of a pool, as subnets for a wish.
    pub(super) fn barred(&self, pool: &Pool, hosts: &Hosts) -> Vec<IpNet> {
        let single = pool.ends().into_iter().chain(self.gateways(pool)).chain(pool.auxiliary.iter().copied());
        let reserved = self.config.reserved.iter().filter_map(|reserved| common(pool.net, *reserved));
        single.chain(hosts.inside(pool.net)).map(IpNet::from).chain(reserved).collect()
    }

    /// Returns the same as ranges for the search.
    pub(super) fn never(&self, pool: &Pool, hosts: &Hosts) -> Vec<Span> {
        merge(self.barred(pool, hosts).into_iter().map(Span::from).collect())
    }

    /// Says why an address can't be a container's, in a sentence.
    pub(super) fn why_never(&self, pool: &Pool, address: IpAddr, hosts: &Hosts) -> Option<String> {
        let net = pool.net;
        let reserved = self.config.reserved.iter().find(|reserved| reserved.contains(&address));
        let what = if !net.contains(&address) {
            format!("is not in {net}")
        } else if pool.ends().contains(&address) {
            format!("names {net} itself")
        } else if self.gateways(pool).any(|gateway| gateway == address) {
            format!("is the gateway of {net}")
        } else if pool.auxiliary.contains(&address) {
            format!("is an auxiliary address of {net}")
        } else if let Some(reserved) = reserved {
            format!("is kept free by network.reserved ({reserved})")
        } else if let Some(host) = hosts.whose(address) {
            format!("is an address of {host}")
        } else {
            return None;
        };
        Some(format!("address {address} {what}: give another"))
    }

    /// Returns the gateways of a pool: the one that Docker asked for, and the one that the config or the network has.
    fn gateways(&self, pool: &Pool) -> impl Iterator<Item = IpAddr> + use<> {
        let net = pool.net;
        let networks = self.book.networks();
        let subnets = network_of(&networks, net).into_iter().flat_map(|network| &network.subnets);
        let entered = subnets.filter(|subnet| subnet.pool == net).filter_map(|subnet| subnet.gateway);
        let gateways = [pool.gateway, self.config.gateway].into_iter().flatten().chain(entered);
        gateways.filter(|gateway| net.contains(gateway)).collect::<Vec<_>>().into_iter()
    }
}
