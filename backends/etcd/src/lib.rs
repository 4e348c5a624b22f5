//! Endpoint records of `ipvland` in etcd.
//!
//! A fleet has a prefix of a cluster, `/ipvland` for instance: one key for each record, and one that every batch writes
//! anew. Changes reach the other hosts within milliseconds, and a cluster of three members goes on when one of them dies.
//! This crate implements [`EndpointStore`] over it, with etcd's gRPC.
//!
//! ```text
//! /ipvland/endpoints/10.1.1.48.json      a record; its last part is the record's key
//! /ipvland/generation                    what the last batch drew, at random
//! ```
//!
//! # Flow
//!
//! ```text
//! snapshot   read the range, page after page at one etcd revision ─▶ records, strays
//! watch      where did the reader stand? ─▶ watch from there; compacted since, and not quiet? start over
//! commit     many records? ask whether etcd took any write since the base: if not, the batch's keys are all to compare ─▶
//!            one transaction: the base still holds? the batch has an effect? write it and a new generation
//! ```
//!
//! A revision names a state and not a moment of etcd: `NONCE-M-C` is the value of the generation key, the greatest mod
//! revision among our keys, and how many records and strays there are. What others write into the same etcd doesn't
//! change it; what an operator does to our keys with etcdctl does, deletions too.
//!
//! ```no_run
//! # async fn open(context: ipvland_store::OpenContext) -> ipvland_store::Result<()> {
//! let mut registry = ipvland_store::Registry::new();
//! ipvland_store_etcd::register(&mut registry);
//! let endpoints = ["https://10.1.1.2:2379", "https://10.1.1.3:2379", "https://10.1.1.4:2379"];
//! let table = serde_json::json!({ "endpoints": endpoints, "ca_file": "/etc/ipvland/ca.pem" });
//! let store = registry.open("etcd", table, context).await?;
//! let snapshot = store.snapshot().await?;
//! # drop(snapshot);
//! # Ok(())
//! # }
//! ```
//!
//! # Members
//!
//! One member is asked until it can't be reached, is silent for `store.etcd.timeout`, or has no leader; then the next. A
//! read is tried there at once. A write is only where etcd surely did nothing, else the caller hears that it may have
//! been done. Passwords and certificates are read from their files at each new connection, so that they may be renewed while
//! the daemon runs. A watch that is silent asks its member for a sign of life.
//!
//! # Limits
//!
//! - A key that an operator *deletes* by hand is told to all who watch, and it's a new revision. But a transaction can't see
//!   it: a batch on the revision before lands, without an error, and brings the key back only if it writes it. Batches see each other's
//!   deletions, by the generation.
//! - An etcd that others write into, too, compares all records of a large fleet at each commit: about 10 ms for ten
//!   thousand of them.
//! - etcd takes batches of [`MAX_BATCH_CHANGES`](ipvland_store::MAX_BATCH_CHANGES) records and
//!   [`MAX_BATCH_BYTES`](ipvland_store::MAX_BATCH_BYTES) with its default `--max-txn-ops` and `--max-request-bytes`.
//! - A user needs read and write access to the whole of the prefix:
//!   `etcdctl role grant-permission ROLE --prefix=true readwrite /ipvland/`.
//! - History is what etcd keeps: a host that was away for longer than the cluster's compaction takes a new snapshot.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | [`settings`] | the table `store.etcd` |
//! | `endpoints`, `login`, `tls` | where the members are, who logs in, which certificates count |
//! | `layout`, `revision`, `contents` | what keys and revisions are called, and which keys there are |
//! | `members` | a client for each member, and whose turn it is |
//! | `read`, `commit`, `watch` | what the three methods send to etcd |
//! | `store` | [`EtcdStore`] |
//! | `errors`, `tls_errors`, `alert` | sentences for what went wrong |

#![forbid(unsafe_code)]

mod alert;
mod commit;
mod contents;
mod endpoints;
mod errors;
mod layout;
mod login;
mod members;
mod read;
mod revision;
pub mod settings;
mod store;
mod tls;
mod tls_errors;
mod watch;

use std::sync::Arc;

use ipvland_store::{EndpointStore, Registry};

pub use settings::{SETTINGS, Settings};
pub use store::EtcdStore;

/// Registers the kind `etcd`.
pub fn register(registry: &mut Registry) {
    registry.register("etcd", SETTINGS, |settings: Settings, _| async move {
        // Opening reads the files for TLS alone, for a moment.
        EtcdStore::open(&settings).map(|store| Arc::new(store) as Arc<dyn EndpointStore>)
    });
}
