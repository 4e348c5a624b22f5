//! What the keys are called.

use ipvland_store::{Error, Key, Result};

/// The keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
    /// What comes before a record's own key.
    records: Vec<u8>,
    generation: Vec<u8>,
}

/// What a key of the store's range is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// The key that every batch writes anew.
    Generation,
    /// Something among the records, with its name there.
    Record(&'a [u8]),
    /// Nothing of ours.
    Foreign,
}

const DEFAULT_PREFIX: &str = "/ipvland";

impl Layout {
    /// Makes the layout of a prefix.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for a prefix that is empty or not printable.
    pub(crate) fn new(prefix: Option<&str>) -> Result<Self> {
        let written = prefix.unwrap_or(DEFAULT_PREFIX);
        let prefix = written.trim_end_matches('/');
        if prefix.is_empty() || prefix.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::refused(format!(
                "store.etcd.prefix {written:?} can't be: write a path of its own, such as \"/ipvland\""
            )));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            records: format!("{prefix}/endpoints/").into_bytes(),
            generation: format!("{prefix}/generation").into_bytes(),
        })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn generation(&self) -> Vec<u8> {
        self.generation.clone()
    }

    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        [&self.records, key.as_str().as_bytes()].concat()
    }

    /// Returns the range of all records: its first key, and the first one after it.
    pub(crate) fn records(&self) -> (Vec<u8>, Vec<u8>) {
        let mut end = self.records.clone();
        // "/" is followed by "0".
        end.pop();
        end.push(b'0');
        (self.records.clone(), end)
    }

    /// Returns the range from the first record to the generation key. Others' keys may lie in it.
    pub(crate) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        (self.records.clone(), [&self.generation[..], &[0]].concat())
    }

    pub(crate) fn place<'a>(&self, key: &'a [u8]) -> Place<'a> {
        if key == self.generation {
            return Place::Generation;
        }
        key.strip_prefix(&self.records[..]).map_or(Place::Foreign, Place::Record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_hold_what_they_should() {
        let layout = Layout::new(Some("/fleets/a//")).unwrap();
        assert_eq!(layout.prefix(), "/fleets/a");
        let key = layout.record(&Key::parse("10.1.1.1.json").unwrap());
        assert_eq!(key, b"/fleets/a/endpoints/10.1.1.1.json");
        assert_eq!(layout.place(&key), Place::Record(b"10.1.1.1.json"));
        assert_eq!(layout.place(b"/fleets/a/generation"), Place::Generation);
        for other in
            [&b"/fleets/a/endpoints"[..], b"/fleets/a/generations", b"/fleets/a/f", b"/fleets/ab/generation"]
        {
            assert_eq!(layout.place(other), Place::Foreign);
        }
        let ((from, to), (all_from, all_to)) = (layout.records(), layout.all());
        assert!(from <= key && key < to && to < all_to && all_from == from);
        assert!(layout.generation() < all_to && layout.generation() >= to);
    }

    #[test]
    fn a_prefix_that_cannot_be_is_a_sentence() {
        for prefix in ["", "/", "///", "/a b", "/a\n"] {
            let error = Layout::new(Some(prefix)).unwrap_err();
            assert!(error.to_string().contains("store.etcd.prefix"), "{error}");
        }
        assert_eq!(Layout::new(None).unwrap().prefix(), "/ipvland");
    }
}
