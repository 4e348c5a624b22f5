//! Netlink's bytes (`linux/netlink.h`, `linux/rtnetlink.h`), as far as routes and events need them: no I/O.
//!
//! Numbers are in the host's order, addresses in the network's; messages and attributes begin at multiples of four.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::kernel::{Route, RouteOp};

/// `NLMSG_ERROR`: an error, or an acknowledgement where its number is 0.
pub(in crate::kernel) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(in crate::kernel) const DONE: u16 = 3;
/// `NLMSG_OVERRUN`: messages were lost.
pub(in crate::kernel) const OVERRUN: u16 = 4;
/// `RTM_NEWLINK`.
pub(in crate::kernel) const NEW_LINK: u16 = 16;
/// `RTM_DELLINK`.
pub(in crate::kernel) const DEL_LINK: u16 = 17;
/// `RTM_NEWADDR`.
pub(in crate::kernel) const NEW_ADDRESS: u16 = 20;
/// `RTM_DELADDR`.
pub(in crate::kernel) const DEL_ADDRESS: u16 = 21;
/// `RTM_NEWROUTE`.
pub(in crate::kernel) const NEW_ROUTE: u16 = 24;
/// `RTM_DELROUTE`.
pub(in crate::kernel) const DEL_ROUTE: u16 = 25;
/// `RTM_GETROUTE`.
pub(in crate::kernel) const GET_ROUTE: u16 = 26;

/// `NLM_F_REQUEST`.
pub(in crate::kernel) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: success is answered too.
pub(in crate::kernel) const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
pub(in crate::kernel) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_REPLACE`.
pub(in crate::kernel) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(in crate::kernel) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(in crate::kernel) const CREATE: u16 = 0x400;
/// `NLM_F_DUMP`.
pub(in crate::kernel) const DUMP: u16 = 0x300;
/// `NLM_F_CAPPED`, of an error: only the header of the request comes back with it.
pub(in crate::kernel) const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`, of an error: attributes follow.
pub(in crate::kernel) const ATTRIBUTES: u16 = 0x200;

/// `AF_INET`.
pub(in crate::kernel) const INET: u8 = 2;
/// `AF_INET6`.
pub(in crate::kernel) const INET6: u8 = 10;

/// `RT_TABLE_MAIN`.
pub(in crate::kernel) const MAIN_TABLE: u8 = 254;
/// `RT_SCOPE_UNIVERSE`: beyond the link.
const UNIVERSE: u8 = 0;
/// `RT_SCOPE_LINK`: on the link.
const LINK: u8 = 253;
/// `RT_SCOPE_NOWHERE`: of any scope, in a removal.
const NOWHERE: u8 = 255;
/// `RTN_UNICAST`.
pub(in crate::kernel) const UNICAST: u8 = 1;

/// `RTA_DST`.
pub(in crate::kernel) const DESTINATION: u16 = 1;
/// `RTA_OIF`.
pub(in crate::kernel) const OUT_LINK: u16 = 4;
/// `RTA_GATEWAY`.
pub(in crate::kernel) const GATEWAY: u16 = 5;
/// `RTA_PRIORITY`.
pub(in crate::kernel) const PRIORITY: u16 = 6;
/// `RTA_PREFSRC`.
pub(in crate::kernel) const SOURCE: u16 = 7;
/// `RTA_METRICS`, a nest of `RTAX_…`.
pub(in crate::kernel) const METRICS: u16 = 8;
/// `RTA_TABLE`, which has room for more tables than the header.
pub(in crate::kernel) const TABLE: u16 = 15;
/// `RTA_VIA`: a next hop of another family than the route's.
pub(in crate::kernel) const VIA: u16 = 18;
/// `RTAX_MTU`.
pub(in crate::kernel) const MTU: u16 = 2;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// The length of `struct nlmsghdr`.
pub(in crate::kernel) const HEADER: usize = 16;
/// The length of the longest change of a route: IPv6 with a gateway, a source and an MTU.
pub(super) const LONGEST_CHANGE: usize = HEADER + 12 + 3 * 20 + 2 * 8 + 12;
/// The length of a change of an IPv4 route with a gateway, a link and a metric.
pub(super) const USUAL_CHANGE: usize = HEADER + 12 + 4 * 8;

