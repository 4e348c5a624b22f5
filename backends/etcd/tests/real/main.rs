//! The store against real clusters of etcd.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod certificates;
mod compaction;
mod failover;
mod hands;
mod host;
mod login;
mod scale;
mod settings;
