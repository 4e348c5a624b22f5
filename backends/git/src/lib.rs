//! Endpoint records of `ipvland` in a Git repository.
//!
//! The routing table of a fleet is the folder `endpoints/` of a branch: one small file a host, with an author, a date, a
//! diff and a revert. This crate implements [`EndpointStore`] over it, with libgit2.
//!
//! # Flow
//!
//! ```text
//! snapshot   connect, list; tip is new? fetch ─▶ bare clone in the state directory ─▶ records, strays
//! watch      connect, list; tip is new? fetch; old tip is its ancestor? ─▶ changed records  (else: start over)
//! commit     tree of the base + batch ─▶ commit in the clone ─▶ push, if the branch is at the base  (else: run again)
//!
//! over http a look is one request, a fetch one more, and a push after the first one: the server compares the base itself
//! ```
//!
//! Blobs are read from the object database: there is never a checkout, so links and submodules of the repository do
//! nothing. A push is never forced, and texts are never merged: who loses a race reads again.
//!
//! ```no_run
//! # async fn open(context: ipvland_store::OpenContext) -> ipvland_store::Result<()> {
//! let mut registry = ipvland_store::Registry::new();
//! ipvland_store_git::register(&mut registry);
//! let table = serde_json::json!({ "repo": "https://git.example/net/overlay.git", "username": "web-1" });
//! let store = registry.open("git", table, context).await?;
//! let snapshot = store.snapshot().await?;
//! # drop(snapshot);
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! - A redirect is followed within the host alone, and to TLS but not from it: the password goes nowhere else.
//! - Proxies are those that speak HTTP; over ssh they are a matter of `ssh_config(5)`.
//! - Over ssh each call is a connection of its own.
//! - libgit2 runs no hooks, so a push by path refuses a repository that a hook guards.
//! - A repository of SHA-256 objects can't be read.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | [`settings`] | the table `store.git` |
//! | `address`, `credentials` | where the repository is, and who logs in |
//! | `clone` | the bare clone, a cache that may be removed at any time |
//! | `own` | the repository of a host that has no `repo`, and the packing of its history |
//! | `upkeep`, `wear` | keeping both from growing for ever |
//! | `remote` | connect, list, fetch |
//! | `http`, `transport`, `talk` | Git's smart HTTP over one kept connection, libgit2's way to it, and what a call costs |
//! | `ssh` | the program `ssh`, and what it says |
//! | `http_fetch`, `http_push` | what is new since the last fetch, and one commit, each as one request |
//! | `advertisement`, `pkt`, `pack`, `loose` | the forms in which they go over the wire and on the disk |
//! | `tree` | which entries of `endpoints/` are records |
//! | `push`, `path_push` | the commit, and the compare-and-swap at a server or in a directory |
//! | `store`, `memory`, `revision` | [`GitStore`], what it remembers from call to call, and what it calls a commit |
//! | `run`, `commit` | work on the clone, off the async threads; a commit, and who was first |
//! | `errors` | sentences for what went wrong |
//! | `libgit2` | the global switches of libgit2 |

#![deny(unsafe_code)]

mod address;
mod advertisement;
mod clone;
mod commit;
mod credentials;
mod entries;
mod errors;
mod http;
mod http_fetch;
mod http_push;
mod libgit2;
mod loose;
mod memory;
mod own;
mod pack;
mod path_push;
mod pkt;
mod push;
mod remote;
mod revision;
mod run;
pub mod settings;
mod ssh;
mod store;
mod talk;
mod transport;
mod tree;
mod upkeep;
mod wear;

use std::sync::Arc;

use ipvland_store::{EndpointStore, Registry};

pub use settings::{SETTINGS, Settings};
pub use store::GitStore;

/// Registers the kind `git`.
pub fn register(registry: &mut Registry) {
    registry.register("git", SETTINGS, |settings: Settings, context| async move {
        // Opening touches the disk alone, for a moment.
        GitStore::open(&settings, context).map(|store| Arc::new(store) as Arc<dyn EndpointStore>)
    });
}
