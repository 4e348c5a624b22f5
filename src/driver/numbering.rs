//! Names of interfaces inside containers, as far as a driver chooses them.
//!
//! Docker numbers the interfaces of a container: `eth0`, `eth1`. When it starts anew and its containers live
//! (`live-restore`), it remembers the interfaces of those that have a gateway, and before 28 no others (moby,
//! `restoreOslSandbox`): a network that such a container is connected to next would be `eth0` once more, which fails with
//! "file exists". Its driver may choose what stands before the number, so later ones are `eth10`, `eth11`, and after yet
//! another start `eth20`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{Inner, Refusal, refusal::Deadline, wire::EndpointOnly};
use crate::{
    kernel::Mode,
    network::{Endpoint, Network, Networks},
};

/// The beginning of the names that Docker numbers inside a container.
const PREFIX: &str = "eth";

impl Inner {
    /// Tells Docker what we implement. It asks once, when it starts: the endpoints that are in containers are then such as
    /// it restored.
    pub(super) async fn activate(&self, deadline: Deadline) -> Result<Value, Refusal> {
        let networks = self.book.networks();
        let in_containers = |network: &&Network| {
            network.endpoints.values().any(|endpoint| endpoint.sandbox.is_some() && !endpoint.restored)
        };
        for network in networks.values().filter(in_containers) {
            let marked = deadline.wait("the disk", self.book.mark_restored(&network.id)).await;
            match marked.and_then(|marked| Ok(marked?)) {
                Ok(()) => debug!(network = network.name, "Docker started anew"),
                // Without the driver none of its networks would work.
                Err(refusal) => warn!(
                    network = network.name,
                    "containers of network {} can't be connected to a further network before they are restarted: {refusal}",
                    network.name
                ),
            }
        }
        Ok(json!({"Implements": ["NetworkDriver", "IpamDriver"]}))
    }
}

/// Returns what stands before the number in the name of a joining endpoint's interface.
pub(super) fn prefix(networks: &Networks, asked: &EndpointOnly, wished: Option<&str>) -> String {
    // Docker 28 gives interfaces the names that were wished for. Earlier ones number all, the first of a kind with 0.
    if let Some(stem) = wished.and_then(|name| name.strip_suffix('0')).filter(|stem| is_stem(stem)) {
        return stem.to_owned();
    }
    let mut used = BTreeSet::new();
    for network in networks.values() {
        for (id, endpoint) in &network.endpoints {
            let beside = *id != asked.endpoint && endpoint.sandbox.as_deref() == Some(asked.sandbox.as_str());
            if !beside || !endpoint.restored || asked.sandbox.is_empty() {
                continue;
            }
            if has_gateway(network, endpoint) {
                return PREFIX.to_owned();
            }
            used.insert(endpoint.prefix.clone().unwrap_or_else(|| PREFIX.to_owned()));
        }
    }
    if used.is_empty() {
        return PREFIX.to_owned();
    }
    // There are fewer names in use than numbers.
    let mut free = (1..=used.len() + 1).map(|number| format!("{PREFIX}{number}"));
    free.find(|prefix| !used.contains(prefix)).unwrap_or_else(|| PREFIX.to_owned())
}

/// Tells whether a wished name without its number is one that Docker numbers from 0 in this container.
fn is_stem(stem: &str) -> bool {
    !stem.is_empty() && stem != PREFIX && !stem.ends_with(|last: char| last.is_ascii_digit())
}

/// Tells whether an endpoint gave its container an IPv4 gateway, by which Docker knows all of the container's interfaces.
fn has_gateway(network: &Network, endpoint: &Endpoint) -> bool {
    let v4 = |subnet: &&crate::network::Subnet| subnet.gateway.is_some_and(|gateway| gateway.is_ipv4());
    let inside = |pool: ipnet::IpNet| endpoint.addresses.iter().any(|address| pool.contains(&address.addr()));
    network.mode == Mode::L2
        && !network.internal
        && network.subnets.iter().filter(v4).any(|subnet| inside(subnet.pool))
}
