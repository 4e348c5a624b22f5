//! Which address of this host its containers see, and whether they can answer to it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::{
    kernel::{Kernel, Mode},
    network::Network,
};

/// The addresses at the beginning of a subnet that are never taken: from there Docker gives them to containers.
const DOCKERS: u64 = 1 << 16;

/// How many bits of an IPv6 subnet must be free for an address of our own: with fewer, two hosts could draw the same.
const FEWEST_BITS: u8 = 32;

/// The source of what this host sends to containers of one subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The subnet.
    pub(super) pool: IpNet,
    /// The address; where there is none, the kernel picks one.
    pub(super) address: Option<IpAddr>,
    /// Whether the address is the device's own.
    pub(super) own: bool,
    /// Why containers can't answer, if so.
    pub(super) unanswered: Option<String>,
    /// What else the operator may want to know.
    pub(super) note: Option<String>,
}

/// What has to be known of a parent.
pub(super) struct Surroundings<'a> {
    /// Its name.
    pub(super) parent: &'a str,
    /// Its global addresses.
    pub(super) main: Vec<IpAddr>,
    /// What the kernel lets in.
    pub(super) filters: Filters,
}

/// Settings of the kernel that keep a container's answer from the host's main IPv4 address in L2, where what the host sends
/// leaves by one interface and the answer comes in by another (`ip-sysctl.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filters {
    /// `rp_filter` is strict on the parent.
    strict: bool,
    /// `arp_ignore` keeps the device from answering for addresses of other interfaces.
    silent: bool,
}

impl Filters {
    /// Looks at the settings of a parent and the device on it. The kernel takes the larger of an interface's and all's.
    pub(super) async fn look(kernel: &dyn Kernel, parent: &str, device: &str) -> Self {
        let mut largest = Vec::new();
        for (interface, name) in [(parent, "rp_filter"), (device, "arp_ignore")] {
            let mut value = 0;
            for interface in ["all", interface] {
                value =
                    kernel.setting(&format!("ipv4/conf/{interface}/{name}")).await.unwrap_or(0).max(value);
            }
            largest.push(value);
        }
        Self { strict: largest.first() == Some(&1), silent: largest.get(1).is_some_and(|value| *value > 0) }
    }
}

/// Returns the source for each subnet of a network.
pub(super) fn sources(network: &Network, machine: &str, surroundings: &Surroundings<'_>) -> Vec<Source> {
    network.pools().map(|pool| source(network, pool, machine, surroundings)).collect()
}

fn source(network: &Network, pool: IpNet, machine: &str, surroundings: &Surroundings<'_>) -> Source {
    let none = Source { pool, address: None, own: false, unanswered: None, note: None };
    let given = network.host_access.iter().flat_map(|access| &access.addresses);
    if let Some(address) = given.copied().find(|address| pool.contains(address)) {
        return Source { address: Some(address), own: true, ..none };
    }
    let apart = network.mode == Mode::L2 || network.internal;
    if let (IpNet::V6(pool), true) = (pool, apart) {
        let taken = |address: Ipv6Addr| {
            let endpoints = network.endpoints.values().flat_map(|endpoint| &endpoint.addresses);
            let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
            endpoints.map(IpNet::addr).chain(gateways).any(|other| other == IpAddr::V6(address))
        };
        return match own_address(pool, machine, &network.id, taken) {
            Some(address) => Source { address: Some(address.into()), own: true, ..none },
            None => Source {
                unanswered: Some(give_one(pool.into(), "has no room for one that is drawn")),
                ..none
            },
        };
    }
    let mut main = surroundings.main.iter().copied().filter(|main| main.is_ipv4() == pool.addr().is_ipv4());
    let parent = surroundings.parent;
    if network.mode != Mode::L2 {
        // ipvlan takes an address for this host's only if the parent has it.
        return match main.next() {
            Some(address) => Source { address: Some(address), ..none },
            None => {
                let family = if pool.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                let why = format!("is routed by {parent}, which has no {family} address");
                Source { unanswered: Some(give_one(pool, &why)), ..none }
            }
        };
    }
    match main.find(|main| pool.contains(main)) {
        Some(address) => {
            Source { address: Some(address), unanswered: surroundings.filtered(pool, address), ..none }
        }
        None => {
            let gateway = network.subnets.iter().find(|subnet| subnet.pool == pool).and_then(|s| s.gateway);
            match gateway {
                Some(gateway) => Source {
                    note: Some(format!(
                        "{parent} has no address in {pool}, so containers answer by their gateway {gateway}, if that is \
                         there; `--aux-address host=ADDRESS` gives this host one"
                    )),
                    ..none
                },
                None => {
                    let why = format!("holds no address of {parent}");
                    Source { unanswered: Some(give_one(pool, &why)), ..none }
                }
            }
        }
    }
}

