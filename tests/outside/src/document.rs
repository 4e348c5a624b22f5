//! What the file holds, and what changed in it since a revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipvland_store::{Batch, Delta, Error, Key, MAX_RECORD_BYTES, Result, Revision, Snapshot, Stray};
use serde::{Deserialize, Serialize};

/// The revision of a file that isn't there yet. It has the form of no other.
const EMPTY: &str = "empty";

/// How many removed records are remembered, for watches that have not heard of their removal yet.
const MAX_REMOVED: usize = 1000;

/// The file: every record with the generation that it was last changed in, so that any older revision can be told what
/// changed since.
#[derive(Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Drawn at random when the file is made. A file that was removed and made again has other revisions.
    id: String,
    /// Counts the commits.
    generation: u64,
    /// The oldest generation from which all changes are known.
    oldest: u64,
    /// What hosts must know to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    changed: u64,
    /// `None` is a record that was removed.
    content: Option<Content>,
}

/// A record, as text where it is text, so that the file reads well.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Content {
    fn new(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// An entry as the contract sees it.
enum Sight {
    Record(Key, Bytes),
    Gone(Key),
    Stray(Stray),
    Nothing,
}

impl Entry {
    fn seen_as(&self, name: &str) -> Sight {
        let stray = |reason: String| Sight::Stray(Stray { name: name.escape_debug().to_string(), reason });
        match (Key::parse(name), &self.content) {
            (Ok(key), None) => Sight::Gone(key),
            (Err(_), None) => Sight::Nothing,
            (Err(error), Some(_)) => stray(error.to_string()),
            (Ok(key), Some(content)) if content.bytes().len() <= MAX_RECORD_BYTES => {
                Sight::Record(key, Bytes::copy_from_slice(content.bytes()))
            }
            (Ok(_), Some(content)) => {
                stray(format!("it has {} bytes, which is too many", content.bytes().len()))
            }
        }
    }
}

impl Document {
    fn revision(&self) -> Revision {
        match self.generation {
            0 => Revision::new(EMPTY),
            generation => Revision::new(format!("{}:{generation}", self.id)),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::empty(self.revision());
        for (name, entry) in &self.entries {
            match entry.seen_as(name) {
                Sight::Record(key, bytes) => _ = snapshot.records.insert(key, bytes),
                Sight::Stray(stray) => snapshot.strays.push(stray),
                Sight::Gone(_) | Sight::Nothing => {}
            }
        }
        snapshot
    }

    /// Applies a batch, and returns the revision then.
    pub(crate) fn commit(&mut self, base: &Revision, batch: Batch) -> Result<Revision> {
        for (key, change) in &batch.changes {
            if change.as_ref().is_some_and(|bytes| bytes.len() > MAX_RECORD_BYTES) {
                return Err(Error::refused(format!(
                    "{key} is not written: a record has at most {MAX_RECORD_BYTES} bytes; make it smaller"
                )));
            }
        }
        if *base != self.revision() {
            return Err(Error::conflict("another host has changed the file since it was read"));
        }
        if batch.is_noop_on(&self.snapshot()) {
            return Ok(base.clone());
        }
        if self.generation == 0 {
            self.id = format!("{:016x}", fastrand::u64(..));
        }
        self.generation += 1;
        for (key, change) in batch.changes {
            let content = change.as_ref().map(Content::new);
            self.entries.insert(key.as_str().to_owned(), Entry { changed: self.generation, content });
        }
        self.forget_removed();
        Ok(self.revision())
    }

    /// Keeps the file from growing for ever.
    fn forget_removed(&mut self) {
        if self.entries.values().filter(|entry| entry.content.is_none()).count() > MAX_REMOVED {
            self.entries.retain(|_, entry| entry.content.is_some());
            self.oldest = self.generation;
        }
    }

    /// Returns what changed after a revision, or `None` where nothing did.
    pub(crate) fn since(&self, after: &Revision) -> Result<Option<Delta>> {
        if *after == self.revision() {
            return Ok(None);
        }
        let known = self.generation_of(after).filter(|known| *known >= self.oldest);
        let known =
            known.ok_or_else(|| Error::history_gone(format!("the file does not know revision {after}")))?;
        let mut delta = Delta { revision: self.revision(), changes: BTreeMap::new(), strays: Vec::new() };
        for (name, entry) in &self.entries {
            let change = match entry.seen_as(name) {
                Sight::Record(key, bytes) => Some((key, Some(bytes))),
                Sight::Gone(key) => Some((key, None)),
                Sight::Stray(stray) => {
                    delta.strays.push(stray);
                    // A record that was edited into something too large is a record no more.
                    Key::parse(name).ok().map(|key| (key, None))
                }
                Sight::Nothing => None,
            };
            delta.changes.extend(change.filter(|_| entry.changed > known));
        }
        Ok(Some(delta))
    }

    fn generation_of(&self, revision: &Revision) -> Option<u64> {
        if revision.as_str() == EMPTY {
            return Some(0);
        }
        let (id, generation) = revision.as_str().split_once(':')?;
        let generation =
            generation.parse().ok().filter(|generation| (1..=self.generation).contains(generation));
        generation.filter(|_| id == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    #[test]
    fn removed_records_are_forgotten_in_the_end_and_watches_start_over() {
        let mut document = Document::default();
        let names: Vec<_> = (0..=MAX_REMOVED).map(|number| key(&format!("k{number}"))).collect();
        let all = names.iter().fold(Batch::new("write all"), |batch, name| batch.put(name.clone(), "1"));
        let full = document.commit(&document.revision(), all).unwrap();
        let none = names[1..].iter().fold(Batch::new("remove"), |batch, name| batch.remove(name.clone()));
        let fewer = document.commit(&full, none).unwrap();
        assert_eq!(document.since(&full).unwrap().unwrap().changes.len(), MAX_REMOVED);
        document.commit(&fewer, Batch::new("remove the last").remove(names[0].clone())).unwrap();
        assert!(document.entries.is_empty());
        let error = document.since(&full).unwrap_err();
        assert_eq!(error.remedy(), ipvland_store::Remedy::StartOver);
    }

    #[test]
    fn a_file_that_was_made_anew_has_other_revisions() {
        let make = || {
            let mut document = Document::default();
            let revision = document.commit(&document.revision(), Batch::new("w").put(key("a"), "1")).unwrap();
            (document, revision)
        };
        let ((old, before), (new, after)) = (make(), make());
        assert_ne!(before, after);
        assert!(new.since(&before).is_err() && old.since(&before).unwrap().is_none());
    }
}
