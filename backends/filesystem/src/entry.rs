//! A commit as it lies in the log: a line of JSON that says what changed, and then the contents.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ipvland_store::Key;
use serde::{Deserialize, Serialize};

use crate::revision::{Digest, Version};

/// A commit: what it was made on, what it led to, who made it, and every record that it changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Tells the commit of one attempt from that of any other.
    pub(crate) token: String,
    pub(crate) base: Version,
    pub(crate) revision: Version,
    pub(crate) writer: String,
    pub(crate) subject: String,
    pub(crate) changes: BTreeMap<Key, Change>,
}

/// What a commit did to one record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// What lay there; `None` for nothing.
    pub(crate) before: Option<Digest>,
    /// The new content; `None` for a record that was removed.
    pub(crate) after: Option<Bytes>,
}

/// The first line. No time is in it: the file has one, by the clock of the disk.
#[derive(Serialize, Deserialize)]
struct Header {
    base: Version,
    revision: Version,
    writer: String,
    subject: String,
    token: String,
    changes: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    before: Option<Digest>,
    after: Option<Digest>,
    bytes: usize,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let line = |(key, change): (&Key, &Change)| Line {
            key: key.as_str().to_owned(),
            before: change.before,
            after: change.after.as_ref().map(|bytes| Digest::of(bytes)),
            bytes: change.after.as_ref().map_or(0, Bytes::len),
        };
        let header = Header {
            base: self.base.clone(),
            revision: self.revision.clone(),
            writer: self.writer.clone(),
            subject: self.subject.clone(),
            token: self.token.clone(),
            changes: self.changes.iter().map(line).collect(),
        };
        // Text, numbers and lists are always valid JSON.
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.push(b'\n');
        for content in self.changes.values().filter_map(|change| change.after.as_ref()) {
            bytes.extend_from_slice(content);
        }
        bytes
    }

    /// Returns the records that are neither as they were before the commit nor as they are after it.
    pub(crate) fn unlike(&self, now: impl Fn(&Key) -> Option<Digest>) -> BTreeSet<Key> {
        let is_like = |key: &Key, change: &Change| {
            let now = now(key);
            now == change.before || now == change.after.as_ref().map(|bytes| Digest::of(bytes))
        };
        self.changes
            .iter()
            .filter(|(key, change)| !is_like(key, change))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Reads an entry; `None` where a part is missing or isn't what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
        let mut rest = &bytes[end + 1..];
        let mut changes = BTreeMap::new();
        for line in header.changes {
            let content = match line.after {
                Some(digest) => {
                    let (content, further) = rest.split_at_checked(line.bytes)?;
                    rest = further;
                    (Digest::of(content) == digest).then(|| Some(Bytes::copy_from_slice(content)))?
                }
                None => None,
            };
            changes.insert(Key::parse(&line.key).ok()?, Change { before: line.before, after: content });
        }
        let Header { base, revision, writer, subject, token, .. } = header;
        rest.is_empty().then_some(Self { token, base, revision, writer, subject, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let version = |generation| Version { id: Some("4f".into()), generation, digest: Digest::of(b"x") };
        let key = |name| Key::parse(name).unwrap();
        let change = |before: Option<&[u8]>, after: Option<&'static [u8]>| Change {
            before: before.map(Digest::of),
            after: after.map(Bytes::from_static),
        };
        let changes = [
            (key("a"), change(None, Some(b"\n\xff{}\n"))),
            (key("b"), change(Some(b"1"), None)),
            (key("c"), change(Some(b"1"), Some(b""))),
            (key("d"), change(None, Some(b"4"))),
        ];
        Entry {
            token: "t".into(),
            base: version(6),
            revision: version(7),
            writer: "web-1\n".into(),
            subject: "web-1 publishes".into(),
            changes: changes.into(),
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        assert_eq!(Entry::decode(&entry().encode()), Some(entry()));
    }

    #[test]
    fn an_entry_that_is_cut_or_altered_is_none() {
        let whole = entry().encode();
        for end in 0..whole.len() {
            assert_eq!(Entry::decode(&whole[..end]), None, "cut after {end} bytes");
        }
        let mut longer = whole.clone();
        longer.push(b'x');
        assert_eq!(Entry::decode(&longer), None);
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(Entry::decode(&other), None);
    }
}
