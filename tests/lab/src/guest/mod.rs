//! What runs inside, on the kernel that has ipvlan, and the words that scenarios are written in.
//!
//! # Layout
//!
//! - [`init`]: process 1: makes the root filesystem writable, loads modules, starts the scenario, ends the kernel;
//! - [`lab`]: the wire between the hosts, and the scenario's begin and end;
//! - [`host`], [`hold`]: a host: namespaces, an address, commands on it, power cut and reboot;
//! - [`docker`], [`daemon`], [`git_server`]: what runs on a host;
//! - [`stores`]: every kind of store, as a scenario that works on all of them wants it;
//! - `tests`: programs of tests that run on a host;
//! - [`fleet`]: all of that together, as most scenarios want it;
//! - [`ping`]: a ping that goes on while things break;
//! - [`kernel_state`]: a host's routes and links as the kernel has them;
//! - [`wait`]: waiting for a condition, never for a time;
//! - [`report`]: what is told, to a person or into a log.

pub(crate) mod daemon;
pub(crate) mod docker;
pub(crate) mod fleet;
pub(crate) mod git_server;
pub(crate) mod hold;
pub(crate) mod host;
pub(crate) mod init;
pub(crate) mod kernel_state;
pub(crate) mod lab;
pub(crate) mod ping;
pub(crate) mod report;
pub(crate) mod stores;
mod tests;
pub(crate) mod wait;

pub(crate) use report::Telling;
