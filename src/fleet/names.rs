//! What the fleet's hosts tell of their containers' names, apart from the records: routes don't care.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use ipvland_store::{Delta, Key, Snapshot};

use super::{Source, differences};
use crate::{
    persistent::Map,
    record::{NamesRecord, Reason},
};

/// The names of a fleet's hosts, each file parsed or refused by itself.
pub type NamesFiles = Map<Key, Result<Arc<NamesRecord>, Reason>>;

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
    raw: Map<Key, Bytes>,
    files: Arc<NamesFiles>,
}

impl Held {
    /// Starts with the names that the disk knows.
    pub(super) fn resume(raw: Map<Key, Bytes>) -> Self {
        Self { files: Arc::new(names_of(&raw)), raw }
    }

    /// Takes the names out of a snapshot, in the place of those that were known.
    pub(super) fn reset(&mut self, snapshot: &mut Snapshot) {
        let read = snapshot.records.extract_if(.., |key, _| NamesRecord::is_key(key)).collect();
        self.learn(differences(&self.raw, read));
    }

    /// Takes the names out of a delta, and applies what it says of them.
    pub(super) fn apply(&mut self, delta: &mut Delta) {
        self.learn(delta.changes.extract_if(.., |key, _| NamesRecord::is_key(key)).collect());
    }

    fn learn(&mut self, changes: BTreeMap<Key, Option<Bytes>>) {
        for (key, change) in changes {
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

    /// Returns the names as they lie in the store.
    pub(super) fn raw(&self) -> &Map<Key, Bytes> {
        &self.raw
    }

    /// Returns what is known now.
    pub(super) fn view(&self, source: Source) -> NamesView {
        NamesView { source, files: Arc::clone(&self.files) }
    }
}

/// Parses the names among the files of a store, each file by itself.
pub(crate) fn names_of<'a>(files: impl IntoIterator<Item = (&'a Key, &'a Bytes)>) -> NamesFiles {
    let files = files.into_iter().filter(|(key, _)| NamesRecord::is_key(key));
    files.map(|(key, bytes)| (key.clone(), parse(key, bytes))).collect()
}

fn parse(key: &Key, bytes: &Bytes) -> Result<Arc<NamesRecord>, Reason> {
    NamesRecord::parse(key, bytes).map(Arc::new)
}
