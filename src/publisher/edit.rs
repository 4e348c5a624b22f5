//! From the store's records to the batch that makes this host's own record right: pure functions.

use ipnet::IpNet;
use ipvland_store::{Batch, Error, Key, Result, Snapshot};

use super::{
    claims::{Claims, list},
    names,
};
use crate::{
    fleet::parse_all,
    policy::{self, Local, Records},
    record::{NamesRecord, Record, RecordNetwork, Underlay},
};

/// What the batch is worked out from, besides the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// The stable id of this machine.
    pub id: &'a str,
    /// What it has to say.
    pub claims: &'a Claims,
    /// Its interfaces.
    pub local: &'a Local,
}

impl Edit<'_> {
    /// Returns the batch that makes the records right. It changes nothing where they are.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when another machine has this host's address, another host has a prefix
    /// that overlaps, or a prefix would cut hosts off.
    pub fn on(&self, records: &Records) -> Result<Batch> {
        let key = Record::key(self.claims.host);
        let present = present(records, &key);
        if let Some(other) = present.and_then(|record| record.id.as_deref()).filter(|other| *other != self.id)
        {
            return Err(Error::refused(format!(
                "another machine (id {other}) already publishes as {} in {key}; give this one another address, or, if \
                 it is that machine set up anew, run `ipvland leave --force` here once",
                self.claims.host
            )));
        }
        let moved = moved(records, self.id, &key);
        self.check(&key, records, &moved)?;

        let before = present
            .or_else(|| moved.first().and_then(|key| records.get(key)?.as_ref().ok().map(AsRef::as_ref)));
        let mut batch = Batch::new(self.subject(before, moved.first()));
        for old in &moved {
            batch = batch.remove(old.clone());
        }
        batch = if self.claims.is_empty() {
            batch.remove(key)
        } else {
            batch.put(key, self.record(before).to_bytes())
        };
        Ok(batch)
    }

    fn check(&self, key: &Key, records: &Records, moved: &[Key]) -> Result<()> {
        let prefixes = self.claims.prefixes();
        for prefix in &prefixes {
            policy::check_prefix(*prefix, self.local)
                .map_err(|reason| Error::refused(format!("{prefix} can't be published: {reason}")))?;
        }
        let others = others(records, moved);
        let claimed: Vec<IpNet> = prefixes.iter().chain(&self.claims.blocks).copied().collect();
        match policy::overlap(&others, Some(key), &claimed) {
            Some((claim, theirs, other)) if prefixes.contains(&claim) => Err(Error::refused(format!(
                "{claim} overlaps {theirs}, which {other} publishes; choose another subnet for this host, or withdraw \
                 that one"
            ))),
            Some((claim, theirs, other)) => Err(Error::refused(format!(
                "the block {claim} that this host gave addresses from overlaps {theirs} of {other}, as this host's record \
                 was out of the store for a while; withdraw that one, or remove this host's containers and run `ipvland \
                 leave`"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the new record, with what others added to the one before kept.
    fn record(&self, before: Option<&Record>) -> Record {
        let networks = self.claims.networks.iter().map(|(name, prefixes)| RecordNetwork {
            name: name.clone(),
            prefixes: prefixes.clone(),
            unknown: before
                .and_then(|before| before.networks.iter().find(|network| network.name == *name))
                .map(|network| network.unknown.clone())
                .unwrap_or_default(),
        });
        Record {
            host: self.claims.host,
            id: Some(self.id.to_owned()),
            name: self.claims.name.clone(),
            next_hops: self.claims.next_hops.clone(),
            networks: networks.collect(),
            blocks: self.claims.blocks.clone(),
            underlay: Underlay::Direct,
            meta: before.map(|before| before.meta.clone()).unwrap_or_default(),
            unknown: before.map(|before| before.unknown.clone()).unwrap_or_default(),
        }
    }

    /// Says in words what the batch does: `web-1 publishes 10.1.48.0/24`.
    fn subject(&self, before: Option<&Record>, moved: Option<&Key>) -> String {
        let old: Vec<_> =
            before.iter().flat_map(|before| before.prefixes().map(|(_, prefix)| prefix)).collect();
        let new = self.claims.prefixes();
        let name = &self.claims.name;
        let words = |of: &[IpNet], but: &[IpNet]| -> Vec<String> {
            of.iter().filter(|prefix| !but.contains(prefix)).map(ToString::to_string).collect()
        };
        let (added, taken) = (words(&new, &old), words(&old, &new));
        let none = Vec::new();
        let old_blocks = before.map_or(&none, |before| &before.blocks);
        let (leased, back) = (words(&self.claims.blocks, old_blocks), words(old_blocks, &self.claims.blocks));
        let moved = moved.map(|key| key.as_str().trim_end_matches(".json").to_owned());
        let mut parts = Vec::new();
        if let Some(from) = moved {
            parts.push(format!("moves from {from} to {}", self.claims.host));
        }
        if !added.is_empty() {
            parts.push(format!("publishes {}", list(&added)));
        }
        if !taken.is_empty() {
            parts.push(format!("withdraws {}", list(&taken)));
        }
        if !leased.is_empty() {
            parts.push(format!("leases {}", list(&leased)));
        }
        if !back.is_empty() {
            parts.push(format!("gives back {}", list(&back)));
        }
        if parts.is_empty() {
            parts.push("updates its record".to_owned());
        }
        format!("{name} {}", parts.join(" and "))
    }
}

/// Returns the batch that takes a machine, its record and its names, out of the store, or `None` when it is not there.
///
/// With `force`, the record of the address goes even where it is another machine's: for a machine that was set up anew.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the record of the address is another machine's, without `force`.
pub fn withdraw(
    snapshot: &Snapshot,
    id: &str,
    name: &str,
    host: Option<std::net::IpAddr>,
    force: bool,
) -> Result<Option<Batch>> {
    let records = parse_all(&snapshot.records);
    let mut keys: Vec<Key> = own_keys(&records, id).cloned().collect();
    if let Some(key) = host.map(Record::key).filter(|key| records.contains_key(key) && !keys.contains(key)) {
        if !force {
            return Err(Error::refused(format!(
                "{key} is not this machine's record; remove it with `ipvland leave --force` if this machine was set up \
                 anew"
            )));
        }
        keys.push(key);
    }
    keys.extend(names::own_keys(snapshot, id));
    let names = host.map(NamesRecord::key).filter(|key| force && snapshot.records.contains_key(key));
    keys.extend(names);
    if keys.is_empty() {
        return Ok(None);
    }
    let batch = keys.into_iter().fold(Batch::new(format!("{name} leaves")), Batch::remove);
    Ok(Some(batch))
}

/// Returns the record under a key, if it can be read.
pub(super) fn present<'a>(records: &'a Records, key: &Key) -> Option<&'a Record> {
    records.get(key)?.as_deref().ok()
}

/// Returns the keys of a machine's records from when it had other addresses.
pub(super) fn moved(records: &Records, id: &str, key: &Key) -> Vec<Key> {
    own_keys(records, id).filter(|own| *own != key).cloned().collect()
}

/// Returns the records but those of a machine from when it had other addresses.
pub(super) fn others(records: &Records, moved: &[Key]) -> Records {
    // A clone shares what it has in common.
    let mut others = records.clone();
    moved.iter().for_each(|key| _ = others.remove(key));
    others
}

/// Returns the keys of the records that carry a machine's id.
fn own_keys<'a>(records: &'a Records, id: &'a str) -> impl Iterator<Item = &'a Key> {
    records
        .iter()
        .filter(move |(_, record)| matches!(record, Ok(record) if record.id.as_deref() == Some(id)))
        .map(|(key, _)| key)
}
