//! Ranges that no host can own (RFC 6890, the registries of special-purpose addresses).

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{lease::free::touch, record::Reason};

const fn v4(a: u8, b: u8, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, 0, 0), len))
}

const fn v6(first: u16, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), len))
}

const RESERVED: [(IpNet, &str); 8] = [
    (v4(0, 0, 8), "the unspecified range"),
    (v4(127, 0, 8), "the loopback range"),
    (v4(169, 254, 16), "the link-local range"),
    (v4(224, 0, 4), "the multicast range"),
    (v4(240, 0, 4), "the reserved range"),
    // Holds the unspecified address, loopback, and IPv4 mapped into IPv6.
    (v6(0, 8), "the loopback and mapped range"),
    (v6(0xfe80, 10), "the link-local range"),
    (v6(0xff00, 8), "the multicast range"),
];

/// The shortest prefixes that a host may own. Two halves of the Internet are a default route by another name.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;

/// Tells at one look that a prefix is none of those that no host can own. By far the most are not: the first byte of each
/// reserved range is one that few others begin with.
fn is_ordinary(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => {
            let [first, ..] = net.network().octets();
            net.prefix_len() >= SHORTEST_V4 && first < 224 && !matches!(first, 0 | 127 | 169)
        }
        IpNet::V6(net) => {
            let [first, ..] = net.network().octets();
            net.prefix_len() >= SHORTEST_V6 && !matches!(first, 0 | 0xfe | 0xff)
        }
    }
}

/// Says why no host at all can own a prefix.
pub(super) fn check_prefix(prefix: IpNet) -> Result<(), Reason> {
    if is_ordinary(prefix) {
        return Ok(());
    }
    if prefix.prefix_len() == 0 {
        return Err(Reason("it is a default route and would cut hosts off".into()));
    }
    if let Some((range, what)) = RESERVED.iter().find(|(range, _)| touch(range, &prefix)) {
        return Err(Reason(format!("it overlaps {what} {range}")));
    }
    let shortest = if prefix.addr().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if prefix.prefix_len() < shortest {
        return Err(Reason(format!("it is wider than a /{shortest}, more than one host can own")));
    }
    Ok(())
}

/// Says why an address can't be a container's.
pub(super) fn check_address(address: IpAddr) -> Result<(), Reason> {
    if is_ordinary(address.into()) {
        return Ok(());
    }
    match RESERVED.iter().find(|(range, _)| range.contains(&address)) {
        Some((range, what)) => Err(Reason(format!("{address} is in {what} {range}"))),
        None => Ok(()),
    }
}

/// Says why an address can't be a next hop.
pub(super) fn check_next_hop(next_hop: IpAddr) -> Result<(), Reason> {
    check_address(next_hop).map_err(|Reason(words)| Reason(format!("next hop {words}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<[u8; 4]>(), 0u8..=32)
            .prop_map(|(bytes, length)| IpNet::new(bytes.into(), length).unwrap());
        let v6 = (any::<[u8; 16]>(), 0u8..=128)
            .prop_map(|(bytes, length)| IpNet::new(bytes.into(), length).unwrap());
        prop_oneof![v4, v6].prop_map(|net| net.trunc())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_ordinary_touches_no_reserved_range(prefix in prefix()) {
            let shortest = if prefix.addr().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
            let reserved = RESERVED.iter().any(|(range, _)| touch(range, &prefix));
            prop_assert!(!is_ordinary(prefix) || (!reserved && prefix.prefix_len() >= shortest), "{}", prefix);
        }
    }
}
