//! Who keeps a prefix that several hosts claim: the host with the lowest address.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// The prefixes that hosts have kept so far. Claims come host by host, from the lowest address up.
///
/// `kept` holds disjoint prefixes only, by their first address, so that one look to each side finds any overlap. A
/// prefix inside another one of the same host needs no entry.
#[derive(Debug)]
pub(super) struct Contest<O> {
    kept: BTreeMap<IpAddr, (IpNet, O)>,
}

impl<O: Copy + PartialEq> Contest<O> {
    pub(super) fn new() -> Self {
        Self { kept: BTreeMap::new() }
    }

    /// Claims a prefix for an owner, or returns an overlapping prefix and its owner. The claims of one owner MUST come
    /// in one run and in ascending order, so that a prefix comes before those inside it.
    pub(super) fn claim(&mut self, prefix: IpNet, owner: O) -> Result<(), (IpNet, O)> {
        let first = prefix.network();
        if let Some((_, (before, other))) = self.kept.range(..=first).next_back()
            && (before.contains(&prefix) || prefix.contains(before))
        {
            return if *other == owner { Ok(()) } else { Err((*before, *other)) };
        }
        if let Some((_, (after, other))) = self.kept.range(first..).next()
            && prefix.contains(after)
        {
            return Err((*after, *other));
        }
        self.kept.insert(first, (prefix, owner));
        Ok(())
    }
}
