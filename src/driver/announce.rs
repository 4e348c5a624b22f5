//! What the driver asks of the publisher: whether a network's prefixes can be this host's, and to tell the fleet.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use ipnet::IpNet;

/// What became of this host's record in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// The store holds what the book says.
    Published,
    /// There is nothing to publish.
    Nothing,
    /// The store did not take it in time, and why; it will be tried again without being asked.
    Pending(String),
    /// It can't be published, and why: another host has the prefix, or the store forbids it.
    Refused(String),
}

/// The publisher, as the driver sees it.
///
/// # Contract
/// The publisher follows the book of networks by itself; these calls only ask it about that.
#[async_trait]
pub trait Announce: fmt::Debug + Send + Sync + 'static {
    /// Says why prefixes can't be this host's: one lower-case sentence. It judges by the last known records, at once.
    async fn check(&self, prefixes: &[IpNet]) -> Result<(), String>;

    /// Waits, but no longer than `patience`, until the store holds what the book of networks says now.
    async fn announce(&self, patience: Duration) -> Announcement;
}
