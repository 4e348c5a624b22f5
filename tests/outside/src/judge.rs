//! Which bytes are a record, a stray, a revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipvland_store::{Key, MAX_RECORD_BYTES, Revision, Stray};

/// The revision of a store that holds nothing. It has the form of no other.
pub(crate) const EMPTY: &str = "empty";

/// A revision, and where it stands in the stream.
pub(crate) struct Place {
    pub(crate) revision: Revision,
    /// The id of the entry that made it.
    pub(crate) id: String,
}

impl Place {
    /// Reads a revision; `None` where this store can't have given it out.
    pub(crate) fn of(revision: &Revision) -> Option<Self> {
        let revision = revision.clone();
        if revision.as_str() == EMPTY {
            return Some(Self { revision, id: "0-0".to_owned() });
        }
        let (id, mark) = revision.as_str().split_once('/')?;
        let (milliseconds, number) = id.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok();
        let valid =
            digits(milliseconds) && digits(number) && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = id.to_owned();
        valid.then_some(Self { revision, id })
    }
}

/// What the name and the value of a field of the hash are.
pub(crate) enum Field {
    Record(Key, Bytes),
    /// With the key, where the name is one: what was a record is one no more.
    Stray(Option<Key>, Stray),
}

impl Field {
    pub(crate) fn of(name: &[u8], value: Vec<u8>) -> Self {
        match odd(name, value.len()) {
            Ok(key) => Self::Record(key, value.into()),
            Err(stray) => Self::Stray(parse(name).ok(), stray),
        }
    }
}

/// Tells why a name with a value of this many bytes is no record, or returns its key.
pub(crate) fn odd(name: &[u8], length: usize) -> Result<Key, Stray> {
    let stray = |reason| Stray { name: name.escape_ascii().to_string(), reason };
    match parse(name) {
        Err(reason) => Err(stray(reason)),
        Ok(_) if length > MAX_RECORD_BYTES => {
            Err(stray(format!("it has {length} bytes; a record has at most {MAX_RECORD_BYTES}")))
        }
        Ok(key) => Ok(key),
    }
}

fn parse(name: &[u8]) -> Result<Key, String> {
    let name = std::str::from_utf8(name).map_err(|_| "the name is not text".to_owned())?;
    Key::parse(name).map_err(|error| error.to_string())
}

/// The strays of a store, by their raw names.
pub(crate) type Strays = BTreeMap<Vec<u8>, Stray>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_revisions_have_a_place() {
        for (name, id) in [("empty", "0-0"), ("1764040000000-0/9f3a", "1764040000000-0"), ("7-1/", "7-1")] {
            assert_eq!(Place::of(&Revision::new(name)).unwrap().id, id);
        }
        for name in ["", "0", "7-1", "7/ab", "7-1/xyz", "-/", "7-99999999999999999999/", "+-1/", "7-+/"] {
            assert!(Place::of(&Revision::new(name)).is_none(), "{name}");
        }
    }
}
