//! Who keeps a prefix that several hosts claim: the host with the lowest address.
//!
//! In order of hosts, a claim is kept unless one that a lower host keeps overlaps it. So what becomes of a claim depends on
//! overlapping claims of lower hosts alone, and a change of it touches those of higher ones alone.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// Every claim that takes part, by prefix and host, and how many there are of each length.
#[derive(Debug, Default)]
pub(super) struct Contest {
    claims: BTreeMap<(IpNet, IpAddr), Entry>,
    lengths: BTreeMap<(bool, u8), usize>,
}

/// A host's claim to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    /// The prefix.
    pub(super) prefix: IpNet,
    /// Whose record has it.
    pub(super) host: IpAddr,
    /// Where packets for the prefix would go.
    pub(super) next_hop: IpAddr,
}

/// What is known of a claim.
#[derive(Debug, Clone, Copy)]
struct Entry {
    next_hop: IpAddr,
    standing: Standing,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not looked at yet.
    New,
    /// A lower host keeps a prefix that overlaps it.
    Lost,
    /// Kept, but not for this host to route: its own, or refused here alone.
    Kept,
    /// Kept, and to be routed.
    Accepted,
}

impl Entry {
    fn is_kept(self) -> bool {
        matches!(self.standing, Standing::Kept | Standing::Accepted)
    }
}

/// The first and the last of all hosts, as claims to one prefix are ordered.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

impl Contest {
    /// Makes a contest of claims that are sorted and differ. What overlaps nothing of another host's is as `alone` says; the
    /// others are returned, in order of hosts, and to be looked at.
    pub(super) fn of(
        claims: &[Claim],
        mut alone: impl FnMut(Claim) -> Standing,
    ) -> (Self, Vec<(IpAddr, IpNet)>) {
        let mut lengths = BTreeMap::new();
        let mut entries = Vec::with_capacity(claims.len());
        let mut contested = Vec::new();
        let mut rest = claims;
        // A prefix comes before those inside it, so these are all together.
        while let Some(widest) = rest.first() {
            let count = rest.iter().take_while(|claim| widest.prefix.contains(&claim.prefix)).count();
            let (together, others) = rest.split_at(count);
            let is_contested = together.iter().any(|claim| claim.host != widest.host);
            for claim in together {
                let standing = if is_contested {
                    contested.push((claim.host, claim.prefix));
                    Standing::New
                } else {
                    alone(*claim)
                };
                *lengths.entry(length(claim.prefix)).or_default() += 1;
                entries.push(((claim.prefix, claim.host), Entry { next_hop: claim.next_hop, standing }));
            }
            rest = others;
        }
        contested.sort_unstable();
        (Self { claims: entries.into_iter().collect(), lengths }, contested)
    }

    /// Enters a claim that nobody has looked at.
    pub(super) fn enter(&mut self, claim: Claim) {
        let entry = Entry { next_hop: claim.next_hop, standing: Standing::New };
        if self.claims.insert((claim.prefix, claim.host), entry).is_none() {
            *self.lengths.entry(length(claim.prefix)).or_default() += 1;
        }
    }

    /// Takes a claim out, and tells whether it was kept.
    pub(super) fn withdraw(&mut self, prefix: IpNet, host: IpAddr) -> bool {
        let Some(claim) = self.claims.remove(&(prefix, host)) else { return false };
        let of_length = self.lengths.entry(length(prefix)).or_default();
        *of_length -= 1;
        if *of_length == 0 {
            self.lengths.remove(&length(prefix));
        }
        claim.is_kept()
    }

    /// Returns a claim.
    pub(super) fn claim(&self, prefix: IpNet, host: IpAddr) -> Option<Claim> {
        let entry = self.claims.get(&(prefix, host))?;
        Some(Claim { prefix, host, next_hop: entry.next_hop })
    }

    /// Notes what became of a claim, and tells whether it is now kept and was not, or the other way.
    pub(super) fn settle(&mut self, prefix: IpNet, host: IpAddr, standing: Standing) -> bool {
        let Some(claim) = self.claims.get_mut(&(prefix, host)) else { return false };
        let before = claim.is_kept();
        claim.standing = standing;
        claim.is_kept() != before
    }

    /// Returns the prefix and the host that a claim loses to; the widest and first of several.
    pub(super) fn winner(&self, prefix: IpNet, host: IpAddr) -> Option<(IpNet, IpAddr)> {
        let mut others = self.overlapping(prefix);
        others
            .find(|(_, other, claim)| *other < host && claim.is_kept())
            .map(|(theirs, other, _)| (theirs, other))
    }

    /// Returns the claims of higher hosts that a change of this one may change, but those that are to be looked at anyway.
    pub(super) fn touched(&self, prefix: IpNet, host: IpAddr) -> impl Iterator<Item = (IpAddr, IpNet)> {
        let others = self.overlapping(prefix);
        others
            .filter(move |(_, other, claim)| *other > host && claim.standing != Standing::New)
            .map(|(theirs, other, _)| (other, theirs))
    }

    /// Returns what is to be routed, sorted by prefix.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (IpNet, IpAddr, IpAddr)> {
        let accepted = self.claims.iter().filter(|(_, claim)| claim.standing == Standing::Accepted);
        accepted.map(|((prefix, host), claim)| (*prefix, *host, claim.next_hop))
    }

    /// Returns where a prefix is to be routed.
    pub(super) fn next_hop(&self, prefix: IpNet) -> Option<IpAddr> {
        let claims = self.claims.range((prefix, FIRST)..=(prefix, LAST));
        claims
            .map(|(_, claim)| claim)
            .find(|claim| claim.standing == Standing::Accepted)
            .map(|claim| claim.next_hop)
    }

    /// Returns all claims that have an address in common with a prefix, the widest first.
    fn overlapping(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, IpAddr, Entry)> {
        let (family, longest) = length(prefix);
        let lengths = self.lengths.range((family, 0)..(family, longest)).map(|((_, length), _)| *length);
        let wider = lengths.filter_map(move |length| IpNet::new(prefix.network(), length).ok());
        let around = wider
            .map(|wider| wider.trunc())
            .flat_map(|wider| self.claims.range((wider, FIRST)..=(wider, LAST)));
        // Prefixes are ordered by their first address, and then the wider comes first.
        let inside =
            self.claims.range((prefix, FIRST)..).take_while(move |((other, _), _)| prefix.contains(other));
        around.chain(inside).map(|((prefix, host), claim)| (*prefix, *host, *claim))
    }
}

fn length(prefix: IpNet) -> (bool, u8) {
    (prefix.addr().is_ipv4(), prefix.prefix_len())
}
