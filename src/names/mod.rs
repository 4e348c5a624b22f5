//! Names of containers across hosts: a container resolves `db.net1`, a container of another host, by DNS.
//!
//! Docker answers for the containers of its own host, and asks its DNS servers for every other name. One of them is the
//! responder here: it knows what all hosts tell of their containers, and forwards what it doesn't know.
//!
//! ```text
//! Docker's API ──gather──▶ own names ──▶ publisher ──▶ the store: ADDRESS.names.json
//!                              │                                  │
//!                              ▼                                  ▼
//! a container ──▶ dockerd ──▶ server ──answer──▶ table ◀── judged names of all hosts
//!                               └──────upstream──▶ the DNS servers for all other names
//! ```
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | `docker` | questions to Docker's API, and its answers as far as names need them |
//! | `gather` | keeps the names of this host's containers, by asking Docker |
//! | `table` | which names are believed, and where they lead: pure functions |
//! | `answer` | from a DNS query to its answer, where we have one: pure functions |
//! | `upstream` | the DNS servers for all other names |
//! | `server` | the sockets, and who may ask |
//! | `keep` | keeps the table and the sockets as the config, the store and the interfaces say |

mod answer;
mod docker;
mod gather;
mod keep;
mod server;
mod table;
mod upstream;

pub use gather::Gather;
pub use keep::Responder;

use crate::{
    fleet::NamesFiles,
    policy::{Records, Refused},
};

/// Returns what every host refuses of a fleet's names: files, or names of them, a line a file.
pub(crate) fn refused(files: &NamesFiles, records: &Records) -> Vec<Refused> {
    table::judge(files, records, "", None).refused
}
