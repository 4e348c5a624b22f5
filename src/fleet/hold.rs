//! Keeps the records of a fleet when its store comes back without any.
//!
//! A store that shows no other host, although it showed some before, and without a commit that took them out, was emptied,
//! restored or replaced; the hosts are still there. Their routes stay until the hosts have written their records anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use ipvland_store::Key;
use tokio::time::Instant;

use crate::policy::Records;

/// How long hosts have to write their records anew, from when the first of them has.
const GRACE: Duration = Duration::from_secs(300);

/// The records that are held, if any are.
#[derive(Debug, Default)]
pub(super) struct Hold {
    records: Option<Arc<Records>>,
    ends: Option<Instant>,
}

impl Hold {
    /// Begins to hold when a whole reading of the store lost every other host.
    pub(super) fn begin(&mut self, before: &Arc<Records>, after: &Records, own: Option<&Key>) {
        let lost = before.keys().any(|key| Some(key) != own) && !after.keys().any(|key| Some(key) != own);
        if lost {
            tracing::warn!("the store came back without any other host's record, their routes are kept");
            self.records = Some(Arc::clone(before));
            self.ends = None;
        }
    }

    /// Returns when the hold ends, where that is known.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Adds the held records to those of the store, or ends the hold; returns what to tell the operator.
    pub(super) fn judge(
        &mut self,
        records: &mut Arc<Records>,
        store: &BTreeMap<Key, Bytes>,
        own: Option<&Key>,
    ) -> Option<String> {
        let held = self.records.clone()?;
        if self.ends.is_none() && store.keys().any(|key| Some(key) != own) {
            self.ends = Some(Instant::now() + GRACE);
        }
        let over = self.ends.is_some_and(|ends| ends <= Instant::now());
        let mut missing = 0;
        let all = Arc::make_mut(records);
        for (key, record) in held.iter().filter(|(key, _)| Some(*key) != own && !store.contains_key(*key)) {
            missing += 1;
            if over {
                all.remove(key);
            } else {
                all.insert(key.clone(), record.clone());
            }
        }
        if over || missing == 0 {
            tracing::info!(missing, "the store is believed again, records that are not in it are dropped");
            *self = Self::default();
            return None;
        }
        Some(format!(
            "the store came back without the records of {missing} hosts, whose routes are kept; restore it, or wait for \
             the hosts to publish again"
        ))
    }
}
