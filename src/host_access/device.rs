//! One parent's device: made, mended and removed.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{alias, device_name, parent_of};
use crate::{
    datapath,
    kernel::{Address, Flag, Kernel, Link, LinkKind, Mode, Neighbour, NeighbourOp, NewLink},
    network::Network,
};

/// Removes our devices on parents for which none is wanted.
pub(super) async fn remove_unwanted(
    kernel: &dyn Kernel,
    links: &mut Vec<Link>,
    wanted: impl Fn(&str) -> bool,
) {
    let unwanted: Vec<Link> =
        links.iter().filter(|link| parent_of(link).is_some_and(|parent| !wanted(parent))).cloned().collect();
    for link in unwanted {
        match kernel.delete_link(link.index).await {
            Ok(()) => {
                tracing::info!(device = %link.name, "the host's device is removed with its last network");
                links.retain(|other| other.index != link.index);
            }
            Err(error) => tracing::warn!(device = %link.name, %error, "the host's device stays for now"),
        }
    }
}

/// Returns the device on a parent that has `networks`, made where it is missing, and anew where it is another; and what is
/// wrong with one that works all the same.
///
/// # Errors
/// A sentence about what stands against it.
pub(super) async fn on_parent<'a>(
    kernel: &dyn Kernel,
    parent: &str,
    networks: impl Iterator<Item = &'a Network>,
    links: &mut Vec<Link>,
) -> Result<(Link, Option<String>), String> {
    let mut mode = None;
    for network in networks {
        if network.flag != Flag::Bridge {
            // A parent has one flag, so a device with `bridge` would take theirs away.
            return Err(format!(
                "the network {} has ipvlan_flag={} on {parent}, and a parent has one flag: make it on another parent, or \
                 the networks of this one without ipvland.host_access",
                network.name,
                network.flag.as_str()
            ));
        }
        mode = Some(network.mode);
    }
    let below = links.iter().find(|link| link.name == parent).cloned();
    let (Some(below), Some(mode)) = (below, mode) else {
        return Err(format!("the parent interface {parent} is missing"));
    };
    if let Some(old) = find(parent, &below, links)? {
        if old.kind == LinkKind::Ipvlan(mode, Flag::Bridge)
            && old.parent == Some(below.index)
            && old.alias == alias(parent)
        {
            return match prepare(kernel, &old, mode).await {
                // What was raised before is of use: its routes stay.
                Err(why) if old.up => Ok((old, Some(why))),
                Err(why) => Err(why),
                Ok(()) => Ok((old, None)),
            };
        }
        kernel.delete_link(old.index).await.map_err(|error| error.to_string())?;
        links.retain(|link| link.index != old.index);
        tracing::info!(device = %old.name, parent, "the host's device is another than wanted, and made anew");
    }
    datapath::check_parent(&below, mode, None, links).map_err(|error| error.to_string())?;
    let new = NewLink::Ipvlan { parent: below.index, mode, flag: Flag::Bridge, mtu: None };
    let name = device_name(parent);
    let index = kernel.add_link(&name, &alias(parent), new).await.map_err(|error| error.to_string())?;
    *links = kernel.links().await.map_err(|error| error.to_string())?;
    let device = links.iter().find(|link| link.index == index).cloned();
    let device = device.ok_or_else(|| format!("the device {name} went as soon as it was made"))?;
    prepare(kernel, &device, mode).await?;
    tracing::info!(device = %name, parent, "the host reaches its containers by a device of its own");
    Ok((device, None))
}

/// Finds our device for a parent, also one that we died over before it was marked.
fn find(parent: &str, below: &Link, links: &[Link]) -> Result<Option<Link>, String> {
    if let Some(ours) = links.iter().find(|link| parent_of(link) == Some(parent)) {
        return Ok(Some(ours.clone()));
    }
    let name = device_name(parent);
    let Some(link) = links.iter().find(|link| link.name == name) else { return Ok(None) };
    // Ours is raised only after it is marked; an operator's would be up.
    let unfinished = link.alias.is_empty()
        && !link.up
        && link.parent == Some(below.index)
        && matches!(link.kind, LinkKind::Ipvlan(..));
    if unfinished {
        return Ok(Some(link.clone()));
    }
    Err(format!(
        "the interface {name} exists and is not ours; remove it with `ip link delete {name}` or rename it"
    ))
}

/// Makes the device ready and raises it.
///
/// In L2 it hears the segment's routers, and the kernel would follow them: a second default route, by a device that is
/// none of the wire's. It is not raised before that is off.
async fn prepare(kernel: &dyn Kernel, device: &Link, mode: Mode) -> Result<(), String> {
    let path = format!("ipv6/conf/{}/accept_ra", device.name);
    if mode == Mode::L2 && !matches!(kernel.setting(&path).await, Some(0) | None) {
        kernel.set_setting(&path, 0).await.map_err(|error| error.to_string())?;
    }
    if !device.up {
        kernel.raise(device.index).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Gives the device exactly these addresses. What somebody else put there with the length of a subnet stays.
pub(super) async fn set_addresses(
    kernel: &dyn Kernel,
    device: &Link,
    wanted: &BTreeSet<IpAddr>,
    addresses: &[Address],
) -> Result<(), String> {
    let has: BTreeSet<IpAddr> = addresses
        .iter()
        .filter(|address| address.link == device.index && is_ours(address.net))
        .map(|address| address.net.addr())
        .collect();
    let mut result = Ok(());
    for address in has.difference(wanted) {
        let gone = kernel.delete_address(device.index, (*address).into()).await;
        result = result.and(gone);
    }
    for address in wanted.difference(&has) {
        let put = kernel.add_address(device.index, (*address).into()).await;
        result = result.and(put);
    }
    result.map_err(|error| error.to_string())
}

fn is_ours(net: IpNet) -> bool {
    let link_local = match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    };
    net.prefix_len() == net.max_prefix_len() && !link_local
}

/// Gives the device the IPv4 containers of its L2 networks as neighbours, and no others.
pub(super) async fn set_neighbours(
    kernel: &dyn Kernel,
    device: &Link,
    networks: &[&Network],
) -> Result<(), String> {
    let (true, Some(mac)) = (device.kind == LinkKind::Ipvlan(Mode::L2, Flag::Bridge), device.mac) else {
        return Ok(());
    };
    let endpoints = networks.iter().flat_map(|network| network.endpoints.values());
    let wanted: BTreeSet<Neighbour> = endpoints
        .flat_map(|endpoint| &endpoint.addresses)
        .filter(|net| net.addr().is_ipv4())
        .map(|net| Neighbour { link: device.index, address: net.addr(), mac })
        .collect();
    let has = kernel.neighbours(device.index).await.map_err(|error| error.to_string())?;
    let has: BTreeSet<Neighbour> = has.into_iter().collect();
    let kept: BTreeSet<IpAddr> = wanted.iter().map(|neighbour| neighbour.address).collect();
    let gone = has.iter().filter(|old| !kept.contains(&old.address)).copied().map(NeighbourOp::Remove);
    let ops: Vec<_> = gone.chain(wanted.difference(&has).copied().map(NeighbourOp::Put)).collect();
    for result in kernel.change_neighbours(&ops).await {
        result.map_err(|error| error.to_string())?;
    }
    Ok(())
}
