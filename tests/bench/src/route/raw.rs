//! The limit: netlink messages that are packed by hand and sent many at once, with nothing around them.
//!
//! Formats: `linux/netlink.h` and `linux/rtnetlink.h`.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use ipvland::kernel::Route;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_SETLINK: u16 = 19;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const IFF_UP: u32 = 1;

/// `RTNLGRP_IPV4_ROUTE` and `RTNLGRP_IPV6_ROUTE`.
const ROUTE_GROUPS: [u32; 2] = [7, 11];

/// How many messages are sent at once: well below the socket's send buffer, and more were no faster.
const AT_ONCE: usize = 1000;

/// Enough for the answers to a batch.
const RECEIVE_BUFFER: usize = 8 << 20;

/// How long to listen for a change that is to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A route socket without a library around it.
pub(crate) struct Raw {
    socket: Socket,
    buffer: Vec<u8>,
    answer: Vec<u8>,
    sequence: u32,
}

/// A change of the route table that somebody else made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A route came, or took another's place.
    New(IpNet),
    /// A route went.
    Gone(IpNet),
}

impl Raw {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
        socket.bind(&SocketAddr::new(0, 0)).expect("binding a netlink socket");
        socket.set_cap_ack(true).expect("short acknowledgements");
        // Twice the limit of the system at most, which is enough for answers that tell errors alone.
        socket.set_rx_buf_sz(RECEIVE_BUFFER).expect("a receive buffer");
        Self { socket, buffer: Vec::with_capacity(1 << 17), answer: vec![0; 1 << 18], sequence: 1 }
    }

    /// Opens a socket that hears of every change of routes.
    pub(crate) fn listen() -> Self {
        let raw = Self::open();
        sockopt::set_socket_timeout(&raw.socket, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a time-out");
        for group in ROUTE_GROUPS {
            raw.socket.add_membership(group).expect("listening to changes of routes");
        }
        raw
    }

    /// Adds routes, and panics where the kernel refuses one.
    pub(crate) fn add(&mut self, routes: &[Route]) {
        for batch in routes.chunks(AT_ONCE) {
            self.buffer.clear();
            for (number, route) in batch.iter().enumerate() {
                // The kernel tells every error; that nothing failed, its word on the last one says for all.
                let acknowledged = if number + 1 == batch.len() { NLM_F_ACK } else { 0 };
                self.write_route(route, NLM_F_REQUEST | NLM_F_CREATE_EXCL | acknowledged);
            }
            self.socket.send(&self.buffer, 0).expect("sending a batch");
            self.wait();
        }
    }

    fn write_route(&mut self, route: &Route, flags: u16) {
        let begin = self.begin(RTM_NEWROUTE, flags);
        let family = if route.prefix.addr().is_ipv4() { AF_INET } else { AF_INET6 };
        self.buffer.extend_from_slice(&[
            family,
            route.prefix.prefix_len(),
            0,
            0,
            RT_TABLE_MAIN,
            route.protocol,
            RT_SCOPE_UNIVERSE,
            RTN_UNICAST,
        ]);
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.address(RTA_DST, route.prefix.network());
        if let Some(gateway) = route.gateway {
            self.address(RTA_GATEWAY, gateway);
        }
        if let Some(link) = route.link {
            self.attribute(RTA_OIF, &link.to_ne_bytes());
        }
        self.attribute(RTA_PRIORITY, &route.metric.to_ne_bytes());
        self.end(begin);
    }

    fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// Every value here is a multiple of four bytes long, so that nothing is padded.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("a short attribute");
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
    }

    fn begin(&mut self, kind: u16, flags: u16) -> usize {
        let begin = self.buffer.len();
        self.sequence = self.sequence.wrapping_add(1);
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&self.sequence.to_ne_bytes());
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        begin
    }

    fn end(&mut self, begin: usize) {
        let length = u32::try_from(self.buffer.len() - begin).expect("a short message");
        self.buffer[begin..begin + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Raises a link, or takes it down.
    pub(crate) fn set_link(&mut self, link: u32, up: bool) {
        self.buffer.clear();
        let begin = self.begin(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK);
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&link.to_ne_bytes());
        self.buffer.extend_from_slice(&(if up { IFF_UP } else { 0 }).to_ne_bytes());
        self.buffer.extend_from_slice(&IFF_UP.to_ne_bytes());
        self.end(begin);
        self.socket.send(&self.buffer, 0).expect("sending a message");
        self.wait();
    }

    /// Waits for the acknowledgement of what was sent last.
    fn wait(&mut self) {
        loop {
            let length = self.socket.recv(&mut &mut self.answer[..], 0).expect("an answer of the kernel");
            for (kind, sequence, body) in Messages(&self.answer[..length]) {
                if kind != NLMSG_ERROR {
                    continue;
                }
                let code = i32::from_ne_bytes(body[..4].try_into().expect("an error has a number"));
                assert_eq!(code, 0, "the kernel refuses a message of a batch");
                if sequence == self.sequence {
                    return;
                }
            }
        }
    }

    /// Reads the whole table of both families, as bytes, and counts the routes of the main table that have a protocol.
    pub(crate) fn count(&mut self, protocol: u8) -> usize {
        let mut count = 0;
        for family in [AF_INET, AF_INET6] {
            self.buffer.clear();
            let begin = self.begin(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP);
            self.buffer.extend_from_slice(&[family, 0, 0, 0, 0, 0, 0, 0]);
            self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
            self.end(begin);
            self.socket.send(&self.buffer, 0).expect("asking for the routes");
            'dump: loop {
                let length = self.socket.recv(&mut &mut self.answer[..], 0).expect("an answer of the kernel");
                for (kind, _, body) in Messages(&self.answer[..length]) {
                    match kind {
                        RTM_NEWROUTE if body[4] == RT_TABLE_MAIN && body[5] == protocol => count += 1,
                        RTM_NEWROUTE => {}
                        NLMSG_DONE | NLMSG_ERROR => break 'dump,
                        _ => {}
                    }
                }
            }
        }
        count
    }

    /// Waits for a change of routes, and returns when it was heard.
    pub(crate) fn wait_for(&mut self, change: Heard) -> Result<Instant, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.socket.recv(&mut &mut self.answer[..], 0) {
                Ok(length) if heard(&self.answer[..length]).contains(&change) => return Ok(Instant::now()),
                Ok(_) => {}
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(why) => return Err(format!("cannot listen to the kernel: {why}")),
            }
        }
        Err(format!("the kernel tells nothing of {change:?} within {} s", PATIENCE.as_secs()))
    }

    /// Counts the changes of a protocol's routes that were heard and not taken yet. The kernel's own come and go with links.
    pub(crate) fn changes(&mut self, protocol: u8) -> usize {
        let mut count = 0;
        self.socket.set_non_blocking(true).expect("a socket that doesn't wait");
        while let Ok(length) = self.socket.recv(&mut &mut self.answer[..], 0) {
            let changes = Messages(&self.answer[..length])
                .filter(|(kind, _, body)| [RTM_NEWROUTE, RTM_DELROUTE].contains(kind) && body[5] == protocol);
            count += changes.count();
        }
        self.socket.set_non_blocking(false).expect("a socket that waits");
        count
    }
}

fn heard(bytes: &[u8]) -> Vec<Heard> {
    let messages = Messages(bytes).filter_map(|(kind, _, body)| match kind {
        RTM_NEWROUTE => prefix(body).map(Heard::New),
        RTM_DELROUTE => prefix(body).map(Heard::Gone),
        _ => None,
    });
    messages.collect()
}

/// Returns the destination of a route of the main table.
fn prefix(body: &[u8]) -> Option<IpNet> {
    let (family, length, table) = (body[0], body[1], body[4]);
    if table != RT_TABLE_MAIN {
        return None;
    }
    let mut rest = &body[12..];
    while rest.len() >= 4 {
        let size = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        if kind == RTA_DST {
            let address: IpAddr = match family {
                AF_INET => <[u8; 4]>::try_from(rest.get(4..8)?).ok()?.into(),
                _ => <[u8; 16]>::try_from(rest.get(4..20)?).ok()?.into(),
            };
            return IpNet::new(address, length).ok();
        }
        rest = rest.get(size.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// The messages of a buffer, as (type, sequence number, what follows the header).
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..16)?;
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let length = number(0) as usize;
        let body = self.0.get(16..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[4], header[5]]), number(8), body))
    }
}
