//! Which record goes where when a fleet's records are copied: pure functions.
//!
//! A fleet is moved host after host. Those that have moved write to the target, the others to the source, and the copy is
//! repeated meanwhile, in both directions. So where the two differ, the side that changed since they were last alike is
//! right. Where nobody knows what was alike, the target is: its record may be the one of a host that has moved on, and
//! the source's what that host left behind.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipvland_store::{Key, MAX_BATCH_BYTES, MAX_BATCH_CHANGES};

use super::copy::Order;
use crate::record::{NamesRecord, Record};

/// Records by their keys.
pub(super) type Records = BTreeMap<Key, Bytes>;

/// One change of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// What the target showed.
    pub(super) before: Option<Bytes>,
    /// What it is to show.
    pub(super) after: Option<Bytes>,
}

/// Why the target's word stands although the source has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It changed there and not in the source.
    MovedOn,
    /// It was taken out there and didn't change in the source.
    TakenOut,
    /// It changed in both.
    Both,
    /// It's not known which of them changed.
    Unknown,
    /// It is another machine's.
    OtherMachine,
    /// The source lacks it, and may never have had it.
    OnlyInTarget,
}

impl Kept {
    /// Says it to the operator.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::MovedOn => "the target's is newer, so its host has moved",
            Self::TakenOut => "it was taken out of the target since the last copy",
            Self::Both => {
                "it changed in both stores since the last copy; the target's stays, --force copies the source's"
            }
            Self::Unknown => {
                "the target has another, and no copy from here knows which is newer; the target's stays, as its host may \
                 have moved, --force copies the source's"
            }
            Self::OtherMachine => {
                "another machine publishes as that host in the target; give one of them another address, or --force the \
                 source's"
            }
            Self::OnlyInTarget => {
                "the source lacks it, and no copy from here brought it, so its host may have begun in the target; \
                 --force removes it"
            }
        }
    }
}

/// What a copy does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is written.
    pub(super) changes: BTreeMap<Key, Change>,
    /// What the target keeps.
    pub(super) kept: BTreeMap<Key, Kept>,
    /// How many records are the same in both.
    pub(super) same: usize,
    /// How many records the source lacks, where nobody asked to remove them.
    pub(super) extra: usize,
}

/// Works out what a copy does. `alike` is what both held when they were last the same, as far as that is known.
pub(super) fn plan(source: &Records, target: &Records, alike: &Records, order: Order) -> Plan {
    let mut plan = Plan::default();
    // A target without any record is new or was emptied: nothing was taken out of it one by one.
    let none = Records::new();
    let alike = if target.is_empty() { &none } else { alike };
    for (key, ours) in source {
        let theirs = target.get(key);
        if theirs == Some(ours) {
            plan.same += 1;
            continue;
        }
        match why_kept(key, ours, theirs, alike.get(key)).filter(|_| !order.force) {
            Some(kept) => _ = plan.kept.insert(key.clone(), kept),
            None => plan.change(key, theirs, Some(ours)),
        }
    }
    for (key, theirs) in target.iter().filter(|(key, _)| !source.contains_key(*key)) {
        match (order.prune, alike.get(key) == Some(theirs) || order.force) {
            (false, _) => plan.extra += 1,
            (true, true) => plan.change(key, Some(theirs), None),
            (true, false) => _ = plan.kept.insert(key.clone(), Kept::OnlyInTarget),
        }
    }
    plan
}

fn why_kept(key: &Key, ours: &Bytes, theirs: Option<&Bytes>, alike: Option<&Bytes>) -> Option<Kept> {
    let (Some(theirs), Some(alike)) = (theirs, alike) else {
        let Some(theirs) = theirs else {
            // It's new, unless both had it once.
            return alike.map(|alike| if alike == ours { Kept::TakenOut } else { Kept::Both });
        };
        let id = |bytes| match NamesRecord::is_key(key) {
            true => NamesRecord::parse(key, bytes).ok().map(|names| names.id),
            false => Record::parse(key, bytes).ok().and_then(|record| record.id),
        };
        let others = matches!((id(ours), id(theirs)), (Some(ours), Some(theirs)) if ours != theirs);
        return Some(if others { Kept::OtherMachine } else { Kept::Unknown });
    };
    match (alike == theirs, alike == ours) {
        (true, _) => None,
        (false, true) => Some(Kept::MovedOn),
        (false, false) => Some(Kept::Both),
    }
}

impl Plan {
    fn change(&mut self, key: &Key, before: Option<&Bytes>, after: Option<&Bytes>) {
        self.changes.insert(key.clone(), Change { before: before.cloned(), after: after.cloned() });
    }

    /// Returns the changes in batches that every store takes.
    pub(super) fn batches(&self) -> Vec<BTreeMap<Key, Change>> {
        let mut batches: Vec<BTreeMap<Key, Change>> = Vec::new();
        let mut bytes = 0;
        for (key, change) in &self.changes {
            let size = key.as_str().len() + change.after.as_ref().map_or(0, Bytes::len);
            match batches.last_mut() {
                Some(last) if last.len() < MAX_BATCH_CHANGES && bytes + size <= MAX_BATCH_BYTES => {
                    bytes += size;
                    last.insert(key.clone(), change.clone());
                }
                _ => {
                    bytes = size;
                    batches.push(BTreeMap::from([(key.clone(), change.clone())]));
                }
            }
        }
        batches
    }
}

/// Returns what is known to be alike after a copy: what both show, what was written (its host may have changed it in
/// the target since), and else what was known before.
pub(super) fn alike_after(
    source: &Records,
    target: &Records,
    written: &BTreeMap<Key, Change>,
    before: &Records,
) -> Records {
    let mut alike = Records::new();
    for key in source.keys().chain(target.keys()) {
        let (ours, theirs) = (source.get(key), target.get(key));
        let known = match written.get(key) {
            _ if ours == theirs => ours,
            Some(change) => change.after.as_ref(),
            None => before.get(key),
        };
        alike.extend(known.map(|bytes| (key.clone(), bytes.clone())));
    }
    alike
}
