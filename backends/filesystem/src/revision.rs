//! Revisions of the store: its id, how many commits it had, and a digest of what lies in it.

use std::{fmt, str::FromStr};

use ipvland_store::Revision;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// A digest of bytes, by which contents are told apart.
///
/// It guards against accidents only: who could forge one may write the files anyway. All hosts MUST compute the same,
/// whatever they were built with, which rules out the hashers of the standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Digest([u8; 20]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha1::digest(bytes).into())
    }

    /// Digests parts, each of which may hold anything.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha1::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let is_hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() != 40 || !is_hex {
            return Err(NoVersion);
        }
        let mut bytes = [0; 20];
        for (place, at) in bytes.iter_mut().zip((0..40).step_by(2)) {
            *place = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NoVersion)?;
        }
        Ok(Self(bytes))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Self, NoVersion> {
        text.parse()
    }
}

/// What a revision means to this store: `ID.GENERATION.DIGEST`.
///
/// The generation counts commits; the digest is over the records and strays, so that an edit by hand makes a new
/// revision without anybody counting it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Version {
    /// The store's random id; `None` before the first commit.
    pub(crate) id: Option<String>,
    pub(crate) generation: u64,
    pub(crate) digest: Digest,
}

/// A text is no version of a store in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoVersion;

impl fmt::Display for NoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no version of a store in a directory")
    }
}

/// Stands for the id of a store without one.
const NONE: &str = "none";

impl Version {
    pub(crate) fn revision(&self) -> Revision {
        Revision::new(self.to_string())
    }

    pub(crate) fn parse(revision: &Revision) -> Option<Self> {
        revision.as_str().parse().ok()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.id.as_deref().unwrap_or(NONE), self.generation, self.digest)
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut parts = text.split('.');
        let (Some(id), Some(generation), Some(digest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoVersion);
        };
        let version = Self {
            id: (id != NONE).then(|| id.to_owned()),
            generation: generation.parse().map_err(|_| NoVersion)?,
            digest: digest.parse()?,
        };
        // "007" and "+7" are no names that this store gave out.
        if id.is_empty() || version.to_string() != text {
            return Err(NoVersion);
        }
        Ok(version)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Self, NoVersion> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        for id in [None, Some("4f".to_owned())] {
            let version = Version { id, generation: 7, digest: Digest::of(b"x") };
            assert_eq!(Version::parse(&version.revision()), Some(version));
        }
        let digest = Digest::of(b"x");
        for other in ["", "0", "4f.7", "4f.7.00", &format!("4f.07.{digest}"), &format!("4f.+7.{digest}")] {
            assert_eq!(Version::parse(&Revision::new(other)), None, "{other}");
        }
        assert_eq!(Version::parse(&Revision::new(format!(".7.{digest}"))), None);
        assert_eq!(Version::parse(&Revision::new(format!("4f.7.{digest}.x"))), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of_parts([&b"ab"[..], b"c"]), Digest::of_parts([&b"a"[..], b"bc"]));
    }
}
