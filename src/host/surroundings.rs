//! Watches how this host is reached, and what its interfaces are.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use ipvland_store::Key;
use tokio::{sync::watch, time::Instant};

use super::{Identity, Reach, reach};
use crate::{
    config::HostConfig,
    kernel::{Kernel, KernelEvent},
    policy::Local,
    record::Record,
    syncer,
};

/// How long a changed address must stand before the others are told: an interface that flaps, or an IPv6 address that is
/// still being checked for duplicates, is no move.
const SETTLE: Duration = Duration::from_secs(3);

/// How long events are gathered.
const GATHER: Duration = Duration::from_millis(100);

/// How often to look without an event.
const INTERVAL: Duration = Duration::from_secs(30);

/// The watch on this host's interfaces.
pub struct Surroundings {
    config: HostConfig,
    identity: Identity,
    kernel: Arc<dyn Kernel>,
    reach: watch::Sender<Option<Reach>>,
    local: watch::Sender<Local>,
    own: watch::Sender<Option<Key>>,
    /// How the host is reached now, and since when, where that is not yet told.
    changed: Option<(Reach, Instant)>,
}

impl Surroundings {
    /// Looks at the interfaces for the first time.
    ///
    /// # Errors
    /// A sentence when the kernel can't be asked.
    pub async fn look(
        config: HostConfig,
        identity: Identity,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Self, String> {
        let (reach, local, own) =
            (watch::Sender::new(None), watch::Sender::new(Local::default()), watch::Sender::new(None));
        let mut surroundings = Self { config, identity, kernel, reach, local, own, changed: None };
        surroundings.refresh().await?;
        if surroundings.reach.borrow().is_none() {
            let interface = surroundings.identity.interface.as_deref().unwrap_or("none");
            tracing::warn!(
                interface,
                "the parent interface has no address, so nothing is published until it has one"
            );
        }
        Ok(surroundings)
    }

    /// Returns how this host is reached; once known, the last known way while the interface has no address.
    pub fn reach(&self) -> watch::Receiver<Option<Reach>> {
        self.reach.subscribe()
    }

    /// Returns what the policy has to know of this host.
    pub fn local(&self) -> watch::Receiver<Local> {
        self.local.subscribe()
    }

    /// Returns the key of this host's own record.
    pub fn own(&self) -> watch::Receiver<Option<Key>> {
        self.own.subscribe()
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        let mut events = self.kernel.events();
        loop {
            let pause = self.changed.as_ref().map_or(INTERVAL, |(_, since)| {
                (*since + SETTLE).saturating_duration_since(Instant::now()) + Duration::from_millis(1)
            });
            tokio::select! {
                event = events.next() => match event {
                    Some(KernelEvent::Route) => continue,
                    Some(_) => tokio::time::sleep(GATHER).await,
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!("the interfaces can't be looked at: {error}");
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), String> {
        let found = reach(&self.config, self.identity.interface.as_deref(), self.kernel.as_ref()).await?;
        if let Some(found) = self.believe(found) {
            tracing::info!(address = %found.address, "this host is reached at {}", found.address);
            self.own.send_replace(Some(Record::key(found.address)));
            self.reach.send_replace(Some(found));
        }
        let links = self.kernel.links().await.map_err(|error| error.to_string())?;
        let addresses = self.kernel.addresses().await.map_err(|error| error.to_string())?;
        let interface = self.identity.interface.as_deref();
        let local = syncer::local(&links, &addresses, interface, self.own.borrow().clone());
        self.local.send_if_modified(|before| {
            let changed = *before != local;
            *before = local;
            changed
        });
        Ok(())
    }

    /// Returns what was found if it is news that the others are to be told.
    fn believe(&mut self, found: Option<Reach>) -> Option<Reach> {
        let told = self.reach.borrow().clone();
        let Some(found) = found.filter(|found| told.as_ref() != Some(found)) else {
            self.changed = None;
            return None;
        };
        if told.is_none() {
            return Some(found);
        }
        match &self.changed {
            Some((before, since)) if *before == found => {
                if since.elapsed() < SETTLE {
                    return None;
                }
                self.changed = None;
                Some(found)
            }
            _ => {
                self.changed = Some((found, Instant::now()));
                None
            }
        }
    }
}
