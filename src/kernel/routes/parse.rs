//! Reads netlink's bytes where they lie: a dump of 100,000 routes builds no tree of messages. No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::wire::{self, INET, INET6};
use crate::kernel::Route;

/// A netlink message in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernel) struct Message<'a> {
    /// What it is (`nlmsg_type`).
    pub(in crate::kernel) kind: u16,
    /// What else there is to say of it (`nlmsg_flags`).
    pub(in crate::kernel) flags: u16,
    /// Which request it answers (`nlmsg_seq`).
    pub(in crate::kernel) sequence: u32,
    /// The port of the socket that asked (`nlmsg_pid`); 0 where nobody did.
    pub(in crate::kernel) port: u32,
    /// What follows the header.
    pub(in crate::kernel) payload: &'a [u8],
}

/// Returns the messages of a datagram; what is cut off at its end is none.
pub(in crate::kernel) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<{ wire::HEADER }>()?;
        let length = usize::try_from(number(header, 0)?).ok()?;
        let payload = rest.get(wire::HEADER..length)?;
        let (kind, flags) = (short(header, 4)?, short(header, 6)?);
        let (sequence, port) = (number(header, 8)?, number(header, 12)?);
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, port, payload })
    })
}

/// Returns the attributes in some bytes, each with its kind and without its flags.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let kind = short(rest, 2)? & 0x3fff;
        let payload = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))),
        16 => bytes.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets))),
        _ => None,
    }
}

/// What an error message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The error number, positive; 0 for an acknowledgement.
    pub(super) errno: i32,
    /// The kernel's words, where it has some (`NLMSGERR_ATTR_MSG`).
    pub(super) words: Option<String>,
}

/// Reads an [`wire::ERROR`].
pub(super) fn verdict(message: &Message<'_>) -> Option<Verdict> {
    let errno = number(message.payload, 0)?.cast_signed().saturating_abs();
    let mut words = None;
    if errno != 0 && message.flags & wire::ATTRIBUTES != 0 {
        // The request comes back, or its header alone.
        let echoed = match message.flags & wire::CAPPED {
            0 => aligned(usize::try_from(number(message.payload, 4)?).ok()?),
            _ => wire::HEADER,
        };
        /// `NLMSGERR_ATTR_MSG`.
        const WORDS: u16 = 1;
        let told = attributes(message.payload.get(4 + echoed..).unwrap_or_default());
        words = told.into_iter().find(|(kind, _)| *kind == WORDS).map(|(_, text)| {
            let text = text.strip_suffix(&[0]).unwrap_or(text);
            String::from_utf8_lossy(text).trim().trim_end_matches('.').to_owned()
        });
    }
    Some(Verdict { errno, words: words.filter(|words| !words.is_empty()) })
}

/// Reads the error number in the end of a dump, positive; 0 where it went well.
pub(super) fn dump_errno(message: &Message<'_>) -> i32 {
    number(message.payload, 0).map_or(0, |number| number.cast_signed().min(0).saturating_abs())
}

/// Reads a route; one of another table or another sort is none.
pub(super) fn route(payload: &[u8]) -> Option<Route> {
    /// `RTN_BLACKHOLE`, `RTN_UNREACHABLE` and `RTN_PROHIBIT`.
    const REFUSING: [u8; 3] = [6, 7, 8];
    let (header, rest) = payload.split_first_chunk::<12>()?;
    let [family, length, _, _, table, protocol, _, kind, ..] = *header;
    let refuses = REFUSING.contains(&kind);
    if kind != wire::UNICAST && !refuses {
        return None;
    }
    let unspecified = match family {
        INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut table = u32::from(table);
    let (mut prefix, mut gateway, mut link, mut metric) = (unspecified, None, None, 0);
    let (mut source, mut mtu) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            wire::DESTINATION => prefix = address(value)?,
            wire::GATEWAY => gateway = address(value),
            wire::VIA if short(value, 0) == Some(u16::from(INET6)) => gateway = address(value.get(2..)?),
            wire::OUT_LINK => link = number(value, 0),
            wire::PRIORITY => metric = number(value, 0)?,
            wire::SOURCE => source = address(value),
            wire::METRICS => {
                let found = attributes(value).find(|(kind, _)| *kind == wire::MTU);
                mtu = found.and_then(|(_, value)| number(value, 0));
            }
            wire::TABLE => table = number(value, 0)?,
            _ => {}
        }
    }
    if table != u32::from(wire::MAIN_TABLE) {
        return None;
    }
    if refuses {
        // These win over a route of ours as any other would; IPv6 says that they leave by `lo`.
        (gateway, link) = (None, None);
    }
    let prefix = match prefix {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new(address, length).ok()?),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new(address, length).ok()?),
    };
    Some(Route { prefix, gateway, link, protocol, metric, source, mtu })
}
