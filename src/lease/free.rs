//! Which part of a pool nobody has: pure functions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Returns the lowest subnet of a length in a pool that touches nothing of `taken`.
///
/// It looks at as many places as there are entries in `taken`, however large the pool is.
pub fn first_free(pool: IpNet, length: u8, taken: &[IpNet]) -> Option<IpNet> {
    if length < pool.prefix_len() || length > pool.max_prefix_len() {
        return None;
    }
    let bits = u32::from(pool.max_prefix_len());
    let size = 1u128.checked_shl(bits - u32::from(length))?;
    let (first, last) = (number(pool.network()), number(pool.broadcast()));
    let mut ranges: Vec<(u128, u128)> = taken
        .iter()
        .filter(|net| net.addr().is_ipv4() == pool.addr().is_ipv4())
        .map(|net| (number(net.network()), number(net.broadcast())))
        .filter(|(from, to)| *to >= first && *from <= last)
        .collect();
    ranges.sort_unstable();
    let mut at = first;
    for (from, to) in ranges {
        if from > at + (size - 1) {
            break;
        }
        if to >= at {
            // The next place behind what is taken; beyond the last address there is none.
            let behind = to.checked_add(1)?;
            at = behind.checked_next_multiple_of(size)?;
        }
    }
    let fits = at.checked_add(size - 1).is_some_and(|end| end <= last);
    fits.then(|| subnet(at, length, pool)).flatten()
}

/// Returns the subnet of a length that holds an address, made smaller until it touches nothing of `taken`.
pub fn around(address: IpAddr, subnet: IpNet, length: u8, taken: &[IpNet]) -> Option<IpNet> {
    let lengths = length.max(subnet.prefix_len())..=subnet.max_prefix_len();
    lengths
        .filter_map(|length| IpNet::new(address, length).ok())
        .map(|net| net.trunc())
        .find(|net| !taken.iter().any(|taken| touch(taken, net)))
}

/// Says whether two subnets have an address in common.
pub fn touch(one: &IpNet, two: &IpNet) -> bool {
    one.contains(two) || two.contains(one)
}

/// Says whether some address of a subnet is in none of `parts`.
pub fn is_left_of(net: IpNet, parts: &[IpNet]) -> bool {
    first_free(net, net.max_prefix_len(), parts).is_some()
}

fn subnet(at: u128, length: u8, pool: IpNet) -> Option<IpNet> {
    let address: IpAddr = match pool {
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(at).ok()?).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(at).into(),
    };
    IpNet::new(address, length).ok()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn free(pool: &str, length: u8, taken: &[&str]) -> Option<String> {
        let taken: Vec<_> = taken.iter().map(|taken| net(taken)).collect();
        first_free(net(pool), length, &taken).map(|net| net.to_string())
    }

    #[test]
    fn the_lowest_place_is_taken_first() {
        assert_eq!(free("10.1.0.0/16", 24, &[]).unwrap(), "10.1.0.0/24");
        assert_eq!(free("10.1.0.0/16", 24, &["10.1.0.0/24", "10.1.2.0/24"]).unwrap(), "10.1.1.0/24");
        assert_eq!(free("10.1.0.0/16", 24, &["10.1.0.128/32", "10.1.1.7/32"]).unwrap(), "10.1.2.0/24");
        assert_eq!(free("10.1.0.0/16", 24, &["10.0.0.0/8"]), None);
        assert_eq!(free("10.1.0.0/23", 24, &["10.1.0.0/25", "10.1.1.255/32"]), None);
        assert_eq!(free("10.1.0.0/16", 24, &["10.1.0.0/17", "2001:db8::/16"]).unwrap(), "10.1.128.0/24");
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trap() {
        assert_eq!(free("255.255.255.0/24", 25, &["255.255.255.0/25"]).unwrap(), "255.255.255.128/25");
        assert_eq!(free("255.255.255.0/24", 25, &["255.255.255.0/25", "255.255.255.255/32"]), None);
        assert_eq!(free("ff00::/8", 128, &["ff00::/8"]), None);
        assert_eq!(free("::/0", 1, &["::/1"]).unwrap(), "8000::/1");
        assert_eq!(free("0.0.0.0/0", 0, &[]).unwrap(), "0.0.0.0/0");
        assert_eq!(free("2001:db8::/32", 64, &["2001:db8::/64"]).unwrap(), "2001:db8:0:1::/64");
    }

    #[test]
    fn a_block_around_an_address_shrinks_to_what_is_free() {
        let around = |taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|taken| net(taken)).collect();
            let found = around("192.168.1.70".parse().unwrap(), net("192.168.1.0/24"), 28, &taken);
            found.map(|net| net.to_string())
        };
        assert_eq!(around(&[]).unwrap(), "192.168.1.64/28");
        assert_eq!(around(&["192.168.1.64/30"]).unwrap(), "192.168.1.68/30");
        assert_eq!(around(&["192.168.1.71/32"]).unwrap(), "192.168.1.70/32");
        assert_eq!(around(&["192.168.1.0/25"]), None);
    }

    proptest! {
        #[test]
        fn what_is_free_touches_nothing_and_nothing_lower_is_free(
            taken in proptest::collection::vec((0u32..256, 26u8..=32), 0..12), length in 26u8..=30,
        ) {
            let pool = net("10.0.0.0/24");
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(last, length)| IpNet::new(Ipv4Addr::from_bits(0x0a00_0000 + last).into(), length).unwrap().trunc())
                .collect();
            let expected = pool.subnets(length).unwrap().find(|net| !taken.iter().any(|taken| touch(taken, net)));
            prop_assert_eq!(first_free(pool, length, &taken), expected);
        }
    }
}
