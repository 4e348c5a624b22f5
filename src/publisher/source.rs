//! Where claims come from: the config file, the book of networks, and how the host is reached.

use ipnet::IpNet;
use tokio::sync::watch;

use super::Claims;
use crate::{
    host::{Identity, Reach},
    network::Networks,
};

/// What this host's claims are put together from. Clones see changes each by itself.
#[derive(Debug, Clone)]
pub struct ClaimSource {
    /// Who the host is.
    pub identity: Identity,
    /// The prefixes that the config file gives it.
    pub subnets: Vec<IpNet>,
    /// Its Docker networks.
    pub networks: watch::Receiver<Networks>,
    /// How it is reached.
    pub reach: watch::Receiver<Option<Reach>>,
}

impl ClaimSource {
    /// Returns what is to be published now, or `None` while the host has no address.
    pub fn claims(&self) -> Option<Claims> {
        let reach = self.reach.borrow();
        let reach = reach.as_ref()?;
        Some(Claims::new(&self.identity, reach, &self.subnets, &self.networks.borrow()))
    }

    /// Waits for a change; for ever once nothing can change any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.networks.changed() => {}
            Ok(()) = self.reach.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// Waits until something other than `claims` is to be published.
    pub(super) async fn differs_from(&mut self, claims: &Claims) {
        while self.claims().as_ref() == Some(claims) {
            self.changed().await;
        }
    }
}
