//! Operations that tell from any state of the store which of them have happened, and in which order.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

use super::super::steps::key;
use crate::{Batch, Key, Snapshot};

/// What a store holds.
pub(super) type Records = BTreeMap<Key, Bytes>;

/// The record that each operation adds its name to, one a line, in the batch that does all else it does.
pub(super) const LOG: &str = "log";

/// The name of one operation, `17-b3`: the seed, the host and a number. No two operations of a seed share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(Arc<str>);

impl Id {
    pub(super) fn new(seed: u64, host: char, number: u32) -> Self {
        Self(format!("{seed}-{host}{number}").into())
    }

    /// Returns what the operation does besides its line in the log: a pure function of its name, so that the log alone
    /// tells what the store must hold.
    pub(super) fn changes(&self) -> BTreeMap<Key, Option<Bytes>> {
        // FNV-1a, so that a seed draws the same on every machine.
        let hash = self.0.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = fastrand::Rng::with_seed(hash);
        let mut changes = BTreeMap::new();
        for _ in 0..rng.u32(1..=6) {
            let name = format!("k{}", rng.u32(0..12));
            // Now and then one that takes the network several packets.
            let padding = if rng.u32(0..12) == 0 { rng.usize(0..20_000) } else { rng.usize(0..40) };
            let value = format!("{self} {name} {}", "x".repeat(padding));
            changes.insert(key(&name), (rng.u32(0..4) > 0).then(|| value.into()));
        }
        changes
    }

    /// Returns the batch that makes the operation happen after all that a snapshot shows.
    pub(super) fn batch_on(&self, snapshot: &Snapshot) -> Batch {
        let log = snapshot.records.get(LOG).cloned().unwrap_or_default();
        let log = [&log[..], self.0.as_bytes(), b"\n"].concat();
        Batch { subject: self.to_string(), changes: self.changes() }.put(key(LOG), log)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the names in a log.
pub(super) fn names(log: &[u8]) -> Vec<Id> {
    String::from_utf8_lossy(log).lines().map(|line| Id(line.into())).collect()
}

/// Applies changes to records.
pub(super) fn apply(records: &mut Records, changes: BTreeMap<Key, Option<Bytes>>) {
    for (key, change) in changes {
        match change {
            Some(bytes) => records.insert(key, bytes),
            None => records.remove(&key),
        };
    }
}
