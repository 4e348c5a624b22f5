//! What goes in and out of a store: snapshots, deltas and batches of records, each a few bytes under a key.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Key, Revision};

/// The largest record that a store hands out or takes, in bytes. What is larger is a [`Stray`].
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The most records that a [`Batch`] changes in a store which isn't asked to take more; what is more, a store MAY refuse.
/// etcd, for one, bounds the operations of a transaction.
pub const MAX_BATCH_CHANGES: usize = 100;

/// The most bytes of records in a [`Batch`]; what is more, a store MAY refuse. etcd bounds the bytes of a request.
pub const MAX_BATCH_BYTES: usize = 512 * 1024;

/// Something in the store's place for records that can't be one: a directory, a symbolic link, a file whose name is no
/// [`Key`], a record over [`MAX_RECORD_BYTES`]. It is told to the operator by name and harms nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Its name as the store shows it, what is not printable escaped.
    pub name: String,
    /// Why it is no record.
    pub reason: String,
}

/// Every record of a store, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version that the records have.
    pub revision: Revision,
    /// The bytes of each record, as they were committed.
    pub records: BTreeMap<Key, Bytes>,
    /// What lies among the records and isn't one.
    pub strays: Vec<Stray>,
}

/// What changed in a store between two revisions. It may merge several commits, and never skips one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The version that the store has after the change.
    pub revision: Revision,
    /// The new bytes of each record that was written, `None` for each that was removed.
    pub changes: BTreeMap<Key, Option<Bytes>>,
    /// All strays at [`Delta::revision`], not only new ones.
    pub strays: Vec<Stray>,
}

/// Changes that a store applies together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// One line in words, for stores that keep a history: `web-1 publishes 10.1.48.0/24`.
    pub subject: String,
    /// The new bytes of each record to write, `None` for each to remove.
    pub changes: BTreeMap<Key, Option<Bytes>>,
}

impl Snapshot {
    /// Makes a snapshot without records or strays.
    pub fn empty(revision: Revision) -> Self {
        Self { revision, records: BTreeMap::new(), strays: Vec::new() }
    }

    /// Brings the snapshot to the revision of a delta that starts from it.
    pub fn apply(&mut self, delta: &Delta) {
        self.revision = delta.revision.clone();
        self.strays.clone_from(&delta.strays);
        for (key, change) in &delta.changes {
            match change {
                Some(bytes) => self.records.insert(key.clone(), bytes.clone()),
                None => self.records.remove(key),
            };
        }
    }
}

impl Batch {
    /// Makes a batch without changes.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), changes: BTreeMap::new() }
    }

    /// Writes a record.
    pub fn put(mut self, key: Key, bytes: impl Into<Bytes>) -> Self {
        self.changes.insert(key, Some(bytes.into()));
        self
    }

    /// Removes a record, if it is there.
    pub fn remove(mut self, key: Key) -> Self {
        self.changes.insert(key, None);
        self
    }

    /// Tells whether a snapshot already shows all that the batch would change.
    pub fn is_noop_on(&self, snapshot: &Snapshot) -> bool {
        self.changes.iter().all(|(key, change)| snapshot.records.get(key) == change.as_ref())
    }
}
