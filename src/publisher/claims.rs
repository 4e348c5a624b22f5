//! What a host has to say: its addresses, and the prefixes behind them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    host::{Identity, Reach},
    lease::{Held, Kind, Lease},
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
    /// The blocks that it leases of subnets shared with other hosts.
    #[serde(default)]
    pub blocks: Vec<IpNet>,
}

/// The name in the record of the prefixes that the host has by itself: from the config file, or leased.
const HOST_NETWORK: &str = "host";

impl Claims {
    /// Puts together what the config file, the leases and the networks claim.
    ///
    /// A pool within a prefix of the config file or a leased one is covered by it and not told again.
    pub fn new(
        identity: &Identity,
        reach: &Reach,
        subnets: &[IpNet],
        held: &Held,
        networks: &Networks,
    ) -> Self {
        let leased = |kind| held.iter().filter(move |(_, held)| **held == kind).map(|(net, _)| *net);
        let mut claimed: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        let subnets: Vec<IpNet> = subnets.iter().copied().chain(leased(Kind::Prefix)).collect();
        if !subnets.is_empty() {
            claimed.insert(HOST_NETWORK.to_owned(), subnets.clone());
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
            blocks: leased(Kind::Block).collect(),
        }
    }

    /// Adds a lease, as if it had been held already.
    pub fn add(&mut self, lease: Lease) {
        let list = match lease.kind {
            Kind::Prefix => self.networks.entry(HOST_NETWORK.to_owned()).or_default(),
            Kind::Block => &mut self.blocks,
        };
        list.push(lease.net);
        list.sort();
        list.dedup();
    }

    /// Says whether there is neither prefix nor block to tell.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.blocks.is_empty()
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
                record.host == self.host
                    && record.next_hops == self.next_hops
                    && prefixes == self.prefixes()
                    && record.blocks == self.blocks
            }
        }
    }

    /// Says in words what is claimed: `web-1 publishes 10.1.48.0/24`.
    pub fn words(&self) -> String {
        if self.is_empty() {
            return format!("{} publishes nothing", self.name);
        }
        let words = |nets: &[IpNet]| list(&nets.iter().map(ToString::to_string).collect::<Vec<_>>());
        let prefixes = self.prefixes();
        match (prefixes.is_empty(), self.blocks.is_empty()) {
            (_, true) => format!("{} publishes {}", self.name, words(&prefixes)),
            (true, false) => format!("{} leases {}", self.name, words(&self.blocks)),
            (false, false) => {
                format!("{} publishes {} and leases {}", self.name, words(&prefixes), words(&self.blocks))
            }
        }
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
