//! Sends changes of routes in batches and finds out what became of each. Blocks.
//!
//! Only the last change of a batch asks to be answered where it succeeds; one that fails is answered anyway. That saves the
//! kernel and us an answer for each, a quarter of the whole time. It is safe because an answer that the kernel can't
//! deliver is told (`ENOBUFS`), and because answers come in the order of the requests: after the last one none is missing.

use rustix::io::Errno;

use super::{
    parse::{self, Message},
    socket::{Channel, Wait},
    wire,
};
use crate::kernel::{RouteOp, errno, failure::Failure};

/// The most changes in a batch: what is sent in one go.
const BATCH: usize = 1024;

/// What became of a change.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// It is not.
    Failed(Failure),
    /// The answer was lost, and only the table tells.
    Unknown,
}

/// Changes as they are sent, one after the other, so that the thread that sends them does nothing else.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// Where each begins.
    begins: Vec<usize>,
    /// The sequence number of the first.
    first: u32,
}

impl Packed {
    /// Packs changes, whose sequence numbers begin with one.
    pub(super) fn new(ops: &[RouteOp], first: u32) -> Self {
        let mut bytes = Vec::with_capacity(ops.len() * wire::USUAL_CHANGE);
        let mut begins = Vec::with_capacity(ops.len());
        let mut sequence = first;
        for op in ops {
            begins.push(bytes.len());
            wire::put_change(&mut bytes, op, sequence);
            sequence = sequence.wrapping_add(1);
        }
        Self { bytes, begins, first }
    }

    /// Returns so many of the changes, from one on, as what is sent together.
    fn batch(&mut self, from: usize, most: usize) -> Batch<'_> {
        let begins = self.begins.get(from..).unwrap_or_default();
        let first = self.first.wrapping_add(u32::try_from(from).unwrap_or_default());
        let begin = begins.first().copied().unwrap_or(self.bytes.len());
        let end = begins.get(most).copied().unwrap_or(self.bytes.len());
        let begins = begins.get(..most).unwrap_or(begins);
        if let Some(last) = begins.last() {
            wire::ask_for_answer(&mut self.bytes, *last);
        }
        Batch { bytes: self.bytes.get(begin..end).unwrap_or_default(), begins, begin, first }
    }
}

/// Applies changes in order and returns what became of each. After trouble the socket is no more trusted, and closed.
pub(super) fn apply(
    slot: &mut Option<Channel>,
    mut open: impl FnMut() -> std::io::Result<Channel>,
    mut changes: Packed,
) -> Vec<Outcome> {
    let count = changes.begins.len();
    let mut outcomes = Vec::with_capacity(count);
    // A socket that is no good says so at the first sending, and nothing is done then: a new one gets another chance.
    let mut fresh = slot.is_none();
    while outcomes.len() < count {
        let channel = match slot {
            Some(channel) => channel,
            None => match open() {
                Ok(channel) => {
                    fresh = true;
                    slot.insert(channel)
                }
                Err(error) => {
                    fail(&mut outcomes, count, error);
                    break;
                }
            },
        };
        // The answers must fit the receive buffer, whatever they are.
        let most = BATCH.min(channel.answers).min(channel.longest / wire::LONGEST_CHANGE);
        let batch = changes.batch(outcomes.len(), most);
        match channel.send(batch.bytes) {
            Ok(()) => {
                let answered = batch.answers(channel, &mut outcomes);
                if !answered {
                    *slot = None;
                }
            }
            Err(_) if !fresh => *slot = None,
            Err(error) => {
                *slot = None;
                fail(&mut outcomes, count, error);
            }
        }
    }
    outcomes
}

/// Says of all changes that are left why they were not made.
fn fail(outcomes: &mut Vec<Outcome>, count: usize, error: std::io::Error) {
    let failure = Failure::Open(error);
    outcomes.resize_with(count, || Outcome::Failed(failure.again()));
}

/// Changes that are sent together.
struct Batch<'a> {
    bytes: &'a [u8],
    /// Where each begins, and the first, among all that were packed.
    begins: &'a [usize],
    begin: usize,
    /// The sequence number of the first.
    first: u32,
}

