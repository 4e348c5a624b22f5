//! From wishes to leases: what is free by the store's records, a pure function.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use ipvland_store::Key;

use super::{
    Claims,
    claims::list,
    edit::{moved, others, present},
};
use crate::{
    lease::{
        Answer, Kind, Lease, Ticket, Wish,
        free::{around, first_free, is_left_of, touch},
    },
    policy::{self, Local, Records},
    record::Record,
};

/// What a host asks the fleet for, and by which words it is known there.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The stable id of this machine.
    pub id: &'a str,
    /// What it has to say already.
    pub claims: &'a Claims,
    /// What it wishes to lease.
    pub wishes: &'a BTreeMap<Ticket, Wish>,
    /// Its interfaces.
    pub local: &'a Local,
}

/// What became of the wishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    /// The claims with what was granted.
    pub claims: Claims,
    /// The answers.
    pub answers: BTreeMap<Ticket, Answer>,
}

/// What others have, as far as it matters to a wish.
struct Space<'a> {
    /// Their prefixes and blocks.
    taken: Vec<(IpNet, &'a Key, &'a Record)>,
    /// The addresses that hosts have on their underlay.
    hosts: Vec<IpNet>,
    /// What this host's record in the store holds.
    present: Vec<IpNet>,
    local: &'a Local,
}

impl Grant<'_> {
    /// Grants what is free, wish by wish; one that can't be granted stops no other.
    pub fn on(&self, records: &Records) -> Granted {
        let mut granted = Granted { claims: self.claims.clone(), answers: BTreeMap::new() };
        if self.wishes.is_empty() {
            return granted;
        }
        let key = Record::key(self.claims.host);
        let moved = moved(records, self.id, &key);
        let others = others(records, &moved);
        let space = self.space(records, &others, &key, &moved);
        for (ticket, wish) in self.wishes {
            let answer = match wish {
                Wish::Prefix { pools, length, reserved } => {
                    space.prefix(&granted.claims, pools, *length, reserved)
                }
                Wish::Block { subnet, length, holds, reserved } => {
                    space.block(&granted.claims, *subnet, *length, *holds, reserved)
                }
            };
            if let Ok(lease) = answer {
                granted.claims.add(lease);
            }
            granted.answers.insert(*ticket, answer);
        }
        granted
    }

    fn space<'a>(&'a self, records: &Records, others: &'a Records, key: &Key, moved: &[Key]) -> Space<'a> {
        let hosts = others.values().flatten();
        let hosts = hosts.flat_map(|record| record.next_hops.iter().copied().chain([record.host]));
        let own = std::iter::once(key).chain(moved).filter_map(|key| present(records, key));
        let present = own
            .filter(|record| record.id.as_deref().is_none_or(|id| id == self.id))
            .flat_map(|record| record.prefixes().map(|(_, prefix)| prefix));
        Space {
            taken: policy::taken(others, Some(key)),
            hosts: hosts.map(IpNet::from).collect(),
            present: present.collect(),
            local: self.local,
        }
    }
}

impl Space<'_> {
    /// Leases a prefix: the one that this host's record holds already, else the lowest free one.
    fn prefix(&self, claims: &Claims, pools: &[IpNet], length: u8, reserved: &[IpNet]) -> Answer {
        let local = self.local.underlay.iter().chain(self.local.elsewhere.iter().map(|(_, net)| net));
        let mut taken: Vec<IpNet> = self.taken.iter().map(|(net, ..)| *net).collect();
        taken.extend(
            claims.prefixes().iter().chain(&claims.blocks).chain(&self.hosts).chain(reserved).chain(local),
        );
        let fits = |net: &&IpNet| {
            net.prefix_len() == length
                && pools.iter().any(|pool| pool.contains(*net))
                && !taken.iter().any(|taken| touch(taken, net))
        };
        let kept = self.present.iter().find(fits).copied();
        let free = kept.or_else(|| pools.iter().find_map(|pool| first_free(*pool, length, &taken)));
        free.map(|net| Lease { net: net.trunc(), kind: Kind::Prefix }).ok_or_else(|| {
            let pools: Vec<_> = pools.iter().map(ToString::to_string).collect();
            format!(
                "no /{length} is free in {}: add a pool to network.pool on every host, or take hosts that are gone out of the \
                 store",
                list(&pools)
            )
        })
    }

    /// Leases a block of a shared subnet: one that holds an address, or the lowest that leaves an address to give.
    fn block(
        &self,
        claims: &Claims,
        subnet: IpNet,
        length: u8,
        holds: Option<IpAddr>,
        reserved: &[IpNet],
    ) -> Answer {
        let own = claims.blocks.iter().copied();
        let taken: Vec<IpNet> = self.taken.iter().map(|(net, ..)| *net).chain(own).collect();
        let lease = |net: IpNet| Lease { net: net.trunc(), kind: Kind::Block };
        if let Some(address) = holds {
            return around(address, subnet, length, &taken).map(lease).ok_or_else(|| self.owner_of(address));
        }
        let unfit: Vec<IpNet> = reserved.iter().chain(&self.hosts).copied().collect();
        // Single addresses may lie about; where no whole block is free, a smaller one is better than none.
        let lengths = length.max(subnet.prefix_len())..=subnet.max_prefix_len();
        let free = lengths.into_iter().find_map(|length| fitting(subnet, length, &taken, &unfit));
        free.map(lease).ok_or_else(|| self.full(subnet))
    }

    fn owner_of(&self, address: IpAddr) -> String {
        match self.taken.iter().find(|(net, ..)| net.contains(&address)) {
            Some((net, key, record)) => {
                let name = if record.name.is_empty() { key.as_str() } else { &record.name };
                format!("{address} is in {net}, which {name} ({}) has: give another --ip", record.host)
            }
            None => format!("{address} is in a block of this host already"),
        }
    }

    fn full(&self, subnet: IpNet) -> String {
        let mut hosts: Vec<_> = self.taken.iter().filter(|(net, ..)| touch(net, &subnet)).collect();
        hosts.dedup_by_key(|(_, key, _)| *key);
        format!(
            "no address of {subnet} is free, which {} other hosts lease from: make network.block_length larger or the \
             subnet wider, or take hosts that are gone out of the store",
            hosts.len()
        )
    }
}

/// Returns the lowest free block of a length that leaves an address to give.
fn fitting(subnet: IpNet, length: u8, taken: &[IpNet], unfit: &[IpNet]) -> Option<IpNet> {
    let mut taken = taken.to_vec();
    taken.extend(unfit.iter().filter(|net| net.prefix_len() <= length));
    loop {
        match first_free(subnet, length, &taken)? {
            net if is_left_of(net, unfit) => return Some(net),
            net => taken.push(net),
        }
    }
}
