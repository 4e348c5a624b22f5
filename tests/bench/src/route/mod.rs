//! Routes in the kernel: ours, and by whom else.

pub(crate) mod bird;
pub(crate) mod ip_batch;
pub(crate) mod ours;
pub(crate) mod raw;

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

/// The subnet that all hosts of the fleet are on.
pub(crate) const UNDERLAY: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 9);

/// Returns the address of a host of the fleet.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    let [hundreds, tens, ones] = [number / 62_500, number / 250 % 250, 1 + number % 250];
    Ipv4Addr::new(10, octet(hundreds), octet(tens), octet(ones))
}

/// Returns the prefix of a host of the fleet: a /24 of 10.128.0.0/9, and past its end a /28 of 172.16.0.0/12.
pub(crate) fn prefix(number: usize) -> IpNet {
    let (base, length, number) = match number.checked_sub(128 * 256) {
        None => (u32::from(Ipv4Addr::new(10, 128, 0, 0)), 24, number),
        Some(rest) => (u32::from(Ipv4Addr::new(172, 16, 0, 0)), 28, rest),
    };
    let number = u32::try_from(number).expect("a number of a host");
    let address = Ipv4Addr::from(base + (number << (32 - length)));
    Ipv4Net::new(address, u8::try_from(length).expect("a length")).expect("a prefix").into()
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).expect("the fleet is not that large")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_host_has_an_address_and_a_prefix_of_its_own() {
        let hosts = 0..90_000;
        let addresses: BTreeSet<_> = hosts.clone().map(address).collect();
        let prefixes: BTreeSet<_> = hosts.clone().map(prefix).collect();
        assert_eq!((addresses.len(), prefixes.len()), (90_000, 90_000));
        assert!(addresses.iter().all(|address| UNDERLAY.contains(address)));
        assert!(prefixes.iter().all(|prefix| !prefix.contains(&IpNet::from(UNDERLAY))));
    }
}
