//! `ipvland` plugs Docker containers straight into the host's network card with the kernel's ipvlan driver, and tells the
//! hosts of a fleet each other's prefixes through a store such as a Git repository.
//!
//! ```text
//! Docker ──HTTP over a unix socket──▶ driver ──▶ datapath ──▶ kernel (links)
//!                                       │
//!                                    network (the book on disk)
//!                                       │
//!                                   publisher
//!                                       ▼
//! other hosts ◀──git and others──▶ EndpointStore ──▶ fleet ──▶ policy ──▶ plan ──▶ syncer ──▶ kernel (routes)
//! ```
//!
//! What is wanted is computed by pure functions ([`policy`], [`plan`]), and one reconciler ([`syncer`]) makes the kernel
//! equal to it; nothing else writes routes. Everything that is put into the kernel is marked, so that a restarted daemon
//! tells its own from an operator's and touches nothing else.
//!
//! # Layout
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | parses the command line and runs one command; `main` of a program with stores of its own calls [`cli::run`] |
//! | [`config`] | defaults, then a file, then the environment, then flags, and where each value came from |
//! | `daemon` | puts the parts together and runs them |
//! | [`driver`] | Docker's network driver protocol |
//! | [`network`] | the Docker networks of this host, and the book of them that outlives the daemon |
//! | [`ipam`] | Docker's IPAM driver: gives the addresses of this host's prefixes and blocks to containers |
//! | [`lease`] | prefixes and blocks that this host leases of the fleet's address space |
//! | [`parent`] | which interface of this host a parent means |
//! | [`datapath`] | parents and one ipvlan link a container |
//! | [`host`] | who this host is and how it is reached |
//! | [`host_access`] | the devices by which this host reaches its own containers |
//! | [`publisher`] | keeps this host's own record in the store |
//! | [`fleet`] | follows the store, and remembers the last good snapshot on disk |
//! | [`record`] | what one host tells the others |
//! | [`nudge`] | tells the other hosts at once what this one has published, and hears from them and from webhooks |
//! | [`names`] | names of containers across hosts, answered by DNS |
//! | [`policy`] | which of the fleet's prefixes are believed |
//! | [`plan`] | from wanted and installed routes to changes |
//! | [`syncer`] | makes the kernel's routes so |
//! | [`kernel`] | links, addresses and routes behind a trait |
//! | [`status`] | what the daemon tells about itself |
//! | `stored` | what `ipvland store` does with the records of stores |
//! | [`durable`] | files that survive a crash |
//! | [`persistent`] | a sorted map whose clones share what they have in common |
//!
//! # The seam
//!
//! Nothing here knows a store by name: this crate depends on the contract, `ipvland-store`, and on the registry of the
//! built-in stores, whose crates it can't see.
//!
//! ```compile_fail
//! use ipvland_store_git::GitStore;
//! ```

#![forbid(unsafe_code)]

pub mod cli;
mod client;
pub mod config;
mod daemon;
pub mod datapath;
pub mod driver;
pub mod durable;
pub mod fleet;
pub mod host;
pub mod host_access;
pub mod ipam;
pub mod kernel;
pub mod lease;
mod logging;
pub mod names;
pub mod network;
pub mod nudge;
pub mod parent;
pub mod persistent;
pub mod plan;
pub mod policy;
pub mod publisher;
pub mod record;
mod secret;
pub mod status;
mod stored;
pub mod syncer;
