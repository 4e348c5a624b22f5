//! Blocks: what this host leases of subnets that hosts share.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
};

use ipnet::IpNet;

use super::{
    Inner, Pool,
    neighbours::Hosts,
    space::{Span, common, merge},
    state::State,
};
use crate::lease::{Kind, Wish};

impl Inner {
    pub(super) fn hosts(&self) -> Arc<Hosts> {
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner).look()
    }

    /// Waits until nobody else leases for a pool.
    pub(super) async fn leasing(&self, pool: &Pool) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.leasing.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(pool.net).or_default())
        };
        turn.lock_owned().await
    }

    /// Returns where this host may give addresses of a part of a pool by itself, sorted.
    pub(super) fn spans(&self, pool: &Pool, part: IpNet, state: &State, hosts: &Hosts) -> Vec<Span> {
        if self.is_own(pool.net, &self.book.networks()) {
            return vec![Span::from(part)];
        }
        let held = self.leases.held();
        let blocks = held.iter().filter(|(_, kind)| **kind == Kind::Block).map(|(net, _)| *net);
        // What another host has by right as well is given to nobody new.
        let usable =
            blocks.filter(|block| !state.returning.contains(block) && hosts.contender(*block).is_none());
        merge(usable.filter_map(|block| common(block, part)).map(Span::from).collect())
    }

    /// Leases one more block of a pool, one that holds an address where one is named.
    pub(super) async fn lease_block(&self, pool: &Pool, holds: Option<IpAddr>) -> Result<IpNet, String> {
        let subnet = if holds.is_some() { pool.net } else { pool.dynamic() };
        let length = self.config.block_length_in(subnet);
        let reserved = self.barred(pool, &self.hosts());
        let block =
            self.leases.lease(Wish::Block { subnet, length, holds, reserved }, self.times.patience).await?;
        tracing::info!(%block, "this host gives the addresses of {block} from now on");
        Ok(block)
    }
}
