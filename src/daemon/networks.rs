//! What the status tells of this host's networks.

use std::collections::BTreeSet;

use crate::{
    network::Network,
    publisher::{ClaimSource, is_published, list},
    status::{Board, NetworkStatus},
};

/// Keeps the status of this host's networks and of its address.
pub(super) async fn tell(mut source: ClaimSource, board: Board) {
    loop {
        let networks = source.networks.borrow_and_update().clone();
        let address = source.reach.borrow_and_update().as_ref().map(|reach| reach.address);
        let interface = source.identity.interface.as_deref();
        board.update(|status| {
            status.host.address = address;
            status.networks = networks.values().map(|network| status_of(network, interface)).collect();
        });
        source.changed().await;
    }
}

/// Says what the status tells of a network.
fn status_of(network: &Network, interface: Option<&str>) -> NetworkStatus {
    NetworkStatus {
        id: network.short_id().to_owned(),
        name: network.name.clone(),
        mode: network.mode.to_string(),
        parent: network.parent.clone(),
        subnets: network.pools().collect(),
        endpoints: network.endpoints.len(),
        published: is_published(network, interface),
        notes: notes(network),
    }
}

/// Says what a user of a network may have expected otherwise.
fn notes(network: &Network) -> Vec<String> {
    let with_ports: Vec<_> =
        network.endpoints.values().filter(|endpoint| !endpoint.ports.is_empty()).collect();
    let ports: BTreeSet<_> = with_ports.iter().flat_map(|endpoint| &endpoint.ports).collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let ports: Vec<String> = ports.into_iter().cloned().collect();
    vec![format!(
        "{} of its endpoints publish ports ({}), which has no effect: containers are reached at their own addresses, on \
         every port, and Docker's firewall does not stand before them",
        with_ports.len(),
        list(&ports)
    )]
}
