//! CreateNetwork, DeleteNetwork and GwAllocCheck.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::{
    Announcement, Inner, Refusal, host_access, options,
    refusal::Deadline,
    wire::{CreateNetwork, GwAllocCheck, NetworkOnly, check_id},
};
use crate::{
    datapath::dummy_name,
    kernel::Mode,
    network::{Network, Networks, short_id},
};

/// How long taking back a half-made network may take; the answer is late already then.
const UNDO: Duration = Duration::from_secs(3);

impl Inner {
    /// Makes a network: the parent, the entry in the book, the record in the store; all of it or nothing.
    pub(super) async fn create_network(
        &self,
        request: CreateNetwork,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        let mut network = options::network(&request, &self.settings)?;
        let _turn = self.turn(&network.id, &deadline).await?;
        let find = self.links.find_parent(&network.parent);
        network.parent = deadline.wait("the kernel to list its interfaces", find).await??;
        if let Some(known) = self.book.networks().get(&network.id) {
            same(known, &network)?;
            debug!(network = network.name, "network {} is there already", network.name);
            return Ok(json!({}));
        }
        self.ipam.check_mode(&network)?;
        if network.is_published() {
            let pools: Vec<_> = network.pools().collect();
            let check = self.announce.check(&pools);
            deadline.wait("the records of the other hosts", check).await?.map_err(Refusal)?;
        }
        if let Err(refusal) = self.register(&mut network, &deadline).await {
            info!(network = network.name, "network {} is not made: {refusal}", network.name);
            return Err(refusal);
        }
        if network.is_published() {
            self.publish(&network, &deadline).await?;
        }
        if self.settings.interface.is_none() && network.parent == dummy_name(&network.id) {
            warn!(
                network = network.name,
                "network {} has no parent, so its containers reach each other alone: give one with `-o parent=eth2`, or \
                 for all networks with `interface` in the table [host] of the configuration",
                network.name
            );
        }
        info!(
            network = network.name,
            parent = network.parent,
            mode = ?network.mode,
            subnets = ?network.pools().collect::<Vec<_>>(),
            "made network {}",
            network.name
        );
        Ok(json!({}))
    }

    /// Removes a network, what is left of its endpoints, and the parent where that was made for it.
    pub(super) async fn delete_network(
        &self,
        request: NetworkOnly,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        let id = request.network;
        check_id("network", &id)?;
        let _turn = self.turn(&id, &deadline).await?;
        let networks = self.book.networks();
        let Some(network) = networks.get(&id) else {
            warn!(
                network = short_id(&id),
                "asked to remove network {}, which is unknown here",
                short_id(&id)
            );
            return Ok(json!({}));
        };
        for endpoint in network.endpoints.keys() {
            self.remove_link(endpoint, &deadline).await.unwrap_or_else(|refusal| {
                // Links of ours that the book does not know go when the datapath tidies up; Docker must not be stuck here.
                warn!(
                    network = network.name,
                    endpoint, "the link of a left endpoint stays for now: {refusal}"
                );
            });
        }
        let _registering = deadline.wait("the making of another network", self.registering.lock()).await?;
        deadline.wait("the disk", self.book.remove(&id)).await??;
        self.ipam.network_gone(network).await;
        info!(network = network.name, "removed network {}", network.name);
        if network.made_parent && !has_parent(&self.book.networks(), &network.parent) {
            let release = self.links.release_parent(&network.parent);
            let waited = format!("the kernel to remove {}", network.parent);
            if let Err(refusal) = deadline.wait(&waited, release).await.and_then(|released| released) {
                // The network is gone for Docker and for the fleet; a spare VLAN or dummy harms nobody.
                warn!(parent = network.parent, "the parent {} stays: {refusal}", network.parent);
            }
        }
        Ok(json!({}))
    }

    /// Tells Docker 28 and later whether to leave the first address of each pool to containers.
    pub(super) fn gateway_check(&self, request: &GwAllocCheck) -> Result<Value, Refusal> {
        let wish = options::read(&request.options)?;
        let none =
            wish.is_internal(&self.settings) || wish.mode.unwrap_or(self.settings.defaults.mode) != Mode::L2;
        Ok(json!({"SkipIPv4": none, "SkipIPv6": none}))
    }

