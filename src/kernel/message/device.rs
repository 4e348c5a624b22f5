//! Messages about what a link of our own in the host's namespace has: addresses and neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use crate::kernel::{LinkIndex, Neighbour};

/// Writes an address that is usable at once and brings no route along.
pub(in crate::kernel) fn write_address(link: LinkIndex, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    let header = &mut message.header;
    header.family = family(net.addr());
    header.prefix_len = net.prefix_len();
    header.index = link;
    header.scope = AddressScope::Universe;
    // IPv4 takes the local one; IPv6 takes either, if they are the same.
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    message
}

/// Writes the question for the IPv4 neighbours on a link.
pub(in crate::kernel) fn neighbours_on(link: LinkIndex) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    // A strictly checked dump takes the link from the attribute, and refuses one in the header.
    message.attributes.push(NeighbourAttribute::IfIndex(link));
    message
}

/// Reads a neighbour; one that isn't permanent is none.
pub(in crate::kernel) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    (message.header.state == NeighbourState::Permanent).then_some(())?;
    Some(Neighbour { link: message.header.ifindex, address: address?, mac: mac? })
}

/// Writes a permanent neighbour.
pub(in crate::kernel) fn write_neighbour(neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(neighbour.address);
    message.header.ifindex = neighbour.link;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(neighbour.address.into()));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()));
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_reads_back_and_a_learned_one_is_none() {
        let wanted = Neighbour { link: 7, address: "10.1.1.200".parse().unwrap(), mac: [2, 0, 10, 1, 1, 48] };
        let mut message = write_neighbour(&wanted);
        assert_eq!(neighbour(&message), Some(wanted));
        message.header.state = NeighbourState::Reachable;
        assert_eq!(neighbour(&message), None);
    }
}
