//! What the fleet's hosts tell of their containers' names, apart from the records: routes don't care.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use ipvland_store::{Delta, Key, Snapshot};

use super::Source;
use crate::record::{NamesRecord, Reason};

/// The names of a fleet's hosts, each file parsed or refused by itself.
pub type NamesFiles = BTreeMap<Key, Result<Arc<NamesRecord>, Reason>>;

/// What is known of the fleet's names at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamesView {
    /// Where the files come from.
    pub source: Source,
    /// The files.
    pub files: Arc<NamesFiles>,
}

/// The names in a store, as bytes and parsed.
#[derive(Debug, Default)]
pub(super) struct Held {
    raw: BTreeMap<Key, Bytes>,
    files: Arc<NamesFiles>,
}

impl Held {
    /// Takes the names out of a snapshot, in the place of those that were known.
    pub(super) fn reset(&mut self, snapshot: &mut Snapshot) {
        self.raw = snapshot.records.extract_if(.., |key, _| NamesRecord::is_key(key)).collect();
        self.files = Arc::new(names_of(&self.raw));
    }

    /// Takes the names out of a delta, and applies what it says of them.
    pub(super) fn apply(&mut self, delta: &mut Delta) {
        for (key, change) in delta.changes.extract_if(.., |key, _| NamesRecord::is_key(key)) {
            let files = Arc::make_mut(&mut self.files);
            match change {
                Some(bytes) => {
                    files.insert(key.clone(), parse(&key, &bytes));
                    self.raw.insert(key, bytes);
                }
                None => {
                    files.remove(&key);
                    self.raw.remove(&key);
                }
            }
        }
    }

    /// Returns the records of the store with the names among them, as they lie there.
    pub(super) fn with(&self, records: &Snapshot) -> Snapshot {
        let mut all = records.clone();
        all.records.extend(self.raw.iter().map(|(key, bytes)| (key.clone(), bytes.clone())));
        all
    }

    /// Returns what is known now.
    pub(super) fn view(&self, source: Source) -> NamesView {
        NamesView { source, files: Arc::clone(&self.files) }
    }
}

/// Parses the names among the files of a store, each file by itself.
pub(crate) fn names_of(files: &BTreeMap<Key, Bytes>) -> NamesFiles {
    let files = files.iter().filter(|(key, _)| NamesRecord::is_key(key));
    files.map(|(key, bytes)| (key.clone(), parse(key, bytes))).collect()
}

fn parse(key: &Key, bytes: &Bytes) -> Result<Arc<NamesRecord>, Reason> {
    NamesRecord::parse(key, bytes).map(Arc::new)
}
