//! The compare-and-swap of a whole batch, as one transaction of etcd.
//!
//! ```text
//! if   generation == nonce of the base, and nothing in the range is newer than the base
//! then if   each record has the bytes that the batch would write, and each that it would remove is absent
//!      then nothing                              (the base stays)
//!      else write, remove, draw a new generation, count
//! else nothing                                   (another host was first)
//! ```

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use ipvland_store::{Batch, Error, MAX_RECORD_BYTES, Result};

use crate::{
    layout::Layout,
    revision::{Mark, Nonce},
};

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
pub(crate) fn transaction(layout: &Layout, base: &Mark, batch: &Batch, nonce: &str) -> Txn {
    let mut as_wanted = Vec::new();
    let mut changes = Vec::new();
    for (key, change) in &batch.changes {
        let key = layout.record(key);
        match change {
            Some(bytes) => {
                as_wanted.push(Compare::value(key.clone(), CompareOp::Equal, bytes.to_vec()));
                changes.push(TxnOp::put(key, bytes.to_vec(), None));
            }
            None => {
                as_wanted.push(Compare::version(key.clone(), CompareOp::Equal, 0));
                changes.push(TxnOp::delete(key, None));
            }
        }
    }
    changes.push(TxnOp::put(layout.generation(), nonce, None));
    let (from, to) = layout.records();
    // An operation sees what those before it in the transaction did.
    changes.push(TxnOp::get(from, Some(GetOptions::new().with_range(to).with_count_only())));
    let swap = Txn::new().when(as_wanted).and_then(Vec::new()).or_else(changes);
    Txn::new().when(at_base(layout, base)).and_then([TxnOp::txn(swap)])
}

fn at_base(layout: &Layout, base: &Mark) -> Vec<Compare> {
    let (from, to) = layout.records();
    let generation = || layout.generation();
    let unchanged = match &base.nonce {
        Nonce::Absent => Compare::version(generation(), CompareOp::Equal, 0),
        Nonce::Drawn(nonce) => Compare::value(generation(), CompareOp::Equal, nonce.as_bytes()),
        Nonce::Foreign => Compare::version(generation(), CompareOp::Greater, 0),
    };
    vec![
        unchanged,
        Compare::mod_revision(generation(), CompareOp::Less, base.newest + 1),
        // Of an empty range, etcd says that all of it is at revision 0.
        Compare::mod_revision(from, CompareOp::Less, base.newest + 1).with_range(to),
    ]
}

/// Reads what etcd answered; `None` for an answer that makes no sense.
pub(crate) fn outcome(response: &TxnResponse, nonce: &str) -> Option<Swapped> {
    if !response.succeeded() {
        return Some(Swapped::Raced);
    }
    let answers = response.op_responses();
    let [TxnOpResponse::Txn(swap)] = &answers[..] else { return None };
    if swap.succeeded() {
        return Some(Swapped::NoEffect);
    }
    let newest = response.header()?.revision();
    match swap.op_responses().last()? {
        TxnOpResponse::Get(counted) => Some(Swapped::Done(Mark {
            nonce: Nonce::Drawn(nonce.to_owned()),
            newest,
            count: counted.count(),
        })),
        _ => None,
    }
}
