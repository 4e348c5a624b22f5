//! Which of the fleet's prefixes this host believes: a pure function of the records and of this host's addresses.
//!
//! [`judge`] is that function. A [`Judge`] is the same, kept up to date: told which records changed, it looks at those and
//! at what overlaps them alone, and says what became of which prefix.
//!
//! Each prefix passes three gates:
//!
//! 1. what is wrong for every host of the segment: reserved ranges, the underlay's own subnets, a next hop that is not on
//!    the underlay. What fails here takes no part in the next gate, so that a bad record can't push a good one out;
//! 2. the contest: of hosts whose prefixes overlap, the one with the lowest address keeps its own (IPv4 before IPv6).
//!    This host's record takes part like any other, so that all hosts decide alike;
//! 3. what is wrong for this host alone: it has no address of the family, the next hop is its own, or another of its
//!    interfaces has the prefix. That changes nothing for other prefixes.

mod contest;
mod judge;
mod local;
mod reserved;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use ipvland_store::{Key, Stray};

use crate::{
    lease::free::touch,
    persistent::Map,
    record::{Reason, Record},
};

pub use judge::{Changes, Judge, Update};

/// The records of a fleet, each parsed or refused by itself.
pub type Records = Map<Key, Result<Arc<Record>, Reason>>;

/// What the judgement has to know of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// The key of this host's own record, whose prefixes need no route here.
    pub own: Option<Key>,
    /// The name of the parent interface, for the sentences.
    pub parent: String,
    /// The addresses of the parent interface with their subnets: the underlay.
    pub underlay: Vec<IpNet>,
    /// The addresses of all other interfaces with their subnets, and the interfaces' names. Neither loopback nor ours.
    pub elsewhere: Vec<(String, IpNet)>,
}

/// A prefix of another host, to be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The record that it stands in.
    pub key: Key,
    /// That host's name, or its address where it has none.
    pub host: String,
    /// The network that it belongs to.
    pub network: String,
    /// Where packets go.
    pub prefix: IpNet,
    /// The next hop, on the parent's segment.
    pub next_hop: IpAddr,
}

/// A record, or one prefix of it, that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The name of the record's file, as the store shows it.
    pub file: String,
    /// The prefix, where the rest of the record stands.
    pub prefix: Option<IpNet>,
    /// Why: one lower-case clause.
    pub reason: String,
}

/// The judgement of a fleet's records on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is to be routed, sorted by prefix; no two accepted prefixes of different hosts overlap.
    pub accepted: Vec<Accepted>,
    /// What is left out, sorted by file.
    pub refused: Vec<Refused>,
}

/// Judges the records of a fleet.
pub fn judge(records: &Records, strays: &[Stray], local: &Local) -> Judgement {
    let mut judge = Judge::new(local.clone());
    judge.update(records, strays, None);
    judge.judgement()
}

/// Returns what every host refuses of a fleet's records, whatever its own interfaces are.
pub fn refused_everywhere(records: &Records) -> Vec<Refused> {
    let mut judge = Judge::of_no_host();
    judge.update(records, &[], None);
    judge.refused()
}

/// Returns the address space of all records other than `own`: prefixes and leased blocks, hosts in order.
///
/// What no host can own doesn't count: one bad record must not keep a fleet from publishing.
pub fn taken<'a>(records: &'a Records, own: Option<&Key>) -> Vec<(IpNet, &'a Key, &'a Record)> {
    let mut hosts: Vec<(&Key, &Record)> = others(records, own).collect();
    hosts.sort_by_key(|(key, record)| (record.host, *key));
    hosts.into_iter().flat_map(|(key, record)| space(record).map(move |net| (net, key, record))).collect()
}

/// Returns the first record other than `own` that holds a prefix or block which overlaps one of `claims`, as (claim, what
/// it holds, its key).
pub fn overlap(records: &Records, own: Option<&Key>, claims: &[IpNet]) -> Option<(IpNet, IpNet, Key)> {
    let overlaps = others(records, own).filter_map(|(key, record)| {
        let both = |theirs| claims.iter().find(|claim| touch(claim, &theirs)).map(|claim| (*claim, theirs));
        space(record).find_map(both).map(|both| (record.host, key, both))
    });
    let (_, key, (claim, theirs)) = overlaps.min_by_key(|(host, key, _)| (*host, *key))?;
    Some((claim, theirs, key.clone()))
}

/// Returns the records that can be read, but this host's own.
fn others<'a>(records: &'a Records, own: Option<&Key>) -> impl Iterator<Item = (&'a Key, &'a Record)> {
    let own_host = own.and_then(Record::host_of);
    let read = records.iter().filter_map(|(key, record)| Some((key, record.as_deref().ok()?)));
    read.filter(move |(key, record)| Some(*key) != own && Some(record.host) != own_host)
}

/// Returns what a record holds of the address space, without what no host can own.
pub(crate) fn space(record: &Record) -> impl Iterator<Item = IpNet> {
    let held = record.prefixes().map(|(_, prefix)| prefix).chain(record.blocks.iter().copied());
    held.filter(|net| reserved::check_prefix(*net).is_ok())
}

/// Says why no container can be known by an address: loopback, multicast, link-local, unspecified.
///
/// # Errors
/// A clause that begins with the address.
pub fn check_address(address: IpAddr) -> Result<(), Reason> {
    reserved::check_address(address)
}

/// Says why a prefix can't be any host's own: a default route, loopback, multicast, link-local, or one that touches this
/// host's underlay or another of its subnets.
pub fn check_prefix(prefix: IpNet, local: &Local) -> Result<(), Reason> {
    let prefix = prefix.trunc();
    reserved::check_prefix(prefix)?;
    local.check_underlay(prefix)?;
    local.check_elsewhere(prefix)
}
