//! The whole store at one revision.

use std::collections::{BTreeMap, BTreeSet};

use ipvland_store::{Delta, Key, Snapshot, Stray};

use crate::{
    entry::Entry,
    place::Mark,
    revision::{Digest, Version},
    scan::{Content, Item, Name},
};

/// Everything that lies in the directory, and the revision that it makes.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) version: Version,
    items: BTreeMap<Name, Item>,
}

impl View {
    /// Makes the view of what was read while the store was at a mark; `pending` is a commit that was made by then and may
    /// be in none, some or all of the files.
    pub(crate) fn new(mark: Option<&Mark>, items: BTreeMap<Name, Item>, pending: Option<&Entry>) -> Self {
        let mut view = Self { version: version(mark, 0, &items), items };
        if let Some(entry) = pending {
            let changes = entry.changes.iter().filter(|(key, change)| view.digest(key) == change.before);
            // What is neither as before nor as after was edited by hand since, and stays.
            let changes: Vec<_> = changes.map(|(key, change)| (key.clone(), change.after.clone())).collect();
            for (key, after) in changes {
                view.set(key, after.map(Item::record));
            }
            view.version = version(mark, 1, &view.items);
        }
        view
    }

    /// Returns the view after a change of some records, in a store with an id.
    pub(crate) fn with(&self, id: &str, changes: &BTreeMap<Key, Option<bytes::Bytes>>) -> Self {
        let mut view = self.clone();
        for (key, after) in changes {
            view.set(key.clone(), after.clone().map(Item::record));
        }
        let mark = Mark { id: id.to_owned(), generation: self.version.generation };
        view.version = version(Some(&mark), 1, &view.items);
        view
    }

    fn set(&mut self, key: Key, item: Option<Item>) {
        let name = key.as_str().as_bytes().to_vec();
        match item {
            Some(item) => self.items.insert(name, item),
            None => self.items.remove(&name),
        };
    }

    pub(crate) fn item(&self, key: &Key) -> Option<&Item> {
        self.items.get(key.as_str().as_bytes())
    }

    pub(crate) fn digest(&self, key: &Key) -> Option<Digest> {
        self.item(key).map(|item| item.digest)
    }

    pub(crate) fn record(&self, key: &Key) -> Option<&bytes::Bytes> {
        match &self.item(key)?.content {
            Content::Record(bytes) => Some(bytes),
            Content::Stray(_) => None,
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::empty(self.version.revision());
        for (name, item) in &self.items {
            if let (Some(key), Content::Record(bytes)) = (key(name), &item.content) {
                snapshot.records.insert(key, bytes.clone());
            }
        }
        snapshot.strays = self.strays();
        snapshot
    }

    /// Returns what some records are now, as a change that leads here.
    pub(crate) fn delta(&self, keys: BTreeSet<Key>) -> Delta {
        let change = |key: Key| {
            let bytes = self.record(&key).cloned();
            (key, bytes)
        };
        Delta {
            revision: self.version.revision(),
            changes: keys.into_iter().map(change).collect(),
            strays: self.strays(),
        }
    }

    /// Returns the keys of the records that differ.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<Key> {
        let changed = |a: &Self, b: &Self| -> Vec<Key> {
            let differing = a.items.iter().filter(|(name, item)| b.items.get(*name) != Some(*item));
            differing.filter_map(|(name, _)| key(name)).collect()
        };
        changed(self, other).into_iter().chain(changed(other, self)).collect()
    }

    fn strays(&self) -> Vec<Stray> {
        let strays = self.items.iter().filter_map(|(name, item)| match &item.content {
            Content::Record(_) => None,
            Content::Stray(reason) => Some(Stray { name: shown(name), reason: reason.clone() }),
        });
        strays.collect()
    }
}

fn key(name: &Name) -> Option<Key> {
    Key::parse(std::str::from_utf8(name).ok()?).ok()
}

/// Shows a name to an operator.
fn shown(name: &Name) -> String {
    match std::str::from_utf8(name) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => name.escape_ascii().to_string(),
    }
}

fn version(mark: Option<&Mark>, further: u64, items: &BTreeMap<Name, Item>) -> Version {
    let parts = items.iter().flat_map(|(name, item)| [name.as_slice(), item.digest.bytes()]);
    Version {
        id: mark.map(|mark| mark.id.clone()),
        generation: mark.map_or(0, |mark| mark.generation) + further,
        digest: Digest::of_parts(parts),
    }
}
