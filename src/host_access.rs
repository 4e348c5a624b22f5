//! The host reaches its own containers, and they it, for networks that ask for it.
//!
//! ipvlan never lets a parent talk to the links on it, but those links talk to each other. So each parent that has such a
//! network gets one more ipvlan link, which stays in the host's namespace, and each container a route of its own by that
//! link: longer than any subnet's, so it wins. The routes are the [`syncer`](crate::syncer)'s to write, as all others;
//! here is what they are, and the device below them.
//!
//! The device has no address where it can do without, and never the host's main one: packets from the wire would then
//! arrive by it. What containers send to the main address needs no device. In L3 ipvlan finds that the address is local;
//! in L2 the device answers for it by ARP, and the frame goes to the parent. Two things are the device's own business
//! in L2:
//!
//! - A container's answer to an ARP request names the main address, so it reaches the parent and not the device. The
//!   device therefore has a permanent neighbour for each IPv4 container; all links of a parent have its MAC.
//! - A kernel answers for an IPv6 address only on the link that has it. So the device gets an address in the network's
//!   subnet ([`own_address`]).
//!
//! # Layout
//! - `device`: one parent's device, made, mended and removed
//! - `source`: which address containers see, and whether they can answer to it

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    kernel::{ALIAS_PREFIX, Address, Kernel, Link, LinkIndex, ROUTE_PROTOCOL, Route},
    network::{Network, Networks},
    plan,
    status::HostAccessStatus,
};

mod device;
mod source;

pub use source::own_address;

/// The beginning of the alias of our devices, followed by the name of the parent.
const ALIAS: &str = "host:";

/// The beginning of the names of our devices.
const NAME_PREFIX: &str = "ipvh-";

/// The longest name of a parent that fits behind [`NAME_PREFIX`] into the 15 bytes that Linux allows.
const LONGEST_PARENT: usize = 10;

/// What a pass over the devices found: what the routes to containers ought to be, and how each network is.
#[derive(Debug, Default)]
pub struct Access {
    /// Our devices.
    pub devices: BTreeSet<LinkIndex>,
    /// The routes that are wanted, each with Docker's id of its network.
    pub routes: Vec<(String, Route)>,
    /// How each network is that has host access.
    pub networks: Vec<HostAccessStatus>,
}

/// Tells whether a link is a device of this module's making.
pub fn is_device(link: &Link) -> bool {
    parent_of(link).is_some()
}

/// Tells whether a route is one to a container by one of our devices.
pub fn is_route(route: &Route, devices: &BTreeSet<LinkIndex>) -> bool {
    route.protocol == ROUTE_PROTOCOL && route.link.is_some_and(|link| devices.contains(&link))
}

/// Returns the name of the device on a parent: `ipvh-eth2`, or with a hash in place of a name that is too long.
pub fn device_name(parent: &str) -> String {
    if parent.len() <= LONGEST_PARENT {
        return format!("{NAME_PREFIX}{parent}");
    }
    let hash = source::hash(&[parent.as_bytes()]) & 0xff_ffff_ffff;
    format!("{NAME_PREFIX}{hash:010x}")
}

fn alias(parent: &str) -> String {
    format!("{ALIAS_PREFIX}{ALIAS}{parent}")
}

/// Returns the name of the parent that a device of ours was made for.
fn parent_of(link: &Link) -> Option<&str> {
    link.alias.strip_prefix(ALIAS_PREFIX)?.strip_prefix(ALIAS)
}

/// Makes the devices what the networks want, and tells which routes by them are wanted.
///
/// `links` and `addresses` are the kernel's; `links` is brought up to date where a device was made or removed. `machine` is
/// the stable id of this host. What can't be is told in [`Access::networks`], and left to the next pass.
pub async fn settle(
    kernel: &dyn Kernel,
    machine: &str,
    networks: &Networks,
    links: &mut Vec<Link>,
    addresses: &[Address],
) -> Access {
    let mut parents: BTreeMap<&str, Vec<&Network>> = BTreeMap::new();
    for network in networks.values().filter(|network| network.host_access.is_some()) {
        parents.entry(&network.parent).or_default().push(network);
    }
    device::remove_unwanted(kernel, links, |parent| parents.contains_key(parent)).await;
    let mut access = Access::default();
    for (parent, wanting) in parents {
        if wanting.iter().any(|network| network.made_parent) && !links.iter().any(|link| link.name == parent)
        {
            access.networks.extend(wanting.iter().map(|network| waiting(network)));
            continue;
        }
        let all = networks.values().filter(|network| network.parent == parent);
        match device::on_parent(kernel, parent, all, links).await {
            Ok((device, trouble)) => {
                let place = Place::new(kernel, parent, device, links, addresses).await;
                place.fill(kernel, machine, &wanting, addresses, trouble, &mut access).await;
            }
            Err(why) => access.networks.extend(wanting.iter().map(|network| failed(network, &why))),
        }
    }
    // Also those that could not be removed or mended: their routes are ours to remove.
    access.devices = links.iter().filter(|link| is_device(link)).map(|link| link.index).collect();
    access
}

