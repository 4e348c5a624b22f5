//! What this store calls a version of itself.

use std::fmt;

use ipvland_store::Revision;

/// What tells one state of the records from another, whoever made it.
///
/// A batch draws a new nonce. A key that is put by hand raises `newest`, and one that is deleted by hand lowers `count`:
/// along one history of an etcd, two states with the same mark hold the same keys, since neither can have a key that is
/// newer than `newest`. The nonce tells histories apart, as after a backup is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) nonce: Nonce,
    /// The greatest mod revision of the records, the strays and the generation key; 0 where there is none of them.
    pub(crate) newest: i64,
    /// How many records and strays there are.
    pub(crate) count: i64,
}

/// The value of the generation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// There is no such key.
    Absent,
    /// What a batch drew.
    Drawn(String),
    /// Something that somebody wrote by hand.
    Foreign,
}

const DIGITS: usize = 32;
const ABSENT: &str = "0";
const FOREIGN: &str = "x";

impl Nonce {
    /// Draws a new one, which no host has drawn or will draw.
    pub(crate) fn draw() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    pub(crate) fn of(value: &[u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok(text) if is_drawn(text) => Self::Drawn(text.to_owned()),
            _ => Self::Foreign,
        }
    }
}

fn is_drawn(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nonce = match &self.nonce {
            Nonce::Absent => ABSENT,
            Nonce::Drawn(text) => text,
            Nonce::Foreign => FOREIGN,
        };
        write!(f, "{nonce}-{}-{}", self.newest, self.count)
    }
}

impl Mark {
    pub(crate) fn revision(&self) -> Revision {
        Revision::new(self.to_string())
    }

    /// Parses a revision; `None` for one that this store never gives out.
    pub(crate) fn parse(revision: &Revision) -> Option<Self> {
        let mut parts = revision.as_str().split('-');
        let (nonce, newest, count) = (parts.next()?, parts.next()?, parts.next()?);
        let nonce = match nonce {
            ABSENT => Nonce::Absent,
            FOREIGN => Nonce::Foreign,
            text if is_drawn(text) => Nonce::Drawn(text.to_owned()),
            _ => return None,
        };
        let mark = Self { nonce, newest: newest.parse().ok()?, count: count.parse().ok()? };
        // Else "+1" or "007" would be second names of a revision.
        let is_ours = mark.newest >= 0 && mark.to_string() == revision.as_str();
        is_ours.then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is() {
        for nonce in [Nonce::Absent, Nonce::Foreign, Nonce::of(Nonce::draw().as_bytes())] {
            let mark = Mark { nonce, newest: 7, count: 3 };
            assert_eq!(Mark::parse(&mark.revision()), Some(mark));
        }
        assert_ne!(Nonce::draw(), Nonce::draw());
        for text in ["", "0", "0-0", "0-0-0-0", "0--1-0", "0-+1-0", "0-01-0", "y-1-1", "0-1-x", "HEAD"] {
            assert_eq!(Mark::parse(&Revision::new(text)), None, "{text}");
        }
        for value in [&b""[..], b"0", b"x", b"\xff", &[b'g'; 32], &[b'A'; 32]] {
            assert_eq!(Nonce::of(value), Nonce::Foreign);
        }
    }
}