    /// Brings up the parent and enters the network in the book, if nothing of this host stands against it.
    async fn register(&self, network: &mut Network, deadline: &Deadline) -> Result<(), Refusal> {
        let _registering = deadline.wait("the making of another network", self.registering.lock()).await?;
        let networks = self.book.networks();
        find_conflict(network, &networks)?;
        let parent = network.parent.clone();
        let prepare = self.links.prepare_parent(network, &networks);
        let prepared = deadline.wait(&format!("the kernel to bring up {parent}"), prepare).await;
        let entered = match prepared.and_then(|made| made) {
            Ok(made) => {
                network.made_parent = made || networks.values().any(|n| n.parent == parent && n.made_parent);
                let entered = deadline.wait("the disk", self.book.insert(network.clone())).await;
                entered.and_then(|entered| Ok(entered?))
            }
            Err(refusal) => Err(refusal),
        };
        if entered.is_err() {
            self.undo(network).await;
        }
        entered
    }

    /// Tells the fleet of a network that is in the book, and takes it back where the fleet says no.
    async fn publish(&self, network: &Network, deadline: &Deadline) -> Result<(), Refusal> {
        let patience = self.settings.patience;
        let told = deadline.wait("the store", self.announce.announce(patience)).await;
        match told.unwrap_or_else(|late| Announcement::Pending(late.to_string())) {
            Announcement::Published | Announcement::Nothing => Ok(()),
            Announcement::Pending(reason) => {
                warn!(
                    network = network.name,
                    "network {} works on this host, and the others do not know of it yet: {reason}",
                    network.name
                );
                Ok(())
            }
            Announcement::Refused(reason) => {
                // The network is ours alone until the answer is out, but others may be at the book and the parent.
                let _registering = self.registering.lock().await;
                self.undo(network).await;
                info!(network = network.name, "network {} is not made: {reason}", network.name);
                Err(Refusal(reason))
            }
        }
    }

    /// Takes back what there may be of a network that is not to be. What fails is logged: the first "no" is the one to tell.
    async fn undo(&self, network: &Network) {
        let undone = async {
            if let Err(error) = self.book.remove(&network.id).await {
                warn!(network = network.name, "a network that was refused stays in the book: {error}");
            }
            if !has_parent(&self.book.networks(), &network.parent)
                && let Err(refusal) = self.links.release_parent(&network.parent).await
            {
                warn!(parent = network.parent, "the parent of a network that was refused stays: {refusal}");
            }
        };
        if tokio::time::timeout(UNDO, undone).await.is_err() {
            warn!(
                network = network.name,
                "taking back network {} takes too long; it is left as it is", network.name
            );
        }
    }
}

fn has_parent(networks: &Networks, parent: &str) -> bool {
    networks.values().any(|network| network.parent == parent)
}

/// Says which network of this host stands against a new one.
fn find_conflict(new: &Network, networks: &Networks) -> Result<(), Refusal> {
    for known in networks.values() {
        let label = label(known);
        if known.parent == new.parent && known.mode != new.mode {
            return Err(Refusal(format!(
                "parent {} is in mode {}, which {label} uses; one parent has one mode: give `-o ipvlan_mode={}`, or \
                 another parent",
                new.parent, known.mode, known.mode,
            )));
        }
        if let Some(refusal) = host_access::conflict(new, known, &label) {
            return Err(refusal);
        }
        if known.name == new.name {
            return Err(Refusal(format!(
                "{label} has the name {} already: give another `ipvland.name`",
                new.name
            )));
        }
        for (ours, theirs) in new.pools().flat_map(|ours| known.pools().map(move |theirs| (ours, theirs))) {
            if ours.contains(&theirs) || theirs.contains(&ours) {
                return Err(Refusal(format!(
                    "subnet {ours} overlaps {theirs} of {label} on this host: give another --subnet"
                )));
            }
        }
    }
    Ok(())
}

/// Says what differs between a network and a second CreateNetwork with its id.
fn same(known: &Network, asked: &Network) -> Result<(), Refusal> {
    let made_parent = known.made_parent;
    let asked = Network { endpoints: known.endpoints.clone(), made_parent, ..asked.clone() };
    if *known == asked {
        return Ok(());
    }
    let pools: Vec<_> = known.pools().map(|pool| pool.to_string()).collect();
    Err(Refusal(format!(
        "{} is there already and differs: parent {}, mode {}, subnet {}; remove it first with `docker network rm`",
        label(known),
        known.parent,
        known.mode,
        pools.join(", "),
    )))
}

fn label(network: &Network) -> String {
    if network.name == network.short_id() {
        format!("network {}", network.name)
    } else {
        format!("network {} ({})", network.name, network.short_id())
    }
}
