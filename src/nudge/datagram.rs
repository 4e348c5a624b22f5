//! The datagram, byte for byte, and its signature.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `ipvl` |
//! | 1 | the version, 1 |
//! | 1 | the kind: 1 a nudge, 2 the answer to one |
//! | 8 | a number drawn at random for each round of nudges; an answer repeats it |
//! | 1 + up to 64 | the length of the sender's record key, and the key |
//! | 1 + up to 128 | the length of the revision, and the revision; an answer has none |
//! | 32 | HMAC-SHA256 over all that |
//!
//! The key of the HMAC is `HMAC-SHA256(id, "ipvland nudge 1")`, where `id` is that of the host that was nudged: of the
//! receiver of a nudge, and of the sender of its answer. So an answer needs no record of who has asked, which may be newer
//! than what the answering host has read.

use ipvland_store::{Key as RecordKey, Revision};
use ring::hmac;

const MAGIC: &[u8; 4] = b"ipvl";
const VERSION: u8 = 1;
const LABEL: &[u8] = b"ipvland nudge 1";

/// The longest key of a record that is told: an IPv6 address with `.json` has 44 bytes.
const MAX_KEY: usize = 64;

/// The longest revision that is told: a Git commit has 40 digits, or 64 with SHA-256.
const MAX_REVISION: usize = 128;

const MAC: usize = 32;
const HEAD: usize = 14;

/// The shortest and the longest datagram, in bytes. It fits any MTU.
const SHORTEST: usize = HEAD + 2 + MAC;
pub(super) const LONGEST: usize = SHORTEST + MAX_KEY + MAX_REVISION;

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is this revision.
    Nudge,
    /// The sender lives, and has heard.
    Answer,
}

/// What signs and checks the datagrams to one host. It is made once, since the state of an HMAC takes two rounds of SHA-256.
#[derive(Debug, Clone)]
pub(super) struct Seal(hmac::Key);

impl Seal {
    /// Derives the seal of a host from the `id` of its record.
    pub(super) fn of(id: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, id.as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, LABEL).as_ref()))
    }
}

/// A datagram that looks like one of ours; who sent it is not known before [`Datagram::is_sealed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) kind: Kind,
    /// The number of the round.
    pub(super) round: u64,
    /// The key of the sender's record.
    pub(super) sender: &'a str,
    /// The revision; empty in an answer.
    pub(super) revision: &'a str,
    signed: &'a [u8],
    mac: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a datagram. What is not exactly as it should be is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < SHORTEST || bytes.len() > LONGEST {
            return None;
        }
        let (signed, mac) = bytes.split_at(bytes.len() - MAC);
        let rest = signed.strip_prefix(MAGIC)?;
        let (&[version, kind], rest) = rest.split_first_chunk()?;
        let kind = match kind {
            1 => Kind::Nudge,
            2 => Kind::Answer,
            _ => return None,
        };
        let (round, rest) = rest.split_first_chunk()?;
        let (sender, rest) = text(rest, MAX_KEY)?;
        let (revision, rest) = text(rest, MAX_REVISION)?;
        let whole = version == VERSION && rest.is_empty() && revision.is_empty() == (kind == Kind::Answer);
        whole.then_some(Self { kind, round: u64::from_be_bytes(*round), sender, revision, signed, mac })
    }

    /// Checks the signature, in constant time.
    pub(super) fn is_sealed(&self, seal: &Seal) -> bool {
        hmac::verify(&seal.0, self.signed, self.mac).is_ok()
    }
}

/// Takes a length and so many bytes of visible ASCII off the front: it ends up in logs.
fn text(bytes: &[u8], most: usize) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    let fits = text.len() <= most && text.iter().all(u8::is_ascii_graphic);
    Some((fits.then(|| std::str::from_utf8(text).ok()).flatten()?, rest))
}

/// A nudge that is signed for one host after another.
#[derive(Debug, Clone)]
pub(super) struct Letter(Vec<u8>);

impl Letter {
    /// Writes a nudge; `None` for a revision that is too long to tell, or isn't plain text.
    pub(super) fn nudge(round: u64, sender: &RecordKey, revision: &Revision) -> Option<Self> {
        let revision = revision.as_str();
        let fits = !revision.is_empty() && revision.len() <= MAX_REVISION;
        (fits && revision.bytes().all(|byte| byte.is_ascii_graphic()))
            .then(|| Self::write(1, round, sender.as_str(), revision))
            .flatten()
    }

    /// Writes the answer to a nudge.
    pub(super) fn answer(round: u64, sender: &RecordKey) -> Option<Self> {
        Self::write(2, round, sender.as_str(), "")
    }

    fn write(kind: u8, round: u64, sender: &str, revision: &str) -> Option<Self> {
        if sender.len() > MAX_KEY {
            return None;
        }
        let mut bytes = Vec::with_capacity(LONGEST);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, kind]);
        bytes.extend(round.to_be_bytes());
        for text in [sender, revision] {
            bytes.push(u8::try_from(text.len()).ok()?);
            bytes.extend(text.as_bytes());
        }
        Some(Self(bytes))
    }

    /// Returns the datagram for one host.
    pub(super) fn sealed(&self, seal: &Seal) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.extend(hmac::sign(&seal.0, &self.0).as_ref());
        bytes
    }
}
