//! The compare-and-swap of a whole batch, as one transaction of etcd.
//!
//! ```text
//! if   generation == nonce of the base, and nothing that is looked at is newer than the base
//! then if   each record has the bytes that the batch would write, and each that it would remove is absent
//!      then nothing                              (the base stays)
//!      else write, remove, draw a new generation, count
//! else nothing                                   (another host was first)
//! ```
//!
//! What is looked at are all records, so that what somebody put by hand is never overlooked. etcd reads all of them for
//! that. Where etcd is asked beforehand, and has taken no write at all since the base, and none but this one until the
//! transaction is done, nothing can have been put: then only the keys of the batch are looked at.

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use ipvland_store::{Batch, Error, MAX_RECORD_BYTES, Result};

use crate::{
    layout::Layout,
    revision::{Mark, Nonce},
};

/// Which keys must not be newer than the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of all records.
    All,
    /// Those of the batch.
    Batch,
}

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Swapped {
    /// The batch changes nothing.
    NoEffect,
    Done(Mark),
    /// The store is not at the base any more.
    Raced,
}

/// Refuses a record that is too large, before anything is sent.
pub(crate) fn check(batch: &Batch) -> Result<()> {
    let large = batch.changes.iter().find_map(|(key, change)| {
        let bytes = change.as_ref()?.len();
        (bytes > MAX_RECORD_BYTES).then_some((key, bytes))
    });
    match large {
        None => Ok(()),
        Some((key, bytes)) => Err(Error::refused(format!(
            "the record {key} has {bytes} bytes, and a record has at most {MAX_RECORD_BYTES}: make it smaller"
        ))),
    }
}

/// Makes the transaction of a batch on a base, with the nonce that it writes.
pub(crate) fn transaction(layout: &Layout, base: &Mark, batch: &Batch, nonce: &str, scope: Scope) -> Txn {
    let mut at_base = unchanged(layout, base);
    let mut as_wanted = Vec::new();
    let mut changes = Vec::new();
    // Of an empty range and of a key that isn't there, etcd says that they are at revision 0.
    let not_newer = |key| Compare::mod_revision(key, CompareOp::Less, base.newest + 1);
    for (key, change) in &batch.changes {
        let key = layout.record(key);
        if scope == Scope::Batch {
            at_base.push(not_newer(key.clone()));
        }
        match change {
            Some(bytes) => {
                as_wanted.push(Compare::value(key.clone(), CompareOp::Equal, bytes.to_vec()));
                if scope == Scope::Batch {
                    // Whether it is there before, as an operation sees what those before it in the transaction did.
                    changes.push(TxnOp::get(key.clone(), Some(GetOptions::new().with_count_only())));
                }
                changes.push(TxnOp::put(key, bytes.to_vec(), None));
            }
            None => {
                as_wanted.push(Compare::version(key.clone(), CompareOp::Equal, 0));
                changes.push(TxnOp::delete(key, None));
            }
        }
    }
    changes.push(TxnOp::put(layout.generation(), nonce, None));
    if scope == Scope::All {
        let (from, to) = layout.records();
        at_base.push(not_newer(from.clone()).with_range(to.clone()));
        changes.push(TxnOp::get(from, Some(GetOptions::new().with_range(to).with_count_only())));
    }
    let swap = Txn::new().when(as_wanted).and_then(Vec::new()).or_else(changes);
    Txn::new().when(at_base).and_then([TxnOp::txn(swap)])
}

/// Compares the generation.
fn unchanged(layout: &Layout, base: &Mark) -> Vec<Compare> {
    let generation = || layout.generation();
    let unchanged = match &base.nonce {
        Nonce::Absent => Compare::version(generation(), CompareOp::Equal, 0),
        Nonce::Drawn(nonce) => Compare::value(generation(), CompareOp::Equal, nonce.as_bytes()),
        Nonce::Foreign => Compare::version(generation(), CompareOp::Greater, 0),
    };
    vec![unchanged, Compare::mod_revision(generation(), CompareOp::Less, base.newest + 1)]
}

/// Reads what etcd answered; `None` for an answer that makes no sense.
pub(crate) fn outcome(response: &TxnResponse, base: &Mark, nonce: &str, scope: Scope) -> Option<Swapped> {
    if !response.succeeded() {
        return Some(Swapped::Raced);
    }
    let answers = response.op_responses();
    let [TxnOpResponse::Txn(swap)] = &answers[..] else { return None };
    if swap.succeeded() {
        return Some(Swapped::NoEffect);
    }
    let mut count = base.count;
    for answer in swap.op_responses() {
        match (answer, scope) {
            (TxnOpResponse::Get(before), Scope::Batch) => count += 1 - before.count(),
            (TxnOpResponse::Get(all), Scope::All) => count = all.count(),
            (TxnOpResponse::Delete(deleted), Scope::Batch) => count -= deleted.deleted(),
            (TxnOpResponse::Delete(_), Scope::All) | (TxnOpResponse::Put(_), _) => {}
            (TxnOpResponse::Txn(_), _) => return None,
        }
    }
    Some(Swapped::Done(Mark {
        nonce: Nonce::Drawn(nonce.to_owned()),
        newest: response.header()?.revision(),
        count,
    }))
}
