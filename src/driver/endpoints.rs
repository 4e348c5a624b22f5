//! CreateEndpoint, DeleteEndpoint, EndpointOperInfo, Join and Leave.
//!
//! When a container stops, Docker moves its link back into the host's namespace under its old name. It does so after Leave
//! in some versions and before it in others, so both Leave and DeleteEndpoint look for the link and remove it.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use ipnet::IpNet;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::{
    Inner, Refusal, numbering, ports,
    refusal::Deadline,
    wire::{CONNECTED, CreateEndpoint, EndpointOnly, InterfaceName, Joined, StaticRoute, check_id},
};
use crate::{
    kernel::Mode,
    network::{Endpoint, Network, Networks, short_id},
};

/// The wished name of the interface inside the container (Docker 28 and later).
const IFNAME: &str = "com.docker.network.endpoint.ifname";

impl Inner {
    /// Enters an endpoint in the book. Its link is made at Join, when it is known to be wanted.
    pub(super) async fn create_endpoint(
        &self,
        asked: CreateEndpoint,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        check_id("endpoint", &asked.endpoint)?;
        let _turn = self.turn(&asked.network, &deadline).await?;
        let network = self.network(&asked.network)?;
        let endpoint = endpoint(&asked, &network)?;
        match network.endpoints.get(&asked.endpoint) {
            Some(known) if known.apart() == endpoint => {
                return Ok(json!({"Interface": {}}));
            }
            Some(_) => {
                return Err(Refusal(format!(
                    "endpoint {} is there already with other addresses: `docker network disconnect` it first",
                    short_id(&asked.endpoint)
                )));
            }
            None => {}
        }
        self.drop_stale(&network, &endpoint, &deadline).await?;
        deadline.wait("the disk", self.ipam.admit(&network, &endpoint.addresses)).await??;
        if !endpoint.ports.is_empty() {
            let addresses: Vec<_> = endpoint.addresses.iter().map(|net| net.addr().to_string()).collect();
            let sentence = ports::warning(&endpoint.ports, &addresses);
            warn!(network = network.name, endpoint = short_id(&asked.endpoint), "{sentence}");
        }
        info!(
            network = network.name,
            endpoint = short_id(&asked.endpoint),
            addresses = ?endpoint.addresses,
            "endpoint added"
        );
        let addresses = endpoint.addresses.clone();
        let enter = self.book.insert_endpoint(&network.id, &asked.endpoint, endpoint);
        deadline.wait("the disk", enter).await??;
        self.ipam.touch(&addresses);
        // Docker has set the addresses, and an answer with any of them is an error to it.
        Ok(json!({"Interface": {}}))
    }

    /// Removes an endpoint and its link, also one that Docker has left inside the container.
    pub(super) async fn delete_endpoint(
        &self,
        asked: EndpointOnly,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        check_id("endpoint", &asked.endpoint)?;
        let _turn = self.turn(&asked.network, &deadline).await?;
        self.remove_link(&asked.endpoint, &deadline).await?;
        let networks = self.book.networks();
        let known = networks.get(&asked.network).and_then(|network| network.endpoints.get(&asked.endpoint));
        if let Some(endpoint) = known {
            // Docker gives the addresses back next, and must find them as they are: they wait for it from now on.
            self.ipam.touch(&endpoint.addresses);
            self.remove_inside(&asked.endpoint, endpoint, &deadline).await;
        }
        let forget = self.book.remove_endpoint(&asked.network, &asked.endpoint);
        deadline.wait("the disk", forget).await??;
        info!(network = short_id(&asked.network), endpoint = short_id(&asked.endpoint), "endpoint removed");
        Ok(json!({}))
    }

    /// Tells what `docker network inspect` and support people may want to know.
    pub(super) fn endpoint_info(&self, asked: &EndpointOnly) -> Result<Value, Refusal> {
        let network = self.network(&asked.network)?;
        let endpoint = known_endpoint(&network, &asked.endpoint)?;
        Ok(json!({"Value": {
            "ipvland.parent": network.parent,
            "ipvland.mode": network.mode,
            "ipvland.network": network.name,
            "ipvland.addresses": endpoint.addresses,
        }}))
    }

