//! Which keys the store has at one etcd revision, without their values.

use std::collections::BTreeMap;

use ipvland_store::{Key, MAX_RECORD_BYTES, Stray};

use crate::revision::{Mark, Nonce};

/// The keys, each with the etcd revision that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    /// The etcd revision up to which this is true.
    pub(crate) at: i64,
    generation: Option<(Nonce, i64)>,
    /// Records and strays.
    entries: BTreeMap<Vec<u8>, i64>,
    /// The greatest revision of the entries; 0 without any.
    newest: i64,
    strays: BTreeMap<Vec<u8>, Stray>,
}

impl Contents {
    /// Makes contents without any key.
    pub(crate) fn empty(at: i64) -> Self {
        Self { at, generation: None, entries: BTreeMap::new(), newest: 0, strays: BTreeMap::new() }
    }

    pub(crate) fn mark(&self) -> Mark {
        let (nonce, generation) = match &self.generation {
            Some((nonce, written)) => (nonce.clone(), *written),
            None => (Nonce::Absent, 0),
        };
        Mark { nonce, newest: generation.max(self.newest), count: self.entries.len() as i64 }
    }

    /// Returns all strays, sorted.
    pub(crate) fn strays(&self) -> Vec<Stray> {
        let mut strays: Vec<_> = self.strays.values().cloned().collect();
        strays.sort();
        strays
    }

    pub(crate) fn set_generation(&mut self, value: Option<&[u8]>, written: i64) {
        self.generation = value.map(|value| (Nonce::of(value), written));
    }

    /// Notes a key that was written, and tells whether it is a record.
    pub(crate) fn put(&mut self, name: &[u8], bytes: usize, written: i64) -> Put {
        let is_new = self.entries.insert(name.to_vec(), written).is_none();
        // Who writes a key again does so at a greater revision.
        self.newest = self.newest.max(written);
        match judge(name, bytes) {
            Ok(key) => {
                self.strays.remove(name);
                Put::Record(key)
            }
            Err(reason) => {
                let was_stray = self.strays.insert(name.to_vec(), stray(name, reason)).is_some();
                if is_new || was_stray {
                    return Put::Stray;
                }
                parse(name).map_or(Put::Stray, Put::NoRecordAnyMore)
            }
        }
    }

    /// Notes a key that was deleted, and returns it if it was a record.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Key> {
        if self.entries.remove(name)? == self.newest {
            // Seldom: most often another was written since.
            self.newest = self.entries.values().copied().max().unwrap_or(0);
        }
        match self.strays.remove(name) {
            Some(_) => None,
            None => parse(name).ok(),
        }
    }
}

/// What a key that was written is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Record(Key),
    Stray,
    /// A stray that was a record before: it became too large.
    NoRecordAnyMore(Key),
}

fn parse(name: &[u8]) -> Result<Key, String> {
    Key::parse(std::str::from_utf8(name).unwrap_or("\0")).map_err(|why| why.to_string())
}

fn judge(name: &[u8], bytes: usize) -> Result<Key, String> {
    let key = parse(name)?;
    if bytes > MAX_RECORD_BYTES {
        return Err(format!("it has {bytes} bytes, and a record has at most {MAX_RECORD_BYTES}"));
    }
    Ok(key)
}

/// The longest name of a stray that is shown, in bytes of the key.
const MAX_SHOWN: usize = 256;

fn stray(name: &[u8], reason: String) -> Stray {
    let shown = name[..name.len().min(MAX_SHOWN)].escape_ascii().to_string();
    let name = if name.len() > MAX_SHOWN { format!("{shown}...") } else { shown };
    Stray { name, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_at_the_keys_changes_the_mark() {
        let mut contents = Contents::empty(9);
        contents.set_generation(Some(Nonce::draw().as_bytes()), 5);
        contents.put(b"a", 1, 5);
        contents.put(b"b", 1, 5);
        let before = contents.mark();
        assert_eq!((before.newest, before.count), (5, 2));
        assert_eq!(contents.remove(b"b"), Some(Key::parse("b").unwrap()));
        assert_eq!(contents.mark().count, 1);
        contents.put(b"b", 1, 8);
        assert_eq!((contents.mark().newest, contents.mark().count), (8, 2));
        contents.set_generation(None, 9);
        assert_eq!(contents.mark().nonce, Nonce::Absent);
    }

    #[test]
    fn a_record_that_grows_too_large_becomes_a_stray() {
        let key = Key::parse("a").unwrap();
        let mut contents = Contents::empty(0);
        assert_eq!(contents.put(b"a", MAX_RECORD_BYTES, 1), Put::Record(key.clone()));
        assert_eq!(contents.put(b"a", MAX_RECORD_BYTES + 1, 2), Put::NoRecordAnyMore(key.clone()));
        assert_eq!(contents.put(b"a", MAX_RECORD_BYTES + 1, 3), Put::Stray);
        assert_eq!(contents.strays().len(), 1);
        assert_eq!(contents.remove(b"a"), None);
        assert_eq!(contents.put(b"b\xff\x07", 1, 4), Put::Stray);
        assert_eq!(contents.strays()[0].name, "b\\xff\\x07");
    }
}
