//! Finds the next address that may be given: pure functions over ranges of addresses.
//!
//! Nothing here takes time by the size of a subnet, only by what is given of it: an IPv6 subnet has 2^64 addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// Addresses of one family from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first.
    pub first: IpAddr,
    /// The last; never lower than the first, and of its family.
    pub last: IpAddr,
}

impl From<IpNet> for Span {
    fn from(net: IpNet) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl From<IpAddr> for Span {
    fn from(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }
}

impl Span {
    /// Says whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first <= address && address <= self.last
    }

    /// Returns how many addresses it has; 2^128 counts as one less.
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }
}

/// Sorts ranges and joins those that overlap.
pub fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.contains(span.first) => last.last = last.last.max(span.last),
            _ => merged.push(span),
        }
    }
    merged
}

/// Returns the next address of `spans` that is neither `given` nor in `never`, beginning behind `after` and going round.
///
/// `spans` and `never` are sorted, and no two of either overlap. The next one rather than the first one: an address that
/// was given back rests as long as there are others, so that nobody who still knows it meets a new container there.
pub fn next<T>(
    spans: &[Span],
    never: &[Span],
    given: &BTreeMap<IpAddr, T>,
    after: Option<IpAddr>,
) -> Option<IpAddr> {
    let Some(after) = after else { return spans.iter().find_map(|span| first(*span, never, given)) };
    let behind = spans.iter().filter_map(|span| {
        let from = up(after).filter(|from| *from > span.first).unwrap_or(span.first);
        (after < span.last && from <= span.last).then_some(Span { first: from, last: span.last })
    });
    let upto = spans.iter().filter_map(|span| {
        (span.first <= after).then_some(Span { first: span.first, last: after.min(span.last) })
    });
    behind.chain(upto).find_map(|span| first(span, never, given))
}

/// Returns the lowest address of a range that is neither given nor never to be.
fn first<T>(span: Span, never: &[Span], given: &BTreeMap<IpAddr, T>) -> Option<IpAddr> {
    let mut at = span.first;
    let mut given = given.range(span.first..=span.last).map(|(address, _)| *address).peekable();
    while at <= span.last {
        let barred = never.partition_point(|never| never.last < at);
        if let Some(barred) = never.get(barred).filter(|never| never.contains(at)) {
            at = up(barred.last)?;
            continue;
        }
        while given.next_if(|given| *given < at).is_some() {}
        if given.peek() != Some(&at) {
            return Some(at);
        }
        at = up(at)?;
    }
    None
}

/// Returns how many addresses of `spans` may be given at all.
pub fn usable(spans: &[Span], never: &[Span]) -> u128 {
    let all: u128 = spans.iter().fold(0, |sum, span| sum.saturating_add(span.size()));
    let cut = |one: &Span, two: &Span| {
        let (first, last) = (one.first.max(two.first), one.last.min(two.last));
        if first <= last { Span { first, last }.size() } else { 0 }
    };
    let barred = never.iter().flat_map(|never| spans.iter().map(move |span| cut(span, never)));
    all.saturating_sub(barred.fold(0, u128::saturating_add))
}

/// Returns the part of two subnets that both have, if there is one.
pub fn common(one: IpNet, two: IpNet) -> Option<IpNet> {
    if one.contains(&two) { Some(two) } else { two.contains(&one).then_some(one) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the address behind one; none behind the last of its family.
pub fn up(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_add(1)?).into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(nets: &[&str]) -> Vec<Span> {
        merge(nets.iter().map(|net| Span::from(net.parse::<IpNet>().unwrap())).collect())
    }

    fn given(addresses: &[&str]) -> BTreeMap<IpAddr, ()> {
        addresses.iter().map(|address| (address.parse().unwrap(), ())).collect()
    }

    fn found(nets: &[&str], never: &[&str], taken: &[&str], after: Option<&str>) -> Option<String> {
        let after = after.map(|after| after.parse().unwrap());
        next(&spans(nets), &spans(never), &given(taken), after).map(|address| address.to_string())
    }

    #[test]
    fn the_next_one_is_given_and_the_search_goes_round() {
        let nets = ["10.9.0.0/30", "10.9.0.8/30"];
        assert_eq!(found(&nets, &[], &[], None).unwrap(), "10.9.0.0");
        assert_eq!(found(&nets, &["10.9.0.0/31"], &[], None).unwrap(), "10.9.0.2");
        assert_eq!(found(&nets, &[], &[], Some("10.9.0.1")).unwrap(), "10.9.0.2");
        assert_eq!(found(&nets, &[], &[], Some("10.9.0.3")).unwrap(), "10.9.0.8");
        assert_eq!(found(&nets, &[], &["10.9.0.8"], Some("10.9.0.5")).unwrap(), "10.9.0.9");
        assert_eq!(found(&nets, &[], &[], Some("10.9.0.11")).unwrap(), "10.9.0.0");
        assert_eq!(found(&["10.9.0.0/32"], &[], &[], Some("10.9.0.0")).unwrap(), "10.9.0.0");
        assert_eq!(found(&["10.9.0.0/31"], &[], &["10.9.0.0", "10.9.0.1"], Some("10.9.0.0")), None);
    }

    #[test]
    fn the_ends_of_the_address_space_and_its_size_are_no_trap() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(found(&["::/0"], &[], &[], Some(last)).unwrap(), "::");
        assert_eq!(
            found(&["ff00::/8"], &[], &[last], Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")).unwrap(),
            "ff00::"
        );
        assert_eq!(found(&["255.255.255.254/31"], &["255.255.255.255/32"], &["255.255.255.254"], None), None);
        assert_eq!(usable(&spans(&["2001:db8::/64"]), &spans(&["2001:db8::/128"])), u128::from(u64::MAX));
        assert_eq!(
            usable(&spans(&["10.9.0.0/28"]), &spans(&["10.9.0.0/31", "10.9.0.15/32", "10.9.1.0/24"])),
            13
        );
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_looking_at_every_address(
            nets in proptest::collection::vec((0u32..64, 27u8..=32), 1..5),
            never in proptest::collection::vec((0u32..64, 29u8..=32), 0..5),
            taken in proptest::collection::btree_set(0u32..64, 0..50),
            after in proptest::option::of(0u32..64),
        ) {
            let base = 0x0a09_0000;
            let address = |last: u32| IpAddr::from(Ipv4Addr::from_bits(base + last));
            let net = |(last, length): (u32, u8)| Span::from(IpNet::new(address(last), length).unwrap());
            let (nets, never) = (merge(nets.into_iter().map(net).collect()), merge(never.into_iter().map(net).collect()));
            let taken: BTreeMap<IpAddr, ()> = taken.into_iter().map(|last| (address(last), ())).collect();
            let free = |at: &IpAddr| {
                nets.iter().any(|net| net.contains(*at)) && !never.iter().any(|never| never.contains(*at)) && !taken.contains_key(at)
            };
            let from = after.map_or(0, |after| after + 1);
            let expected = (from..64).chain(0..from).map(address).find(free);
            prop_assert_eq!(next(&nets, &never, &taken, after.map(address)), expected);
            let may = (0..64).map(address).filter(|at| nets.iter().any(|net| net.contains(*at)) && !never.iter().any(|never| never.contains(*at)));
            prop_assert_eq!(usable(&nets, &never), may.count() as u128);
        }
    }
}
