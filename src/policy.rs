//! Which of the fleet's prefixes this host believes: a pure function of the records and of this host's addresses.
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
mod reserved;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use ipvland_store::{Key, Stray};

use crate::{
    lease::free::touch,
    persistent::Map,
    record::{Reason, Record, Underlay},
};
use contest::Contest;

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
    judge_on(records, strays, local, true)
}

/// Returns what every host refuses of a fleet's records, whatever its own interfaces are.
pub fn refused_everywhere(records: &Records) -> Vec<Refused> {
    judge_on(records, &[], &Local::default(), false).refused
}

fn judge_on(records: &Records, strays: &[Stray], local: &Local, is_host: bool) -> Judgement {
    let mut judge = Judge {
        local,
        is_host,
        own: local.own.as_ref().and_then(Record::host_of),
        addresses: local
            .underlay
            .iter()
            .chain(local.elsewhere.iter().map(|(_, net)| net))
            .map(IpNet::addr)
            .collect(),
        contest: Contest::new(),
        judgement: Judgement::default(),
    };
    for stray in strays {
        judge.refuse(&stray.name, None, stray.reason.clone());
    }
    let mut hosts: BTreeMap<IpAddr, (&Key, &Record)> = BTreeMap::new();
    for (key, record) in records {
        let record = match record {
            Ok(record) => record,
            Err(reason) => {
                judge.refuse(key.as_str(), None, reason.0.clone());
                continue;
            }
        };
        let Some(&(other, _)) = hosts.get(&record.host) else {
            hosts.insert(record.host, (key, record));
            continue;
        };
        // The file that a host writes by itself wins over one in another spelling; else the first by name.
        let (loser, winner) = if *key == Record::key(record.host) { (other, key) } else { (key, other) };
        if winner == key {
            hosts.insert(record.host, (key, record));
        }
        let reason = format!("{winner} is about the same host {}; remove one of them", record.host);
        judge.refuse(loser.as_str(), None, reason);
    }
    for (key, record) in hosts.into_values() {
        judge.record(key, record);
    }
    let mut judgement = judge.judgement;
    judgement.accepted.sort_by_key(|accepted| accepted.prefix);
    judgement.refused.sort_by(|a, b| (&a.file, a.prefix, &a.reason).cmp(&(&b.file, b.prefix, &b.reason)));
    judgement
}

struct Judge<'a> {
    local: &'a Local,
    /// Whether `local` is a host's. Without one, nothing is refused for the want of an interface.
    is_host: bool,
    own: Option<IpAddr>,
    /// Every address of this host.
    addresses: BTreeSet<IpAddr>,
    contest: Contest<&'a Key>,
    judgement: Judgement,
}

impl<'a> Judge<'a> {
    fn refuse(&mut self, file: &str, prefix: Option<IpNet>, reason: String) {
        self.judgement.refused.push(Refused { file: file.into(), prefix, reason });
    }

    fn record(&mut self, key: &'a Key, record: &'a Record) {
        if let Underlay::Unknown(kind, _) = &record.underlay {
            let reason = format!("the underlay {kind:?} is not known to this ipvland (known: direct)");
            return self.refuse(key.as_str(), None, reason);
        }
        // Sorted, a prefix comes before those inside it, which the contest asks for.
        let mut prefixes: Vec<(IpNet, &str)> =
            record.prefixes().map(|(network, prefix)| (prefix.trunc(), network)).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        for (prefix, network) in prefixes {
            match self.prefix(key, record, prefix) {
                Ok(Some(next_hop)) => {
                    let host =
                        if record.name.is_empty() { record.host.to_string() } else { record.name.clone() };
                    let (key, network) = (key.clone(), network.to_owned());
                    self.judgement.accepted.push(Accepted { key, host, network, prefix, next_hop });
                }
                Ok(None) => {}
                Err(reason) => self.refuse(key.as_str(), Some(prefix), reason.0),
            }
        }
    }

    /// Returns the next hop of a prefix, or nothing if the prefix is this host's own.
    fn prefix(&mut self, key: &'a Key, record: &Record, prefix: IpNet) -> Result<Option<IpAddr>, Reason> {
        reserved::check_prefix(prefix)?;
        self.local.check_underlay(prefix)?;
        let next_hop = self.local.next_hop(record, prefix)?;
        if let Err((theirs, owner)) = self.contest.claim(prefix, key) {
            return Err(Reason(format!("it overlaps {theirs} of {owner}, whose host has the lower address")));
        }
        if self.own == Some(record.host) {
            return Ok(None);
        }
        if self.is_host {
            self.local.check_family(next_hop)?;
        }
        if self.addresses.contains(&next_hop) {
            return Err(Reason(format!("next hop {next_hop} is an address of this host itself")));
        }
        self.local.check_elsewhere(prefix)?;
        Ok(Some(next_hop))
    }
}