fn give_one(pool: IpNet, why: &str) -> String {
    format!(
        "containers of {pool} can't answer, as the subnet {why}: make the network with `--aux-address host=ADDRESS`, an \
         address of {pool} that is this host's alone"
    )
}

impl Surroundings<'_> {
    fn filtered(&self, pool: IpNet, main: IpAddr) -> Option<String> {
        let parent = self.parent;
        let change = if self.filters.strict {
            format!(
                "rp_filter=1 on {parent} drops what containers answer: set net.ipv4.conf.{parent}.rp_filter=2"
            )
        } else if self.filters.silent {
            format!("arp_ignore keeps containers from finding {main}: set net.ipv4.conf.all.arp_ignore=0")
        } else {
            return None;
        };
        Some(format!("{change}, or make the network with `--aux-address host=ADDRESS`, an address of {pool}"))
    }
}

/// Returns the address of a host's device in an IPv6 subnet: always the same for a host and a network, in the low 64 bits,
/// and none of the first 65,536, which Docker hands out, nor one that is `taken`.
///
/// Nothing where the subnet leaves fewer than 32 bits.
pub fn own_address(
    pool: Ipv6Net,
    machine: &str,
    network: &str,
    taken: impl Fn(Ipv6Addr) -> bool,
) -> Option<Ipv6Addr> {
    let bits = pool.max_prefix_len() - pool.prefix_len();
    if bits < FEWEST_BITS {
        return None;
    }
    let mask = u64::MAX >> 64_u8.saturating_sub(bits);
    (0..=u8::MAX).find_map(|round| {
        let low = hash(&[machine.as_bytes(), network.as_bytes(), &[round]]) & mask;
        // The last 128 of a subnet are reserved anycast addresses (RFC 2526).
        let fits = low >= DOCKERS && low <= mask - 128;
        let address = Ipv6Addr::from_bits(pool.network().to_bits() | u128::from(low));
        (fits && !taken(address)).then_some(address)
    })
}

/// Hashes parts, the same in every version and build: FNV-1a of 64 bits (draft-eastlake-fnv) with the finish of
/// SplitMix64, which spreads it over all bits.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "6e0b1c1e-5a04-4a3e-9a57-6f0a8f9ed8c2";

    fn own(pool: &str, machine: &str, network: &str) -> Option<Ipv6Addr> {
        own_address(pool.parse().unwrap(), machine, network, |_| false)
    }

    #[test]
    fn an_own_address_never_changes_and_differs_by_host_and_network() {
        let here = own("2001:db8:9::/64", MACHINE, "aa").unwrap();
        // Fixed: another hash would change every host's address at an upgrade.
        assert_eq!(here.to_string(), "2001:db8:9:0:fbd3:454:9c81:f708");
        assert_ne!(own("2001:db8:9::/64", MACHINE, "bb"), Some(here));
        assert_ne!(own("2001:db8:9::/64", "another", "aa"), Some(here));
    }

    #[test]
    fn an_own_address_is_in_the_subnet_and_none_of_dockers() {
        for pool in ["2001:db8::/48", "2001:db8:9::/64", "2001:db8:9::/80", "2001:db8:9::/96"] {
            let net: Ipv6Net = pool.parse().unwrap();
            for n in 0..2000 {
                let address = own(pool, MACHINE, &n.to_string()).unwrap();
                assert!(net.contains(&address), "{address}");
                let low = address.to_bits() - net.network().to_bits();
                assert!((0x1_0000..u128::from(u64::MAX)).contains(&low), "{address}");
            }
        }
        assert_eq!(own("2001:db8:9::/112", MACHINE, "aa"), None);
        assert_eq!(own("2001:db8:9::1/128", MACHINE, "aa"), None);
    }

    #[test]
    fn an_address_that_is_taken_is_left_to_whoever_has_it() {
        let first = own("2001:db8:9::/64", MACHINE, "aa").unwrap();
        let pool = "2001:db8:9::/64".parse().unwrap();
        let second = own_address(pool, MACHINE, "aa", |address| address == first).unwrap();
        assert_ne!(second, first);
    }
}