    /// Makes the link of an endpoint and tells Docker how to set it up inside the container.
    pub(super) async fn join(&self, asked: EndpointOnly, deadline: Deadline) -> Result<Value, Refusal> {
        check_id("endpoint", &asked.endpoint)?;
        let _turn = self.turn(&asked.network, &deadline).await?;
        let network = self.network(&asked.network)?;
        let endpoint = known_endpoint(&network, &asked.endpoint)?;
        let add = self.links.add(&asked.endpoint, &network);
        let link = deadline.wait(&format!("the kernel to make a link on {}", network.parent), add).await??;
        debug!(network = network.name, endpoint = short_id(&asked.endpoint), link, "endpoint joins");
        let networks = self.book.networks();
        let prefix = numbering::prefix(&networks, &asked, endpoint.ifname.as_deref());
        let mut joined = joined(&network, endpoint, link, prefix);
        if !asked.sandbox.is_empty() {
            // A second default route is one too many for Docker, which then can't start the container.
            let taken = default_routes(&networks, &asked);
            joined.routes.retain(|route| !taken.contains(route.destination));
            let routes = joined.routes.iter().map(|route| route.destination.to_owned()).collect();
            let endpoint = Endpoint {
                sandbox: Some(asked.sandbox.clone()),
                routes,
                prefix: Some(joined.interface.prefix.clone()),
                ..endpoint.apart()
            };
            let enter = self.book.insert_endpoint(&network.id, &asked.endpoint, endpoint);
            deadline.wait("the disk", enter).await??;
        }
        serde_json::to_value(joined).map_err(|error| Refusal(error.to_string()))
    }

    /// Removes the link of an endpoint, where Docker has given it back already.
    pub(super) async fn leave(&self, asked: EndpointOnly, deadline: Deadline) -> Result<Value, Refusal> {
        check_id("endpoint", &asked.endpoint)?;
        let _turn = self.turn(&asked.network, &deadline).await?;
        self.remove_link(&asked.endpoint, &deadline).await?;
        let networks = self.book.networks();
        let known = networks.get(&asked.network).and_then(|network| network.endpoints.get(&asked.endpoint));
        if let Some(endpoint) = known.filter(|endpoint| endpoint.sandbox.is_some()) {
            self.ipam.touch(&endpoint.addresses);
            let endpoint = Endpoint { left: endpoint.sandbox.clone(), ..endpoint.apart() };
            let enter = self.book.insert_endpoint(&asked.network, &asked.endpoint, endpoint);
            deadline.wait("the disk", enter).await??;
        }
        debug!(network = short_id(&asked.network), endpoint = short_id(&asked.endpoint), "endpoint left");
        Ok(json!({}))
    }

    pub(super) async fn remove_link(&self, endpoint: &str, deadline: &Deadline) -> Result<(), Refusal> {
        let waited = format!("the kernel to remove the link of endpoint {}", short_id(endpoint));
        deadline.wait(&waited, self.links.remove(endpoint)).await?
    }

    /// Removes the link of an endpoint that left a container in which Docker did not see it any more.
    ///
    /// The container may be gone, and Docker must not be stuck: what fails is told, and no more.
    async fn remove_inside(&self, id: &str, endpoint: &Endpoint, deadline: &Deadline) {
        let Some(namespace) = endpoint.left.as_ref().or(endpoint.sandbox.as_ref()) else { return };
        let remove = self.links.remove_inside(id, Path::new(namespace));
        let removed = deadline.wait("the kernel to look into the container", remove).await;
        if let Err(refusal) = removed.and_then(|removed| removed) {
            warn!(
                endpoint = short_id(id),
                "the interface of an endpoint may still be in its container, which a restart of that ends: {refusal}"
            );
        }
    }

    /// Forgets endpoints that hold an address of a new one: Docker gives each address once, so they are gone for it.
    async fn drop_stale(
        &self,
        network: &Network,
        new: &Endpoint,
        deadline: &Deadline,
    ) -> Result<(), Refusal> {
        let holds = |old: &Endpoint| {
            old.addresses.iter().any(|old| new.addresses.iter().any(|new| new.addr() == old.addr()))
        };
        for (id, old) in network.endpoints.iter().filter(|(_, old)| holds(old)) {
            self.ipam.check_gone(network, id, old).await?;
            warn!(
                network = network.name,
                endpoint = short_id(id),
                "Docker gave an address anew whose old endpoint it never removed: it is removed now"
            );
            self.remove_link(id, deadline).await?;
            self.remove_inside(id, old, deadline).await;
            deadline.wait("the disk", self.book.remove_endpoint(&network.id, id)).await??;
        }
        Ok(())
    }

