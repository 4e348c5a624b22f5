//! Endpoint records of `ipvland` in a directory that hosts share, on a local disk or by NFS.
//!
//! ```text
//! /mnt/shared/ipvland/            the path of the settings; never made by the store
//!   endpoints/10.1.1.48.json      one plain file a record
//!   .ipvland/                     the machinery
//!     format                      what this is, and the random id of the store
//!     generation                  how many commits are in the files
//!     log/17                      the commit of generation 17: who, why, and each record that it changed; 256 are kept
//!     staging/                    files on their way into place
//!     lock                        held by who writes
//! ```
//!
//! # Flow
//!
//! ```text
//! snapshot   generation · read what changed in endpoints/ · log · generation again: the same? ─▶ records, strays
//! watch      generation, log, time of endpoints/: all as before? nothing  (else: as a snapshot ─▶ changed records)
//! commit     lock · read · compare · stage · link the commit into the log · rename into endpoints/ · generation
//! ```
//!
//! A batch is there once its commit is in the log: readers lay what waits there over the files, and the next writer
//! finishes what one that crashed left. A crash at any point leaves the old state or the new.
//!
//! An operator may write, copy, edit and remove files in `endpoints/`, by any program: that makes a revision as a commit
//! does. A file that is edited in place can be seen half written, so write beside it and rename (editors do so). While a
//! commit is on its way a record that it changes shows as the commit left it.
//!
//! ```no_run
//! # async fn open(context: ipvland_store::OpenContext) -> ipvland_store::Result<()> {
//! let mut registry = ipvland_store::Registry::new();
//! ipvland_store_filesystem::register(&mut registry);
//! let table = serde_json::json!({ "path": "/mnt/shared/ipvland" });
//! let store = registry.open("filesystem", table, context).await?;
//! let snapshot = store.snapshot().await?;
//! # drop(snapshot);
//! # Ok(())
//! # }
//! ```
//!
//! # What the file system must have
//!
//! Hard links, renames that replace, names with a colon and in both cases, and locks that reach all hosts: ext4, xfs, btrfs
//! and tmpfs have them, and NFS has, best as version 4.1 or later. The first commit checks that, and says what is missing.
//!
//! # Limits
//!
//! - On NFS a commit of another machine is seen at the next look, and an edit in place once the client asks for the file's
//!   attributes again (mount option `acregmax`, a minute unless set).
//! - No clock is compared with another. An edit by hand that keeps a file's length, within the tick of the file system's
//!   clock that an earlier look fell into, is seen by a later look.
//! - A mount point whose share isn't mounted looks like an empty directory to a host that has never seen the store; so
//!   `path` is better a directory inside the mount.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | [`settings`] | the table `store.filesystem` |
//! | `place` | the directory and the files of the machinery |
//! | `scan`, `view`, `revision` | what lies in `endpoints/`, the store at one revision, and what that is called |
//! | `memory` | what a handle knows from the calls before, and reading without a lock |
//! | `commit`, `stage`, `entry` | the compare-and-swap, files on their way, and the log's entries |
//! | `lock`, `probe`, `mounts` | who writes, and what the file system must have |
//! | `seen` | the store's id on the host's own disk |
//! | `ears` | inotify and the nudge |
//! | `errors` | sentences for what went wrong |
//! | `store` | [`FilesystemStore`] |

#![forbid(unsafe_code)]

mod commit;
mod ears;
mod entry;
mod errors;
mod lock;
mod memory;
mod mounts;
mod place;
mod probe;
mod revision;
mod scan;
mod seen;
pub mod settings;
mod stage;
mod store;
mod view;

use std::sync::Arc;

use ipvland_store::{EndpointStore, Registry};

pub use settings::{SETTINGS, Settings};
pub use store::FilesystemStore;

/// Registers the kind `filesystem`.
pub fn register(registry: &mut Registry) {
    registry.register("filesystem", SETTINGS, |settings: Settings, context| async move {
        FilesystemStore::open(&settings, context).map(|store| Arc::new(store) as Arc<dyn EndpointStore>)
    });
}
