//! What the config asks for by itself: a prefix of each family that a pool is named for.

use ipnet::IpNet;

use super::{Held, Kind, Wish};
use crate::{config::NetworkConfig, network::Networks};

/// What is to be done about leases at the start of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// What is wished for until it is granted.
    pub wishes: Vec<Wish>,
    /// Prefixes that the config has no use for any more, and no network either.
    pub idle: Vec<IpNet>,
}

/// Compares what the config asks for with what is held.
///
/// A subnet in the config pins the prefix of its family: nothing is leased then. A prefix that a network uses is kept,
/// whatever the config says now.
pub fn at_start(config: &NetworkConfig, held: &Held, networks: &Networks) -> Start {
    let mut start = Start::default();
    for ip4 in [true, false] {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == ip4;
        let pools: Vec<IpNet> = config.pool.iter().filter(of_family).copied().collect();
        let pinned = config.subnet.iter().any(|subnet| of_family(&subnet));
        let prefixes = held.iter().filter(|(_, kind)| **kind == Kind::Prefix).map(|(net, _)| net);
        let (kept, idle): (Vec<IpNet>, Vec<IpNet>) = prefixes.filter(of_family).partition(|prefix| {
            let pooled = !pinned && pools.iter().any(|pool| pool.contains(*prefix));
            pooled || networks.values().any(|network| network.pools().any(|pool| prefix.contains(&pool)))
        });
        start.idle.extend(idle);
        if let (Some(pool), true, false) = (pools.first(), kept.is_empty(), pinned) {
            let (length, reserved) = (config.prefix_length_in(*pool), config.reserved.clone());
            start.wishes.push(Wish::Prefix { pools, length, reserved });
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn held(prefixes: &[&str]) -> Held {
        Arc::new(nets(prefixes).into_iter().map(|net| (net, Kind::Prefix)).collect::<BTreeMap<_, _>>())
    }

    fn config(pool: &[&str], subnet: &[&str]) -> NetworkConfig {
        NetworkConfig { pool: nets(pool), subnet: nets(subnet), ..NetworkConfig::default() }
    }

    #[test]
    fn a_prefix_of_each_family_is_wished_for_until_it_is_held() {
        let config = config(&["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/48"], &[]);
        let start = at_start(&config, &Held::default(), &Networks::default());
        let wish = |pools: &[&str], length| Wish::Prefix { pools: nets(pools), length, reserved: Vec::new() };
        assert_eq!(start.wishes, [wish(&["10.1.0.0/16", "10.2.0.0/16"], 24), wish(&["2001:db8::/48"], 64)]);
        let start = at_start(&config, &held(&["10.2.7.0/24"]), &Networks::default());
        assert_eq!(start, Start { wishes: vec![wish(&["2001:db8::/48"], 64)], idle: Vec::new() });
    }

    #[test]
    fn a_pinned_subnet_takes_the_place_of_a_lease() {
        let config = config(&["10.1.0.0/16"], &["10.1.48.0/24"]);
        let start = at_start(&config, &held(&["10.1.3.0/24"]), &Networks::default());
        assert_eq!(start, Start { wishes: Vec::new(), idle: nets(&["10.1.3.0/24"]) });
    }
}
