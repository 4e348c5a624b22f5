//! The name of a record in a store.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The name of one record: `10.1.1.48.json`, `2001:db8:1::48.json`.
///
/// A key is safe as a file name, as one level of a Git tree and as the last part of an etcd key: 1 to 128 bytes of ASCII
/// letters, digits, `.`, `:`, `_` and `-`, the first a letter, a digit or `:`. So it holds no separator, and is neither
/// `..` nor a hidden file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// Says why a name can't be a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(&'static str);

impl Key {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidKey`] when the name breaks a rule of [`Key`].
    pub fn parse(name: &str) -> Result<Self, InvalidKey> {
        let bytes = name.as_bytes();
        match bytes.first() {
            None => return Err(InvalidKey("the name is empty")),
            Some(first) if !first.is_ascii_alphanumeric() && *first != b':' => {
                return Err(InvalidKey("the name does not start with a letter, a digit or a colon"));
            }
            Some(_) => {}
        }
        if bytes.len() > MAX_KEY_BYTES {
            return Err(InvalidKey("the name is longer than 128 bytes"));
        }
        if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || b".:_-".contains(b)) {
            return Err(InvalidKey(
                "the name has a character other than a letter, a digit, '.', ':', '_' or '-'",
            ));
        }
        Ok(Self(name.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(name: &str) -> Result<Self, InvalidKey> {
        Self::parse(name)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}
