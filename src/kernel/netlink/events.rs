//! What the kernel tells without being asked.
//!
//! A task of its own reads the socket and marks what sort of thing changed; the stream hands the marks out. So a reader
//! that is slow, or a storm of changes, costs four bits and no memory. Of each message the header alone is looked at.
//!
//! What our own writer does to the routes is known, and not told: 10,000 of its changes would only ask for a full pass.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::{io::Errno, net::sockopt};
use tokio::{sync::Notify, task::JoinHandle};

use crate::kernel::{
    KernelEvent,
    routes::{
        OwnPort,
        parse::{self, Message},
        wire,
    },
};

/// How long after a failure the socket is opened anew.
const PAUSE: Duration = Duration::from_secs(1);

/// The groups of `linux/rtnetlink.h` whose events are told: `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`,
/// `RTNLGRP_IPV6_IFADDR` and `RTNLGRP_IPV6_ROUTE`.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// The receive buffer that is asked for, in bytes. The kernel takes memory for what waits in it only, and a storm of 10,000
/// route changes, our own among them, must not be an overrun where the machine is busy.
const RECEIVE_BUFFER: usize = 16 << 20;

/// The largest message that is read, far above a link with all that it may have. The kernel splits none.
const LONGEST: usize = 1 << 16;

const EVENTS: [KernelEvent; 4] =
    [KernelEvent::Overrun, KernelEvent::Link, KernelEvent::Address, KernelEvent::Route];

/// Which of [`EVENTS`] happened and are not yet told, a bit each.
#[derive(Default)]
struct Marks {
    bits: AtomicU8,
    changed: Notify,
}

impl Marks {
    fn set(&self, event: KernelEvent) {
        let bit = EVENTS.iter().position(|known| *known == event).map_or(0, |place| 1 << place);
        self.bits.fetch_or(bit, Ordering::AcqRel);
        self.changed.notify_one();
    }

    async fn take(&self) -> KernelEvent {
        loop {
            let bits = self.bits.load(Ordering::Acquire);
            if let Some(place) = (0..EVENTS.len()).find(|place| bits & 1 << place != 0) {
                self.bits.fetch_and(!(1 << place), Ordering::AcqRel);
                return EVENTS[place];
            }
            self.changed.notified().await;
        }
    }
}

/// Ends the reading task with the stream.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the events from now on: the socket is open when this returns, if it can be opened.
pub(super) fn stream(own: OwnPort) -> BoxStream<'static, KernelEvent> {
    let marks = Arc::new(Marks::default());
    let first = Subscription::open();
    let reader = Reader(tokio::spawn(read(first, own, Arc::clone(&marks))));
    stream::unfold((marks, reader), |(marks, reader)| async move {
        let event = marks.take().await;
        Some((event, (marks, reader)))
    })
    .boxed()
}

async fn read(first: io::Result<Subscription>, own: OwnPort, marks: Arc<Marks>) {
    let mut next = first;
    loop {
        match next {
            Ok(mut subscription) => {
                let error = subscription.follow(&own, &marks).await;
                tracing::warn!(%error, "the kernel's event socket failed; it is opened anew");
            }
            Err(error) => tracing::warn!(%error, "cannot subscribe to the kernel's events; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
        next = Subscription::open();
        marks.set(KernelEvent::Overrun);
    }
}

/// An open event socket.
struct Subscription {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Subscription {
    fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind_auto()?;
        // Beyond `net.core.rmem_max` where we may.
        if sockopt::set_socket_recv_buffer_size_force(&*inner, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&*inner, RECEIVE_BUFFER)?;
        }
        for group in GROUPS {
            inner.add_membership(group)?;
        }
        Ok(Self { socket, buffer: vec![0; LONGEST] })
    }

    /// Marks what comes until the socket fails, and returns why it did.
    async fn follow(&mut self, own: &OwnPort, marks: &Marks) -> io::Error {
        loop {
            let mut space = &mut self.buffer[..];
            let received = self.socket.recv_from(&mut space).await;
            let length = LONGEST - space.len();
            match received {
                // Only the kernel's word counts.
                Ok(sender) if sender.port_number() != 0 => {}
                // What was cut off is not read.
                Ok(_) if length == LONGEST => marks.set(KernelEvent::Overrun),
                Ok(_) => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    parse::messages(datagram)
                        .filter_map(|message| event(&message, own))
                        .for_each(|event| marks.set(event));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    marks.set(KernelEvent::Overrun);
                }
                Err(error) => return error,
            }
        }
    }
}

/// Returns what a message tells, if that is of interest.
fn event(message: &Message<'_>, own: &OwnPort) -> Option<KernelEvent> {
    match message.kind {
        wire::OVERRUN => Some(KernelEvent::Overrun),
        wire::NEW_LINK | wire::DEL_LINK => Some(KernelEvent::Link),
        wire::NEW_ADDRESS | wire::DEL_ADDRESS => Some(KernelEvent::Address),
        wire::NEW_ROUTE | wire::DEL_ROUTE => (!own.is(message.port)).then_some(KernelEvent::Route),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_storm_is_told_once_and_nothing_is_forgotten() {
        let marks = Marks::default();
        for _ in 0..1000 {
            marks.set(KernelEvent::Route);
        }
        marks.set(KernelEvent::Overrun);
        assert_eq!(marks.take().await, KernelEvent::Overrun);
        assert_eq!(marks.take().await, KernelEvent::Route);
        marks.set(KernelEvent::Link);
        assert_eq!(marks.take().await, KernelEvent::Link);
        let idle = tokio::time::timeout(Duration::from_millis(20), marks.take()).await;
        assert!(idle.is_err(), "nothing more happened");
    }
}
