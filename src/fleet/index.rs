//! Which of the fleet's records bear on what one host claims, found without going through all of them.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;
use ipvland_store::Key;

use crate::policy::{self, Records};

/// An index of the fleet's records by the address space that they hold, and of those of one machine.
///
/// It goes on from the records that it was asked about last by what differs, which costs what the changes are, whatever
/// the size of the fleet. Clones are the same index.
#[derive(Debug, Clone)]
pub struct Index(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    machine: String,
    /// The records that the rest is about.
    of: Records,
    /// What each record holds. No key comes before every key.
    held: BTreeSet<(IpNet, Option<Key>)>,
    /// The keys of the machine's records.
    own: BTreeSet<Key>,
}

impl Index {
    /// Makes an index of no records, for the machine with an id.
    pub fn new(machine: &str) -> Self {
        Self(Arc::new(Mutex::new(Inner { machine: machine.to_owned(), ..Inner::default() })))
    }

    /// Brings the index up to date, so that it keeps no older records alive.
    pub fn follow(&self, records: &Records) {
        self.with(|index| index.follow(records));
    }

    /// Returns those of the records that bear on a claim to `nets` under a key: the one under the key, those of the machine,
    /// and those that hold something which overlaps one of `nets`.
    pub fn around<'a>(
        &self,
        records: &Records,
        key: Option<&Key>,
        nets: impl IntoIterator<Item = &'a IpNet>,
    ) -> Records {
        let keys = self.with(|index| {
            index.follow(records);
            let mut keys = index.own.clone();
            keys.extend(key.cloned());
            for net in nets {
                keys.extend(index.overlapping(net.trunc()).cloned());
            }
            keys
        });
        keys.into_iter().filter_map(|key| records.get(&key).cloned().map(|record| (key, record))).collect()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        // Who panicked left records empty, so that all are entered again.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn follow(&mut self, records: &Records) {
        let before = mem::take(&mut self.of);
        for (key, change) in records.diff(&before) {
            if let Some(Ok(old)) = before.get(key) {
                for net in policy::space(old) {
                    self.held.remove(&(net.trunc(), Some(key.clone())));
                }
                self.own.remove(key);
            }
            if let Some(Ok(new)) = change.after() {
                self.held.extend(policy::space(new).map(|net| (net.trunc(), Some(key.clone()))));
                if new.id.as_deref() == Some(self.machine.as_str()) {
                    self.own.insert(key.clone());
                }
            }
        }
        self.of = records.clone();
    }

    /// Returns the keys of the records that hold something which overlaps a prefix.
    fn overlapping(&self, net: IpNet) -> impl Iterator<Item = &Key> {
        let wider = (0..net.prefix_len()).filter_map(move |length| IpNet::new(net.network(), length).ok());
        let around = wider
            .map(|wider| wider.trunc())
            .flat_map(|wider| self.starting_at(wider).take_while(move |(other, _)| *other == wider));
        // Prefixes are ordered by their first address, and then the wider comes first.
        let inside = self.starting_at(net).take_while(move |(other, _)| net.contains(other));
        around.chain(inside).filter_map(|(_, key)| key.as_ref())
    }

    fn starting_at(&self, net: IpNet) -> impl Iterator<Item = &(IpNet, Option<Key>)> {
        self.held.range((net, None)..)
    }
}
