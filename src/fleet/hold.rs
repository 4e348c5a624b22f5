//! Keeps the routes to hosts whose records a store does not show, although nobody took them out.
//!
//! Two things look like that, and in both the hosts are still there:
//!
//! - A store that shows no other host, although it showed some before, was emptied, restored or replaced. Routes stay
//!   until the hosts have written their records anew.
//! - A daemon that starts with another store than the one that its snapshot on disk is of finds there what was copied,
//!   and the hosts that were swapped before it. Routes to the others stay until their records are there as well.
//!
//! A record that a commit takes out is believed at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use ipvland_store::Key;
use tokio::time::Instant;

use super::Stored;
use crate::{persistent::Map, policy::Records};

/// How long hosts have to write their records anew, from when the store shows the first of them.
const GRACE: Duration = Duration::from_secs(300);

/// The same where the store is another one: operators copy, and swap host after host.
const SWAP_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Why records are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Cause {
    /// The store lost them all at once.
    #[default]
    Lost,
    /// The store is another one than before.
    Swapped,
}

impl Cause {
    fn grace(self) -> Duration {
        match self {
            Self::Lost => GRACE,
            Self::Swapped => SWAP_GRACE,
        }
    }
}

/// The records that are held, if any are.
#[derive(Debug, Default)]
pub(super) struct Hold {
    records: Map<Key, Bytes>,
    parsed: Records,
    cause: Cause,
    ends: Option<Instant>,
}

impl Hold {
    /// Goes on holding what was held when the snapshot on disk was written.
    pub(super) fn resume(records: Map<Key, Bytes>, cause: Cause) -> Self {
        let mut hold = Self::default();
        hold.hold(records, cause);
        hold
    }

    /// Begins to hold what a whole reading of the store lost: all of it where no other host is left, and what is missing
    /// where the store is another one than `before` is of.
    pub(super) fn begin(
        &mut self,
        before: &Stored,
        after: &BTreeMap<Key, Bytes>,
        own: Option<&Key>,
        swapped: bool,
    ) {
        let other = |key: &&Key| Some(*key) != own;
        let lost = before.keys().any(|key| other(&key)) && !after.keys().any(|key| other(&key));
        if !lost && !swapped {
            return;
        }
        let missing = before.keys().filter(|key| other(key) && !after.contains_key(*key));
        let mut missing: Map<_, _> =
            missing.filter_map(|key| Some((key.clone(), before.bytes(key)?))).collect();
        if missing.is_empty() {
            return;
        }
        missing.extend(self.records.iter().map(|(key, bytes)| (key.clone(), bytes.clone())));
        if swapped {
            tracing::warn!(
                missing = missing.len(),
                "the store is another one and lacks records, their routes are kept"
            );
        } else {
            tracing::warn!("the store came back without any other host's record, their routes are kept");
        }
        self.hold(missing, if swapped { Cause::Swapped } else { Cause::Lost });
    }

    fn hold(&mut self, records: Map<Key, Bytes>, cause: Cause) {
        self.parsed = super::parse_all(&records);
        self.records = records;
        self.cause = cause;
        self.ends = None;
    }

    /// Returns when the hold ends, where that is known.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Returns the records that are held, and why.
    pub(super) fn held(&self) -> (&Map<Key, Bytes>, Cause) {
        (&self.records, self.cause)
    }

    /// Adds the held records to those of the store, or ends the hold; returns what to tell the operator.
    pub(super) fn judge(
        &mut self,
        records: &mut Arc<Records>,
        store: &Stored,
        own: Option<&Key>,
    ) -> Option<String> {
        if self.records.is_empty() {
            return None;
        }
        // What the store has shown once is the store's again: a commit that takes it out later is believed.
        self.records.retain(|key, _| Some(key) != own && !store.contains_key(key));
        let over = self.ends.is_some_and(|ends| ends <= Instant::now());
        let missing = self.records.len();
        let all = Arc::make_mut(records);
        for (key, record) in &self.parsed {
            let is_held = self.records.contains_key(key) && !over;
            if is_held && !all.contains_key(key) {
                all.insert(key.clone(), record.clone());
            } else if !is_held && !store.contains_key(key) {
                all.remove(key);
            }
        }
        self.parsed.retain(|key, _| self.records.contains_key(key));
        if over || missing == 0 {
            tracing::info!(missing, "the store is believed again, records that are not in it are dropped");
            *self = Self::default();
            return None;
        }
        if self.ends.is_none() && store.keys().any(|key| Some(key) != own) {
            self.ends = Some(Instant::now() + self.cause.grace());
        }
        Some(match self.cause {
            Cause::Lost => format!(
                "the store came back without the records of {missing} hosts, whose routes are kept; restore it, or wait \
                 for the hosts to publish again"
            ),
            Cause::Swapped => format!(
                "the store is another one than before and lacks the records of {missing} hosts, whose routes are kept \
                 for a day ({}); copy them with `ipvland store copy`, or swap those hosts too",
                crate::publisher::list(&self.records.keys().map(ToString::to_string).collect::<Vec<_>>())
            ),
        })
    }
}