    fn network(&self, id: &str) -> Result<Network, Refusal> {
        self.book.networks().get(id).cloned().ok_or_else(|| {
            Refusal(format!(
                "network {} is unknown to ipvland, as its file in {} is lost: make it anew with `docker network rm` and \
                 `docker network create -d ipvland`",
                short_id(id),
                self.book.dir().display()
            ))
        })
    }
}

fn known_endpoint<'a>(network: &'a Network, id: &str) -> Result<&'a Endpoint, Refusal> {
    network.endpoints.get(id).ok_or_else(|| {
        Refusal(format!(
            "endpoint {} of network {} is unknown to ipvland: connect the container anew with `docker network \
             disconnect --force` and `docker network connect`",
            short_id(id),
            network.name
        ))
    })
}

/// Reads the addresses of a CreateEndpoint and judges them.
fn endpoint(asked: &CreateEndpoint, network: &Network) -> Result<Endpoint, Refusal> {
    if !asked.interface.mac.is_empty() {
        return Err(Refusal(format!(
            "MAC address {} can't be given: ipvlan containers share the MAC of parent {}; leave out --mac-address",
            asked.interface.mac, network.parent
        )));
    }
    let mut addresses = Vec::new();
    for text in [&asked.interface.address, &asked.interface.address_ipv6] {
        if text.is_empty() {
            continue;
        }
        let address: IpNet =
            text.parse().map_err(|_| Refusal(format!("{text:?} is not an address such as 10.1.48.2/24")))?;
        if subnet_gateway(network, address.addr()).is_none() {
            let pools: Vec<_> = network.pools().map(|pool| pool.to_string()).collect();
            return Err(Refusal(format!(
                "address {} is outside of network {} ({})",
                address.addr(),
                network.name,
                pools.join(", ")
            )));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(Refusal(format!(
            "Docker gave the endpoint no address: make network {} with Docker's own address management",
            network.name
        )));
    }
    let ifname = asked.options.get(IFNAME).and_then(Value::as_str).filter(|name| !name.is_empty());
    Ok(Endpoint {
        ports: ports::published(&asked.options),
        ..Endpoint::new(addresses, ifname.map(str::to_owned))
    })
}

/// Returns the gateway of the subnet that holds an address; the outer `None` where no subnet does.
fn subnet_gateway(network: &Network, address: IpAddr) -> Option<Option<IpAddr>> {
    network.subnets.iter().find(|subnet| subnet.pool.contains(&address)).map(|subnet| subnet.gateway)
}

/// Returns the default routes that a container has by its other endpoints of ours.
fn default_routes(networks: &Networks, asked: &EndpointOnly) -> BTreeSet<String> {
    let endpoints = networks.values().flat_map(|network| &network.endpoints);
    let others = endpoints.filter(|(id, endpoint)| {
        **id != asked.endpoint && endpoint.sandbox.as_deref() == Some(asked.sandbox.as_str())
    });
    others.flat_map(|(_, endpoint)| endpoint.routes.iter().cloned()).collect()
}

fn default_route(address: &IpNet) -> &'static str {
    if address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }
}

fn joined(network: &Network, endpoint: &Endpoint, link: String, prefix: String) -> Joined {
    let mut joined = Joined {
        interface: InterfaceName { source: link, prefix, name: endpoint.ifname.clone() },
        gateway: None,
        gateway_ipv6: None,
        routes: Vec::new(),
        disable_gateway_service: true,
    };
    for address in endpoint.addresses.iter().filter(|_| !network.internal) {
        if network.mode != Mode::L2 {
            joined.routes.push(StaticRoute { destination: default_route(address), kind: CONNECTED });
            continue;
        }
        match subnet_gateway(network, address.addr()).flatten() {
            Some(gateway @ IpAddr::V4(_)) => joined.gateway = Some(gateway.to_string()),
            Some(gateway @ IpAddr::V6(_)) => joined.gateway_ipv6 = Some(gateway.to_string()),
            None => {}
        }
    }
    joined
}
