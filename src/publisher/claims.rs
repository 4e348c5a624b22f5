//! What a host has to say: its addresses, and the prefixes behind them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    host::{Identity, Reach},
    network::{Network, Networks},
    record::{Reason, Record},
};

/// The parts of the record that the host itself decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The address that names the host.
    pub host: IpAddr,
    /// The host's name.
    pub name: String,
    /// The next hops for the prefixes.
    pub next_hops: Vec<IpAddr>,
    /// The prefixes by network.
    pub networks: BTreeMap<String, Vec<IpNet>>,
}

/// The name in the record of the prefixes that the config file gives the host.
const HOST_NETWORK: &str = "host";

impl Claims {
    /// Puts together what the config file and the networks claim.
    ///
    /// A pool within a prefix of the config file is covered by it and not told again.
    pub fn new(identity: &Identity, reach: &Reach, subnets: &[IpNet], networks: &Networks) -> Self {
        let mut claimed: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        if !subnets.is_empty() {
            claimed.insert(HOST_NETWORK.to_owned(), subnets.to_vec());
        }
        for network in
            networks.values().filter(|network| is_published(network, identity.interface.as_deref()))
        {
            let pools = network.pools();
            let pools = pools.filter(|pool| !subnets.iter().any(|subnet| subnet.contains(pool)));
            claimed.entry(network.name.clone()).or_default().extend(pools);
        }
        claimed.retain(|_, prefixes| {
            prefixes.sort();
            prefixes.dedup();
            !prefixes.is_empty()
        });
        Self {
            host: reach.address,
            name: identity.name.clone(),
            next_hops: reach.next_hops.clone(),
            networks: claimed,
        }
    }

    /// Says whether there is no prefix to tell.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Returns every prefix, sorted.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<_> = self.networks.values().flatten().copied().collect();
        prefixes.sort();
        prefixes
    }

    /// Says whether a record in the store says the same.
    pub fn matches(&self, record: Option<&Result<Arc<Record>, Reason>>) -> bool {
        match record {
            None => self.is_empty(),
            Some(Err(_)) => false,
            Some(Ok(record)) => {
                let mut prefixes: Vec<_> = record.prefixes().map(|(_, prefix)| prefix).collect();
                prefixes.sort();
                record.host == self.host && record.next_hops == self.next_hops && prefixes == self.prefixes()
            }
        }
    }

    /// Says in words what is claimed: `web-1 publishes 10.1.48.0/24`.
    pub fn words(&self) -> String {
        if self.is_empty() {
            return format!("{} publishes nothing", self.name);
        }
        let prefixes: Vec<_> = self.prefixes().iter().map(ToString::to_string).collect();
        format!("{} publishes {}", self.name, list(&prefixes))
    }
}

/// Says whether other hosts are told of a network: they are routed to by the host's own parent interface only.
pub fn is_published(network: &Network, interface: Option<&str>) -> bool {
    network.is_published() && Some(network.parent.as_str()) == interface
}

/// Lists a few things in words.
pub(crate) fn list(things: &[String]) -> String {
    match things {
        [] => "nothing".to_owned(),
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    }
}
