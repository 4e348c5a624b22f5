//! The records of a store as this host keeps them in memory: parsed, and each as bytes too only where its bytes can't be
//! had from what was parsed.
//!
//! Records are wanted as bytes seldom: for the disk, and to compare them with a whole reading of the store. Almost all are
//! as `ipvland` writes them, so to keep their bytes as well would be to keep ten thousand of them twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipvland_store::Key;

use super::parse;
use crate::{persistent::Map, policy::Records};

/// Records with their bytes. Clones share what they have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    parsed: Records,
    /// The bytes of those that are not written as [`Record::to_bytes`](crate::record::Record::to_bytes) does, or that
    /// can't be read at all.
    odd: Map<Key, Bytes>,
}

impl Stored {
    /// Makes an empty one.
    pub const fn new() -> Self {
        Self { parsed: Map::new(), odd: Map::new() }
    }

    /// Returns the records, each parsed or refused by itself.
    pub fn parsed(&self) -> &Records {
        &self.parsed
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        self.parsed.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parsed.is_empty()
    }

    /// Returns the keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.parsed.keys()
    }

    /// Says whether there is a record.
    pub fn contains_key(&self, key: &Key) -> bool {
        self.parsed.contains_key(key)
    }

    /// Returns a record as it lies in the store.
    pub fn bytes(&self, key: &Key) -> Option<Bytes> {
        match self.odd.get(key) {
            Some(bytes) => Some(bytes.clone()),
            None => self.parsed.get(key)?.as_ref().ok().map(|record| record.to_bytes()),
        }
    }

    /// Puts a record in.
    pub fn insert(&mut self, key: Key, bytes: Bytes) {
        let (parsed, is_odd) = read(&key, &bytes);
        if is_odd {
            self.odd.insert(key.clone(), bytes);
        } else {
            self.odd.remove(&key);
        }
        self.parsed.insert(key, parsed);
    }

    /// Takes a record out.
    pub fn remove(&mut self, key: &Key) {
        self.odd.remove(key);
        self.parsed.remove(key);
    }

    /// Returns the bytes of each record that is other than in `before`, and nothing for each that is gone.
    pub fn changes_since(&self, before: &Self) -> BTreeMap<Key, Option<Bytes>> {
        let parsed = self.parsed.diff(&before.parsed).map(|(key, _)| key);
        let odd = self.odd.diff(&before.odd).map(|(key, _)| key);
        parsed.chain(odd).map(|key| (key.clone(), self.bytes(key))).collect()
    }

    /// Returns what is to be done to these records to get those that were read.
    pub fn changes_to(&self, read: BTreeMap<Key, Bytes>) -> BTreeMap<Key, Option<Bytes>> {
        let gone = self.keys().filter(|key| !read.contains_key(*key)).map(|key| (key.clone(), None));
        let mut changes: BTreeMap<_, _> = gone.collect();
        let new = read.into_iter().filter(|(key, bytes)| self.bytes(key).as_ref() != Some(bytes));
        changes.extend(new.map(|(key, bytes)| (key, Some(bytes))));
        changes
    }
}

impl Extend<(Key, Bytes)> for Stored {
    fn extend<I: IntoIterator<Item = (Key, Bytes)>>(&mut self, records: I) {
        let (mut parsed, mut odd) = (Vec::new(), Vec::new());
        for (key, bytes) in records {
            let (record, is_odd) = read(&key, &bytes);
            if is_odd {
                odd.push((key.clone(), bytes));
            } else {
                self.odd.remove(&key);
            }
            parsed.push((key, record));
        }
        self.parsed.extend(parsed);
        self.odd.extend(odd);
    }
}

impl FromIterator<(Key, Bytes)> for Stored {
    fn from_iter<I: IntoIterator<Item = (Key, Bytes)>>(records: I) -> Self {
        let mut all = Self::new();
        all.extend(records);
        all
    }
}

/// Parses a record, and says whether its bytes can't be had from what was parsed.
fn read(key: &Key, bytes: &Bytes) -> (super::Parsed, bool) {
    let parsed = parse(key, bytes);
    let is_odd = !parsed.as_ref().is_ok_and(|record| record.to_bytes() == bytes);
    (parsed, is_odd)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn key(host: u8) -> Key {
        Key::parse(&format!("10.1.1.{host}.json")).unwrap()
    }

    /// Bytes of a host's record in several spellings, and bytes that are none.
    fn bytes(host: u8, spelling: u8) -> Bytes {
        let text = format!(
            r#"{{"version": 1, "host": "10.1.1.{host}", "next_hops": ["10.1.1.{host}"], "networks": [], "meta": {{}}}}"#
        );
        let written = || crate::record::Record::parse(&key(host), text.as_bytes()).unwrap().to_bytes();
        match spelling {
            0 => "{".into(),
            1 => text.into(),
            2 => text.replace("\"meta\": {}", "\"meta\": {\"rack\": \"a\"}").into(),
            _ => written(),
        }
    }

    proptest! {
        #[test]
        fn bytes_are_what_was_put_in(
            runs in vec(vec((0u8..40, proptest::option::weighted(0.7, 0u8..4)), 0..6), 1..12),
        ) {
            let (mut stored, mut model) = (Stored::new(), BTreeMap::new());
            for run in runs {
                let (before, model_before) = (stored.clone(), model.clone());
                for (host, spelling) in run {
                    match spelling.map(|spelling| bytes(host, spelling)) {
                        Some(bytes) => {
                            model.insert(key(host), bytes.clone());
                            if host % 2 == 0 {
                                stored.insert(key(host), bytes);
                            } else {
                                stored.extend([(key(host), bytes)]);
                            }
                        }
                        None => {
                            model.remove(&key(host));
                            stored.remove(&key(host));
                        }
                    }
                }
                prop_assert!(stored.keys().eq(model.keys()));
                prop_assert!(model.iter().all(|(key, bytes)| stored.bytes(key).as_ref() == Some(bytes)));
                prop_assert!(model.iter().all(|(key, bytes)| stored.parsed()[key] == parse(key, bytes)));
                let keys = model.keys().chain(model_before.keys());
                let naive: BTreeMap<Key, Option<Bytes>> = keys
                    .filter(|key| model.get(*key) != model_before.get(*key))
                    .map(|key| (key.clone(), model.get(key).cloned()))
                    .collect();
                prop_assert_eq!(&stored.changes_since(&before), &naive);
                prop_assert_eq!(before.changes_to(model.clone()), naive);
                prop_assert_eq!(&stored, &model.clone().into_iter().collect());
            }
        }
    }
}