/// Appends a change of a route that is answered only where it fails; [`ask_for_answer`] changes that.
///
/// The kernel takes what is missing in a removal for "any", so all that [`Route`] has is written: prefix, gateway, link,
/// protocol and metric, and what else tells it from others.
pub(super) fn put_change(buffer: &mut Vec<u8>, op: &RouteOp, sequence: u32) {
    let (kind, flags, remove) = match op {
        RouteOp::Add(_) => (NEW_ROUTE, REQUEST | CREATE | EXCLUSIVE, false),
        RouteOp::Replace(_) => (NEW_ROUTE, REQUEST | CREATE | REPLACE, false),
        RouteOp::Remove(_) => (DEL_ROUTE, REQUEST, true),
    };
    let begin = put_header(buffer, kind, flags, sequence);
    put_route(buffer, op.route(), remove);
    close(buffer, begin);
}

fn put_route(buffer: &mut Vec<u8>, route: &Route, remove: bool) {
    let scope = match route.gateway {
        _ if remove => NOWHERE,
        Some(_) => UNIVERSE,
        None => LINK,
    };
    let family = if matches!(route.prefix, IpNet::V4(_)) { INET } else { INET6 };
    let length = route.prefix.prefix_len();
    buffer.extend([family, length, 0, 0, MAIN_TABLE, route.protocol, scope, UNICAST, 0, 0, 0, 0]);
    put_address(buffer, DESTINATION, route.prefix.network());
    match (route.gateway, route.prefix) {
        (Some(IpAddr::V6(hop)), IpNet::V4(_)) => {
            put_attribute_header(buffer, VIA, 2 + 16);
            buffer.extend(u16::from(INET6).to_ne_bytes());
            buffer.extend(hop.octets());
            buffer.extend([0; 2]);
        }
        (Some(hop), _) => put_address(buffer, GATEWAY, hop),
        (None, _) => {}
    }
    if let Some(link) = route.link {
        put_number(buffer, OUT_LINK, link);
    }
    put_number(buffer, PRIORITY, route.metric);
    if let Some(source) = route.source {
        put_address(buffer, SOURCE, source);
    }
    if let Some(mtu) = route.mtu {
        put_attribute_header(buffer, METRICS | NESTED, 8);
        put_number(buffer, MTU, mtu);
    }
}

/// Appends the question for all routes of the main table of a family.
pub(super) fn put_dump(buffer: &mut Vec<u8>, family: u8, sequence: u32) {
    let begin = put_header(buffer, GET_ROUTE, REQUEST | DUMP, sequence);
    buffer.extend([family, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0, 0, 0, 0]);
    close(buffer, begin);
}

/// Makes the message that begins somewhere in a buffer be answered also where it succeeds.
pub(super) fn ask_for_answer(buffer: &mut [u8], begin: usize) {
    if let Some(flags) = buffer.get_mut(begin + 6..).and_then(|rest| rest.first_chunk_mut()) {
        *flags = (u16::from_ne_bytes(*flags) | ACK).to_ne_bytes();
    }
}

/// Appends `struct nlmsghdr` and returns where it begins; [`close`] fills in the length.
fn put_header(buffer: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) -> usize {
    let begin = buffer.len();
    let (kind, flags, sequence) = (kind.to_ne_bytes(), flags.to_ne_bytes(), sequence.to_ne_bytes());
    let [k0, k1] = kind;
    let [f0, f1] = flags;
    let [s0, s1, s2, s3] = sequence;
    buffer.extend([0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, 0, 0, 0, 0]);
    begin
}

fn close(buffer: &mut [u8], begin: usize) {
    // No message of ours is longer than `LONGEST_CHANGE`.
    let length = u32::try_from(buffer.len() - begin).unwrap_or_default();
    if let Some(place) = buffer.get_mut(begin..).and_then(|rest| rest.first_chunk_mut()) {
        *place = length.to_ne_bytes();
    }
}

fn put_attribute_header(buffer: &mut Vec<u8>, kind: u16, payload: u16) {
    buffer.extend((4 + payload).to_ne_bytes());
    buffer.extend(kind.to_ne_bytes());
}

fn put_number(buffer: &mut Vec<u8>, kind: u16, number: u32) {
    put_attribute_header(buffer, kind, 4);
    buffer.extend(number.to_ne_bytes());
}

fn put_address(buffer: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            put_attribute_header(buffer, kind, 4);
            buffer.extend(address.octets());
        }
        IpAddr::V6(address) => {
            put_attribute_header(buffer, kind, 16);
            buffer.extend(address.octets());
        }
    }
}
