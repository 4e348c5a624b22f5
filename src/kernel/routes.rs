//! The main table, read and changed over netlink sockets of our own.
//!
//! Routes come by the hundred thousand, where a message tree and an acknowledgement for each would cost several times what
//! the kernel's own work does. So changes are packed by hand, many into one `sendmsg`, and dumps are read where they lie.
//!
//! The kernel does all that it is asked while it is being sent the request, so sending blocks; it happens on tokio's threads
//! for that. Reading and writing have a socket each, which is opened when it is first needed and again after trouble.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{sync::Mutex, time::timeout};

mod dump;
pub(super) mod parse;
mod socket;
#[cfg(test)]
mod tests;
pub(super) mod wire;
mod writer;

use socket::Channel;
use writer::{Outcome, Packed};

use super::{
    Route, RouteOp,
    failure::{DEADLINE, Failure},
};

/// How many changes are handed to a blocking thread at once.
const JOB: usize = 4096;

/// The main table of the network namespace that the process runs in.
#[derive(Default)]
pub(super) struct Table {
    writer: Slot,
    reader: Slot,
    own: OwnPort,
    /// How many changes had a sequence number so far.
    changes: AtomicU32,
}

/// A socket that may not be open.
type Slot = Arc<Mutex<Option<Channel>>>;

/// The port of the socket that changes our routes, by which its events are told from others'.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnPort(Arc<AtomicU32>);

impl OwnPort {
    /// Tells whether an event was caused by our own changes, given the port that it names.
    ///
    /// What comes late from a socket that was closed is taken for another's: its number may be anybody's by now.
    pub(super) fn is(&self, port: u32) -> bool {
        port != 0 && port == self.0.load(Ordering::Acquire)
    }

    fn set(&self, port: u32) {
        self.0.store(port, Ordering::Release);
    }
}

impl Table {
    /// Opens the socket that reads, to find out whether that may be.
    pub(super) fn connect() -> io::Result<Self> {
        Ok(Self { reader: Arc::new(Mutex::new(Some(Channel::open()?))), ..Self::default() })
    }

    /// Returns what tells our own changes from others'.
    pub(super) fn own_port(&self) -> OwnPort {
        self.own.clone()
    }

    /// Lists the routes of both families, by prefix and then metric.
    pub(super) async fn list(&self) -> Result<Vec<Route>, Failure> {
        blocking(&self.reader, |slot| dump::list(slot, Channel::open)).await?
    }

    /// Applies changes in order and returns the result of each.
    pub(super) async fn change(&self, ops: &[RouteOp]) -> Vec<Result<(), Failure>> {
        let mut results = Vec::with_capacity(ops.len());
        let mut jobs = ops.chunks(JOB).map(|ops| (ops, self.pack(ops)));
        let mut job = jobs.next();
        while let Some((ops_of_job, packed)) = job {
            // The kernel works at one job while the next is packed.
            let (done, next) = tokio::join!(self.change_some(ops_of_job, packed), async { jobs.next() });
            match done {
                Ok(outcomes) => results.extend(outcomes),
                // The others wouldn't be answered either.
                Err(failure) => {
                    results.extend(ops.iter().skip(results.len()).map(|_| Err(failure.again())));
                    break;
                }
            }
            job = next;
        }
        results
    }

    /// Packs changes under numbers that no others have had for long.
    fn pack(&self, ops: &[RouteOp]) -> Packed {
        let count = u32::try_from(ops.len()).unwrap_or_default();
        Packed::new(ops, self.changes.fetch_add(count, Ordering::Relaxed).wrapping_add(1))
    }

    async fn change_some(
        &self,
        ops: &[RouteOp],
        packed: Packed,
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let own = self.own.clone();
        let open = move || {
            let channel = Channel::open()?;
            // Before anything is sent over it.
            own.set(channel.port);
            Ok(channel)
        };
        let outcomes = blocking(&self.writer, move |slot| writer::apply(slot, open, packed)).await?;
        // What came of changes whose answer was lost is read from the table, before others follow.
        let table = match outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unknown)) {
            true => {
                tracing::debug!(changes = ops.len(), "answers to route changes were lost; the table is read");
                self.list().await
            }
            false => Ok(Vec::new()),
        };
        Ok(settle(ops, outcomes, table))
    }
}

/// Finds out from the table what came of changes whose answer was lost.
fn settle(
    ops: &[RouteOp],
    outcomes: Vec<Outcome>,
    table: Result<Vec<Route>, Failure>,
) -> Vec<Result<(), Failure>> {
    let there = table.as_ref().map(|routes| routes.iter().collect::<HashSet<_>>());
    let settled = ops.iter().zip(outcomes).map(|(op, outcome)| match (outcome, &there) {
        (Outcome::Done, _) => Ok(()),
        (Outcome::Failed(failure), _) => Err(failure),
        (Outcome::Unknown, Ok(there)) => {
            let wanted = !matches!(op, RouteOp::Remove(_));
            if there.contains(op.route()) == wanted { Ok(()) } else { Err(Failure::Lost) }
        }
        (Outcome::Unknown, Err(failure)) => Err(failure.again()),
    });
    settled.collect()
}

/// Does something with a socket on a thread that may block, and waits no longer than the kernel may take.
async fn blocking<T: Send + 'static>(
    slot: &Slot,
    job: impl FnOnce(&mut Option<Channel>) -> T + Send + 'static,
) -> Result<T, Failure> {
    let slot = Arc::clone(slot);
    // Another's job may have to end first. One that never ends keeps its socket and its thread, and no others.
    let mut slot = timeout(DEADLINE, slot.lock_owned()).await.map_err(|_| Failure::Late)?;
    let working = tokio::task::spawn_blocking(move || job(&mut slot));
    match timeout(DEADLINE, working).await {
        Ok(worked) => worked.map_err(|_| Failure::Closed),
        Err(_) => Err(Failure::Late),
    }
}
