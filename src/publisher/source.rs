//! Where claims come from: the config file, the leases, the book of networks, and how the host is reached.

use ipnet::IpNet;
use tokio::sync::watch;

use super::Claims;
use crate::{
    fleet::Index,
    host::{Identity, Reach},
    lease::{Held, Leases, Wishes},
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
    /// What it leases.
    pub held: watch::Receiver<Held>,
    /// What it wishes to lease.
    pub wishes: watch::Receiver<Wishes>,
    /// Where the answers to the wishes go.
    pub leases: Leases,
    /// What the fleet holds, to check claims against.
    pub fleet: Index,
}

impl ClaimSource {
    /// Puts the sources together; `subnets` are the prefixes that the config file gives the host.
    pub fn new(
        identity: Identity,
        subnets: Vec<IpNet>,
        networks: watch::Receiver<Networks>,
        reach: watch::Receiver<Option<Reach>>,
        leases: Leases,
    ) -> Self {
        let (held, wishes) = (leases.subscribe(), leases.wishes());
        let fleet = Index::new(&identity.id);
        Self { identity, subnets, networks, reach, held, wishes, leases, fleet }
    }

    /// Returns what is to be published now, or `None` while the host has no address.
    pub fn claims(&self) -> Option<Claims> {
        let reach = self.reach.borrow();
        let reach = reach.as_ref()?;
        Some(Claims::new(&self.identity, reach, &self.subnets, &self.held.borrow(), &self.networks.borrow()))
    }

    /// Waits for a change; for ever once nothing can change any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.networks.changed() => {}
            Ok(()) = self.reach.changed() => {}
            Ok(()) = self.held.changed() => {}
            Ok(()) = self.wishes.changed() => {}
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
