//! Netlink messages to and from [`Link`], [`Address`] and [`Route`]: no I/O.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{
        InfoData, InfoIpVlan, InfoKind, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
        RouteType, RouteVia,
    },
};

pub(super) mod device;

use super::{Address, Flag, Link, LinkIndex, LinkKind, Mode, NewLink, Route};

/// Reads a link.
pub(super) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        parent: None,
        alias: String::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mac: None,
    };
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(parent) => link.parent = Some(*parent),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
            _ => {}
        }
    }
    // IFLA_LINK counts in the namespace of IFLA_LINK_NETNSID, where the same number is another link. A veth tells its
    // peer there, which it doesn't sit on.
    if elsewhere || link.parent == Some(0) || link.kind == LinkKind::Other("veth".into()) {
        link.parent = None;
    }
    link
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    match (kind, data) {
        (Some(InfoKind::IpVlan), Some(InfoData::IpVlan(data))) => ipvlan(data),
        (Some(InfoKind::IpVtap), Some(InfoData::IpVtap(_)) | None) => LinkKind::Other("ipvtap".into()),
        (Some(InfoKind::MacVlan | InfoKind::MacVtap), _) => LinkKind::Macvlan,
        (Some(InfoKind::Vlan), Some(InfoData::Vlan(data))) => LinkKind::Vlan(
            data.iter()
                .find_map(|info| match info {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                })
                .unwrap_or_default(),
        ),
        (Some(InfoKind::Dummy), _) => LinkKind::Dummy,
        (Some(other), _) => LinkKind::Other(other.to_string()),
        (None, _) => LinkKind::Other(String::new()),
    }
}

fn ipvlan(data: &[InfoIpVlan]) -> LinkKind {
    let (mut mode, mut flag) = (Mode::L3, Flag::Bridge);
    for info in data {
        match info {
            InfoIpVlan::Mode(IpVlanMode::L2) => mode = Mode::L2,
            InfoIpVlan::Mode(IpVlanMode::L3S) => mode = Mode::L3s,
            InfoIpVlan::Flags(flags) if flags.contains(IpVlanFlags::Private) => flag = Flag::Private,
            InfoIpVlan::Flags(flags) if flags.contains(IpVlanFlags::Vepa) => flag = Flag::Vepa,
            _ => {}
        }
    }
    LinkKind::Ipvlan(mode, flag)
}

/// Writes a link to be made.
pub(super) fn new_link(name: &str, new: &NewLink) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let info = match *new {
        NewLink::Ipvlan { parent, mode, flag, mtu } => {
            message.attributes.push(LinkAttribute::Link(parent));
            message.attributes.extend(mtu.map(LinkAttribute::Mtu));
            let mode = match mode {
                Mode::L2 => IpVlanMode::L2,
                Mode::L3 => IpVlanMode::L3,
                Mode::L3s => IpVlanMode::L3S,
            };
            let flags = match flag {
                Flag::Bridge => IpVlanFlags::empty(),
                Flag::Private => IpVlanFlags::Private,
                Flag::Vepa => IpVlanFlags::Vepa,
            };
            let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)]);
            vec![LinkInfo::Kind(InfoKind::IpVlan), LinkInfo::Data(data)]
        }
        NewLink::Vlan { parent, id } => {
            message.attributes.push(LinkAttribute::Link(parent));
            vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)]))]
        }
        NewLink::Dummy { mtu } => {
            message.attributes.extend(mtu.map(LinkAttribute::Mtu));
            vec![LinkInfo::Kind(InfoKind::Dummy)]
        }
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

