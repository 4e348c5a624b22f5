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

/// Applies changes in order and returns what became of each. After trouble the socket is no more trusted, and closed.
pub(super) fn apply(
    slot: &mut Option<Channel>,
    mut open: impl FnMut() -> std::io::Result<Channel>,
    ops: &[RouteOp],
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(ops.len());
    // A socket that is no good says so at the first sending, and nothing is done then: a new one gets another chance.
    let mut fresh = slot.is_none();
    while let Some(rest) = ops.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
        let channel = match slot {
            Some(channel) => channel,
            None => match open() {
                Ok(channel) => {
                    fresh = true;
                    slot.insert(channel)
                }
                Err(error) => {
                    let failure = Failure::Open(error);
                    outcomes.extend(rest.iter().map(|_| Outcome::Failed(failure.again())));
                    break;
                }
            },
        };
        let batch = Batch::pack(rest, channel);
        match channel.send(&batch.bytes) {
            Ok(()) => {
                let answered = batch.answers(channel, &mut outcomes);
                if !answered {
                    *slot = None;
                }
            }
            Err(_) if !fresh => *slot = None,
            Err(error) => {
                *slot = None;
                let failure = Failure::Open(error);
                outcomes.extend(rest.iter().map(|_| Outcome::Failed(failure.again())));
            }
        }
    }
    outcomes
}

/// Changes that are sent together.
struct Batch<'a> {
    ops: &'a [RouteOp],
    bytes: Vec<u8>,
    /// The sequence number of the first.
    first: u32,
}

impl<'a> Batch<'a> {
    /// Packs as many changes as may go together: their answers must fit the receive buffer, whatever they are.
    fn pack(ops: &'a [RouteOp], channel: &mut Channel) -> Self {
        let most = BATCH.min(channel.answers).min(channel.longest / wire::LONGEST_CHANGE);
        let ops = ops.get(..most).unwrap_or(ops);
        let first = channel.sequence(u32::try_from(ops.len()).unwrap_or_default());
        let mut bytes = Vec::with_capacity(ops.len() * wire::LONGEST_CHANGE);
        let (mut sequence, mut last) = (first, 0);
        for op in ops {
            last = bytes.len();
            wire::put_change(&mut bytes, op, sequence);
            sequence = sequence.wrapping_add(1);
        }
        wire::ask_for_answer(&mut bytes, last);
        Self { ops, bytes, first }
    }

    /// Receives the answers and appends what became of each change; tells whether none was lost.
    fn answers(&self, channel: &mut Channel, outcomes: &mut Vec<Outcome>) -> bool {
        let begin = outcomes.len();
        outcomes.extend(self.ops.iter().map(|_| Outcome::Done));
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
        let (Some(op), Some(outcome)) = (self.ops.get(place), outcomes.get_mut(place)) else { return false };
        let Some(verdict) = parse::verdict(message).filter(|_| message.kind == wire::ERROR) else {
            return false;
        };
        *outcome = match (op, verdict.errno, verdict.words) {
            (_, 0, _) | (RouteOp::Remove(_), errno::NO_ROUTE, _) => Outcome::Done,
            (_, number, Some(words)) => Outcome::Failed(Failure::Told(number, words)),
            (_, number, None) => Outcome::Failed(Failure::Errno(number)),
        };
        place + 1 == self.ops.len()
    }
}
