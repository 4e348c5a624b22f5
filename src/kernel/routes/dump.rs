//! Lists the main table. Blocks.

use rustix::io::Errno;

use super::{
    parse,
    socket::{Channel, Wait},
    wire::{self, INET, INET6},
};
use crate::kernel::{Route, errno, failure::Failure};

/// How often a dump that the kernel calls interrupted (`NLM_F_DUMP_INTR`) is taken again. The last one is used as it
/// is: what it lacks comes with the events that interrupted it.
const DUMPS: usize = 4;

/// Lists the routes of both families, by prefix and then metric. After trouble the socket is no more trusted, and closed.
pub(super) fn list(
    slot: &mut Option<Channel>,
    mut open: impl FnMut() -> std::io::Result<Channel>,
) -> Result<Vec<Route>, Failure> {
    gather(|family, routes| {
        let channel = match slot {
            Some(channel) => channel,
            None => slot.insert(open().map_err(Failure::Open)?),
        };
        let dumped = dump(channel, family, routes);
        if !matches!(dumped, Ok(_) | Err(Failure::Errno(_))) {
            *slot = None;
        }
        dumped
    })
}

/// Puts dumps of both families together, and takes those again that are no good.
pub(super) fn gather(
    mut dump: impl FnMut(u8, &mut Vec<Route>) -> Result<Interrupted, Failure>,
) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    for family in [INET, INET6] {
        let begin = routes.len();
        let (mut rounds, mut closed) = (1, false);
        loop {
            match dump(family, &mut routes) {
                Ok(Interrupted(true)) if rounds < DUMPS => rounds += 1,
                Ok(_) => break,
                // A fresh namespace has no main table yet, and a kernel without IPv6 no such family.
                Err(Failure::Errno(errno::NO_TABLE | errno::NO_FAMILY)) => {
                    routes.truncate(begin);
                    break;
                }
                Err(Failure::Closed) if !closed => closed = true,
                Err(failure) => return Err(failure),
            }
            routes.truncate(begin);
        }
    }
    // The kernel lists IPv4 by address, but the longest of several prefixes with one address first, and IPv6 along a tree.
    let order = |one: &Route, other: &Route| {
        one.prefix.cmp(&other.prefix).then_with(|| one.metric.cmp(&other.metric))
    };
    if !routes.is_sorted_by(|one, other| order(one, other).is_le()) {
        routes.sort_by(order);
    }
    Ok(routes)
}

/// Whether the table changed while it was dumped.
pub(super) struct Interrupted(pub(super) bool);

fn dump(channel: &mut Channel, family: u8, routes: &mut Vec<Route>) -> Result<Interrupted, Failure> {
    let sequence = channel.sequence();
    let mut question = Vec::new();
    wire::put_dump(&mut question, family, sequence);
    channel.send(&question).map_err(|_| Failure::Closed)?;
    let mut interrupted = false;
    loop {
        let datagram = channel.receive(Wait::Yes).map_err(|failure| match failure {
            Failure::Errno(number) if number == Errno::NOBUFS.raw_os_error() => Failure::Closed,
            failure => failure,
        })?;
        for message in parse::messages(datagram).filter(|message| message.sequence == sequence) {
            interrupted |= message.flags & wire::DUMP_INTERRUPTED != 0;
            match message.kind {
                wire::NEW_ROUTE => routes.extend(parse::route(message.payload)),
                // A dump that fails half-way says so in its end.
                wire::DONE => {
                    return match parse::dump_errno(&message) {
                        0 => Ok(Interrupted(interrupted)),
                        number => Err(Failure::Errno(number)),
                    };
                }
                wire::ERROR => {
                    let verdict = parse::verdict(&message).ok_or(Failure::Closed)?;
                    return Err(Failure::Errno(verdict.errno));
                }
                wire::OVERRUN => return Err(Failure::Closed),
                _ => {}
            }
        }
    }
}