/// Writes the question for a link by its name.
pub(super) fn link_by_name(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// Writes a link by its index, for removal.
pub(super) fn link_by_index(index: LinkIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// Writes the alias of a link, and raises the link if asked to.
pub(super) fn set_alias(index: LinkIndex, alias: &str, raise: bool) -> LinkMessage {
    let mut message = link_by_index(index);
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    if raise {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message
}

/// Raises a link.
pub(super) fn raise(index: LinkIndex) -> LinkMessage {
    let mut message = link_by_index(index);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// Reads an address; one that isn't IPv4 or IPv6 is none.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let usable =
        !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated);
    Some(Address {
        link: message.header.index,
        net: IpNet::new(local.or(other)?, message.header.prefix_len).ok()?,
        global: usable && message.header.scope == AddressScope::Universe,
    })
}

/// Writes the question for all routes of the main table of a family.
pub(super) fn all_routes(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message
}

/// Reads a route; one of another table or another sort is none.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let v6 = header.address_family == AddressFamily::Inet6;
    let unspecified = if v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) };
    let mut table = u32::from(header.table);
    let (mut prefix, mut gateway, mut link, mut metric) = (unspecified, None, None, 0);
    let (mut source, mut mtu) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => prefix = ip(to)?,
            RouteAttribute::Gateway(hop) => gateway = ip(hop),
            RouteAttribute::Via(RouteVia::Inet6(hop)) => gateway = Some(IpAddr::V6(*hop)),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    match header.kind {
        RouteType::Unicast => {}
        // These win over a route of ours as any other would; IPv6 says that they leave by `lo`.
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => (gateway, link) = (None, None),
        _ => return None,
    }
    (table == u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(())?;
    Some(Route {
        prefix: IpNet::new(prefix, header.destination_prefix_length).ok()?,
        gateway,
        link,
        protocol: header.protocol.into(),
        metric,
        source,
        mtu,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// Writes a route, of any scope where it is to be removed.
///
/// The kernel takes what is missing in a removal for "any", so all that [`Route`] has is written: prefix, gateway, link,
/// protocol and metric, and what else tells it from others.
pub(super) fn write_route(route: &Route, remove: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = match route.prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    header.destination_prefix_length = route.prefix.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::from(route.protocol);
    header.kind = RouteType::Unicast;
    header.scope = match route.gateway {
        _ if remove => RouteScope::NoWhere,
        Some(_) => RouteScope::Universe,
        None => RouteScope::Link,
    };
    message.attributes.push(RouteAttribute::Destination(route.prefix.network().into()));
    match (route.gateway, route.prefix) {
        (Some(IpAddr::V6(hop)), IpNet::V4(_)) => {
            message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(hop)))
        }
        (Some(hop), _) => message.attributes.push(RouteAttribute::Gateway(hop.into())),
        (None, _) => {}
    }
    message.attributes.extend(route.link.map(RouteAttribute::Oif));
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message.attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back_as_it_was_written() {
        for (prefix, hop) in [
            ("10.1.51.0/24", "10.1.1.51"),
            ("2001:db8:51::/64", "2001:db8:1::51"),
            ("10.9.0.0/16", "fe80::1"),
        ] {
            let wanted = Route {
                prefix: prefix.parse().unwrap(),
                gateway: Some(hop.parse().unwrap()),
                link: Some(7),
                protocol: crate::kernel::ROUTE_PROTOCOL,
                metric: 4711,
                source: None,
                mtu: None,
            };
            assert_eq!(route(&write_route(&wanted, false)), Some(wanted));
        }
    }

    #[test]
    fn a_route_to_a_neighbour_keeps_its_source_and_mtu() {
        for (prefix, source) in [("10.1.48.7/32", "10.1.1.48"), ("2001:db8:48::7/128", "2001:db8:48::5e:1")] {
            let wanted = Route {
                prefix: prefix.parse().unwrap(),
                gateway: None,
                link: Some(7),
                protocol: crate::kernel::ROUTE_PROTOCOL,
                metric: 4711,
                source: Some(source.parse().unwrap()),
                mtu: Some(1400),
            };
            assert_eq!(route(&write_route(&wanted, false)), Some(wanted.clone()));
            assert_eq!(write_route(&wanted, false).header.scope, RouteScope::Link);
        }
    }

    #[test]
    fn the_parent_in_another_namespace_is_not_taken_for_one_here() {
        let mut message = new_link("eth0", &NewLink::Vlan { parent: 3, id: 20 });
        assert_eq!(link(&message).parent, Some(3));
        assert_eq!(link(&message).kind, LinkKind::Vlan(20));
        message.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(link(&message).parent, None);
    }

    #[test]
    fn modes_and_flags_read_back_as_they_were_written() {
        for mode in [Mode::L2, Mode::L3, Mode::L3s] {
            for flag in [Flag::Bridge, Flag::Private, Flag::Vepa] {
                let message = new_link("x", &NewLink::Ipvlan { parent: 3, mode, flag, mtu: Some(1400) });
                let read = link(&message);
                assert_eq!((read.kind, read.mtu), (LinkKind::Ipvlan(mode, flag), 1400));
            }
        }
    }

    #[test]
    fn tentative_and_deprecated_addresses_are_not_global() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 64;
        message.attributes.push(AddressAttribute::Address("2001:db8::1".parse().unwrap()));
        assert!(address(&message).unwrap().global);
        for flag in [AddressFlags::Tentative, AddressFlags::Dadfailed, AddressFlags::Deprecated] {
            let mut bad = message.clone();
            bad.attributes.push(AddressAttribute::Flags(flag | AddressFlags::Permanent));
            assert!(!address(&bad).unwrap().global, "{flag:?}");
        }
    }
}