impl Local {
    /// Returns the underlay's subnets of a family, link-local ones left out: no next hop of ours is in them.
    fn subnets(&self, of: IpAddr) -> impl Iterator<Item = &IpNet> {
        self.underlay.iter().filter(move |net| {
            net.addr().is_ipv4() == of.is_ipv4() && reserved::check_next_hop(net.addr()).is_ok()
        })
    }

    fn check_underlay(&self, prefix: IpNet) -> Result<(), Reason> {
        match self.underlay.iter().find(|net| touch(net, &prefix)) {
            Some(net) => Err(Reason(format!("it overlaps {}'s subnet {}", self.parent, net.trunc()))),
            None => Ok(()),
        }
    }

    fn check_elsewhere(&self, prefix: IpNet) -> Result<(), Reason> {
        match self.elsewhere.iter().find(|(_, net)| net.contains(&prefix)) {
            Some((interface, net)) => {
                let how = if net.trunc() == prefix { "equal to" } else { "part of" };
                Err(Reason(format!("it is {how} this host's subnet {} on {interface}", net.trunc())))
            }
            None => Ok(()),
        }
    }

    fn check_family(&self, next_hop: IpAddr) -> Result<(), Reason> {
        match self.subnets(next_hop).next() {
            Some(_) => Ok(()),
            None => Err(Reason(format!("{} has no {} address", self.parent, family(next_hop)))),
        }
    }

    /// Returns the next hop of a record for a prefix. Where the parent has no address of the family, nothing is said
    /// about the segment: other hosts may well have one.
    fn next_hop(&self, record: &Record, prefix: IpNet) -> Result<IpAddr, Reason> {
        let Some(next_hop) =
            record.next_hops.iter().copied().find(|hop| hop.is_ipv4() == prefix.addr().is_ipv4())
        else {
            return Err(Reason(format!("the record has no {} next hop", family(prefix.addr()))));
        };
        if let Some(inside) = [next_hop, record.host].into_iter().find(|address| prefix.contains(address)) {
            return Err(Reason(format!("it holds its own next hop {inside}")));
        }
        reserved::check_next_hop(next_hop)?;
        let mut subnets = self.subnets(next_hop).peekable();
        let Some(&shown) = subnets.peek() else { return Ok(next_hop) };
        let Some(subnet) = subnets.find(|net| net.contains(&next_hop)) else {
            let subnet = shown.trunc();
            return Err(Reason(format!("next hop {next_hop} is not on {}'s subnet {subnet}", self.parent)));
        };
        // A /31 has neither (RFC 3021), and IPv6 has no broadcast; its subnet-router anycast address is no one host.
        let edge = next_hop == subnet.network() || (next_hop.is_ipv4() && next_hop == subnet.broadcast());
        if edge && subnet.max_prefix_len() - subnet.prefix_len() > 1 {
            return Err(Reason(format!("next hop {next_hop} is no host's address in {}", subnet.trunc())));
        }
        Ok(next_hop)
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Returns the address space of all records other than `own`: prefixes and leased blocks, hosts in order.
///
/// What no host can own doesn't count: one bad record must not keep a fleet from publishing.
pub fn taken<'a>(records: &'a Records, own: Option<&Key>) -> Vec<(IpNet, &'a Key, &'a Record)> {
    let own_host = own.and_then(Record::host_of);
    let mut hosts: Vec<(&Key, &Record)> = records
        .iter()
        .filter_map(|(key, record)| record.as_deref().ok().map(|record| (key, record)))
        .filter(|(key, record)| Some(*key) != own && Some(record.host) != own_host)
        .collect();
    hosts.sort_by_key(|(key, record)| (record.host, *key));
    let space = hosts.into_iter().flat_map(|(key, record)| {
        let prefixes = record.prefixes().map(|(_, prefix)| prefix);
        prefixes.chain(record.blocks.iter().copied()).map(move |net| (net, key, record))
    });
    space.filter(|(net, ..)| reserved::check_prefix(*net).is_ok()).collect()
}

/// Returns the first record other than `own` that holds a prefix or block which overlaps one of `claims`, as (claim, what
/// it holds, its key).
pub fn overlap(records: &Records, own: Option<&Key>, claims: &[IpNet]) -> Option<(IpNet, IpNet, Key)> {
    taken(records, own).into_iter().find_map(|(theirs, key, _)| {
        let claim = claims.iter().find(|claim| touch(claim, &theirs))?;
        Some((*claim, theirs, key.clone()))
    })
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
