//! What each store is held against: plain use of what it is made of, which keeps no contract.

mod etcd;
mod etcd_route;
mod files;
mod get;
mod git;
mod plain;
pub(crate) mod stock;

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use etcd::BareEtcd;
pub(crate) use etcd_route::EtcdRoute;
pub(crate) use files::Files;
pub(crate) use get::Get;
pub(crate) use git::GitProgram;
pub(crate) use plain::PlainStore;

/// Plain use of a server.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Says what [`Self::read`] is.
    fn reads(&self) -> &'static str;
    /// Says what [`Self::write`] is.
    fn writes(&self) -> &'static str;
    /// Says what [`Self::tell`] is.
    fn tells(&self) -> &'static str;
    /// Reads every record, and returns how long that took.
    async fn read(&self) -> Duration;
    /// Writes one record, and returns how long that took.
    async fn write(&self, round: usize) -> Duration;
    /// Writes one record, and returns how long it took until another saw it.
    async fn tell(&self, round: usize) -> Duration;
}