impl Batch<'_> {
    /// Receives the answers and appends what became of each change; tells whether none was lost.
    fn answers(&self, channel: &mut Channel, outcomes: &mut Vec<Outcome>) -> bool {
        let begin = outcomes.len();
        outcomes.extend(self.begins.iter().map(|_| Outcome::Done));
        let (mut complete, mut lost, mut wait) = (false, false, Wait::Yes);
        let own = outcomes.get_mut(begin..).unwrap_or_default();
        while !complete {
            match channel.receive(wait) {
                Ok(datagram) => {
                    for message in parse::messages(datagram) {
                        complete |= self.take(&message, own);
                        lost |= message.kind == wire::OVERRUN;
                    }
                }
                // What was queued before the overrun is still there, and says more than the table can.
                Err(Failure::Errno(number)) if number == Errno::NOBUFS.raw_os_error() => {
                    (lost, wait) = (true, Wait::No);
                }
                Err(_) => {
                    lost = true;
                    break;
                }
            }
        }
        if lost {
            for outcome in own.iter_mut().filter(|outcome| matches!(outcome, Outcome::Done)) {
                *outcome = Outcome::Unknown;
            }
        }
        !lost
    }

    /// Enters an answer; tells whether it is the last.
    fn take(&self, message: &Message<'_>, outcomes: &mut [Outcome]) -> bool {
        let place = usize::try_from(message.sequence.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let Some(outcome) = outcomes.get_mut(place) else { return false };
        let Some(verdict) = parse::verdict(message).filter(|_| message.kind == wire::ERROR) else {
            return false;
        };
        *outcome = match (verdict.errno, verdict.words) {
            (0, _) => Outcome::Done,
            (errno::NO_ROUTE, _) if self.removes(place) => Outcome::Done,
            (number, Some(words)) => Outcome::Failed(Failure::Told(number, words)),
            (number, None) => Outcome::Failed(Failure::Errno(number)),
        };
        place + 1 == self.begins.len()
    }

    fn removes(&self, place: usize) -> bool {
        let begin = self.begins.get(place).map(|begin| begin - self.begin);
        let message = begin.and_then(|begin| parse::messages(self.bytes.get(begin..)?).next());
        message.is_some_and(|message| message.kind == wire::DEL_ROUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{ROUTE_PROTOCOL, Route};

    /// Changes of all three sorts and of both families, so that messages differ in length.
    fn changes(count: u8) -> Vec<RouteOp> {
        let change = |number: u8| {
            let prefix = if number.is_multiple_of(2) {
                format!("192.0.2.{number}/32")
            } else {
                format!("2001:db8::{number}/128")
            };
            let route = Route {
                prefix: prefix.parse().unwrap(),
                gateway: None,
                link: Some(2),
                protocol: ROUTE_PROTOCOL,
                metric: 4096,
                source: None,
                mtu: number.is_multiple_of(5).then_some(1400),
            };
            match number % 3 {
                0 => RouteOp::Add(route),
                1 => RouteOp::Replace(route),
                _ => RouteOp::Remove(route),
            }
        };
        (0..count).map(change).collect()
    }

    #[test]
    fn batches_hold_each_change_once_and_ask_for_one_answer() {
        let ops = changes(20);
        // Numbers begin anew where they end.
        let first = u32::MAX - 7;
        for most in [1, 3, 20, 1024] {
            let mut packed = Packed::new(&ops, first);
            let mut from = 0;
            while from < ops.len() {
                let batch = packed.batch(from, most);
                let messages: Vec<_> = parse::messages(batch.bytes).collect();
                assert_eq!(messages.len(), most.min(ops.len() - from));
                assert_eq!(batch.first, first.wrapping_add(u32::try_from(from).unwrap()));
                for (place, message) in messages.iter().enumerate() {
                    let mut alone = Vec::new();
                    wire::put_change(&mut alone, &ops[from + place], message.sequence);
                    assert_eq!(message.payload, &alone[wire::HEADER..]);
                    assert_eq!(message.sequence, batch.first.wrapping_add(u32::try_from(place).unwrap()));
                    assert_eq!(message.flags & wire::ACK != 0, place + 1 == messages.len());
                    assert_eq!(batch.removes(place), matches!(ops[from + place], RouteOp::Remove(_)));
                }
                from += messages.len();
            }
            assert_eq!(from, ops.len());
        }
    }
}
