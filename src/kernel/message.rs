//! Netlink messages to and from [`Link`] and [`Address`]: no I/O.

use ipnet::IpNet;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{
        InfoData, InfoIpVlan, InfoKind, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
};

pub(super) mod device;

use super::{Address, Flag, Link, LinkIndex, LinkKind, Mode, NewLink};

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

#[cfg(test)]
mod tests {
    use super::*;

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
