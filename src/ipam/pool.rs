//! A pool: a subnet that a network of this host takes its addresses from, and its id.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::space;

/// What the ids begin with.
const MARK: &str = "ipvland/";

/// A pool, as the disk knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet.
    pub net: IpNet,
    /// The part that addresses come from unless one is asked for by name (`--ip-range`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
    /// Whether we chose it, as the user named none.
    #[serde(default)]
    pub chosen: bool,
    /// The gateway that Docker asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// What the user keeps for machines that Docker does not know (`--aux-address`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub auxiliary: BTreeSet<IpAddr>,
}

impl Pool {
    /// Makes a pool of a subnet.
    pub fn new(net: IpNet, range: Option<IpNet>, chosen: bool) -> Self {
        Self { net, range, chosen, gateway: None, auxiliary: BTreeSet::new() }
    }

    /// Returns the id by which Docker knows it. It says all that is needed to know the pool again should the disk lose it.
    pub fn id(&self) -> String {
        match self.range {
            Some(range) => format!("{MARK}{}/{range}", self.net),
            None => format!("{MARK}{}", self.net),
        }
    }

    /// Reads an id back.
    pub fn of_id(id: &str) -> Option<Self> {
        let words: Vec<&str> = id.strip_prefix(MARK)?.split('/').collect();
        let net = |address: &str, length: &str| format!("{address}/{length}").parse::<IpNet>().ok();
        match *words {
            [address, length] => Some(Self::new(net(address, length)?, None, false)),
            [address, length, first, bits] => {
                Some(Self::new(net(address, length)?, Some(net(first, bits)?), false))
            }
            _ => None,
        }
    }

    /// Returns where addresses come from that are not asked for by name.
    pub fn dynamic(&self) -> IpNet {
        self.range.unwrap_or(self.net)
    }

    /// Returns the addresses that are no container's, as Docker keeps them free: the first, which names the subnet itself
    /// (in IPv6 its routers, RFC 4291), and the last of IPv4, which is everybody.
    pub fn ends(&self) -> Vec<IpAddr> {
        match (self.net.max_prefix_len() - self.net.prefix_len(), self.net) {
            (0 | 1, _) => Vec::new(),
            (_, IpNet::V4(_)) => vec![self.net.network(), self.net.broadcast()],
            (_, IpNet::V6(_)) => vec![self.net.network()],
        }
    }

    /// Returns the gateway that a pool has where nobody names one: the first address that can be one.
    pub fn first_gateway(&self) -> IpAddr {
        let first = self.net.network();
        let free = if self.ends().is_empty() { None } else { space::up(first) };
        free.unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_the_pool_is() {
        for (net, range) in [
            ("10.9.0.0/24", None),
            ("10.9.0.0/24", Some("10.9.0.128/25")),
            ("2001:db8:9::/64", Some("2001:db8:9::1:0/112")),
        ] {
            let pool = Pool::new(net.parse().unwrap(), range.map(|range| range.parse().unwrap()), false);
            assert_eq!(Pool::of_id(&pool.id()), Some(pool));
        }
        for id in ["", "ipvland/", "ipvland/10.9.0.0", "ipvland/10.9.0.0/24/10.9.0.0", "x/10.9.0.0/24"] {
            assert_eq!(Pool::of_id(id), None, "{id}");
        }
    }

    #[test]
    fn the_first_gateway_is_the_first_host() {
        for (net, gateway) in [
            ("10.9.0.0/24", "10.9.0.1"),
            ("10.9.0.4/31", "10.9.0.4"),
            ("10.9.0.4/32", "10.9.0.4"),
            ("2001:db8:9::/64", "2001:db8:9::1"),
            ("2001:db8:9::2/127", "2001:db8:9::2"),
        ] {
            let pool = Pool::new(net.parse().unwrap(), None, false);
            assert_eq!(pool.first_gateway(), gateway.parse::<IpAddr>().unwrap(), "{net}");
        }
    }
}