fn status(network: &Network) -> HostAccessStatus {
    HostAccessStatus {
        id: network.short_id().to_owned(),
        network: network.name.clone(),
        device: None,
        sources: Vec::new(),
        state: "reached".to_owned(),
        reason: None,
    }
}

fn failed(network: &Network, why: &str) -> HostAccessStatus {
    HostAccessStatus { state: "failed".to_owned(), reason: Some(why.to_owned()), ..status(network) }
}

/// Says how a network is whose parent is of our making and not there: after a reboot it comes with the first container.
fn waiting(network: &Network) -> HostAccessStatus {
    let reason = format!("the parent interface {} comes with the first container", network.parent);
    HostAccessStatus { state: "waiting".to_owned(), reason: Some(reason), ..status(network) }
}

/// A device, and what has to be known of its parent.
struct Place<'a> {
    device: Link,
    surroundings: source::Surroundings<'a>,
}

impl<'a> Place<'a> {
    async fn new(
        kernel: &dyn Kernel,
        parent: &'a str,
        device: Link,
        links: &[Link],
        addresses: &'a [Address],
    ) -> Self {
        let on_parent = |address: &&Address| {
            let link = links.iter().find(|link| link.index == address.link);
            address.global && link.is_some_and(|link| link.name == parent)
        };
        let main = addresses.iter().filter(on_parent).map(|address| address.net.addr()).collect();
        let filters = source::Filters::look(kernel, parent, &device.name).await;
        Self { device, surroundings: source::Surroundings { parent, main, filters } }
    }

    /// Gives the device its addresses and neighbours, and adds the routes of its networks.
    async fn fill(
        &self,
        kernel: &dyn Kernel,
        machine: &str,
        networks: &[&Network],
        addresses: &[Address],
        trouble: Option<String>,
        access: &mut Access,
    ) {
        let sources: Vec<_> =
            networks.iter().map(|network| source::sources(network, machine, &self.surroundings)).collect();
        let own: BTreeSet<IpAddr> = sources
            .iter()
            .flatten()
            .filter(|source| source.own)
            .filter_map(|source| source.address)
            .collect();
        let addressed = device::set_addresses(kernel, &self.device, &own, addresses).await;
        let neighboured = device::set_neighbours(kernel, &self.device, networks).await;
        let trouble: Vec<String> =
            trouble.into_iter().chain([addressed, neighboured].into_iter().filter_map(Result::err)).collect();
        for (network, sources) in networks.iter().zip(&sources) {
            let mut status = HostAccessStatus {
                device: Some(self.device.name.clone()),
                sources: sources.iter().filter_map(|source| source.address).collect(),
                ..status(network)
            };
            let unanswered = sources.iter().filter_map(|source| source.unanswered.clone());
            let bad: Vec<String> = trouble.iter().cloned().chain(unanswered).collect();
            let notes: Vec<String> = sources.iter().filter_map(|source| source.note.clone()).collect();
            if !bad.is_empty() {
                status.state = "failed".to_owned();
            }
            let reasons = if bad.is_empty() { notes } else { bad };
            status.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
            access.networks.push(status);
            let routes = self.routes(network, sources);
            access.routes.extend(routes.map(|route| (network.id.clone(), route)));
        }
    }

    fn routes(&self, network: &Network, sources: &[source::Source]) -> impl Iterator<Item = Route> {
        let addresses = network.endpoints.values().flat_map(|endpoint| &endpoint.addresses);
        addresses.map(|address| {
            let prefix = address.addr().into();
            let source = sources.iter().find(|source| source.pool.contains(&address.addr()));
            Route {
                prefix,
                gateway: None,
                link: Some(self.device.index),
                protocol: ROUTE_PROTOCOL,
                metric: plan::metric(prefix),
                source: source.and_then(|source| source.address),
                // What is longer than the container's link takes is dropped there without a word.
                mtu: network.mtu.filter(|mtu| *mtu < self.device.mtu),
            }
        })
    }
}

#[cfg(test)]
mod tests;
