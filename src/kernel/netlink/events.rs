//! What the kernel tells without being asked.
//!
//! A task of its own reads the socket and marks what sort of thing changed; the stream hands the marks out. So a reader
//! that is slow, or a storm of changes, costs four bits and no memory. Of each message the header alone is looked at.
//!
//! What our own writer does to the routes is known, and not told: 10,000 of its changes would only ask for a full pass.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
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
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::{io::Errno, net::sockopt};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    task::JoinHandle,
};

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

/// The receive buffer that is asked for, in bytes. The kernel takes memory for what waits in it only, and a storm of some
/// thousand route changes, our own among them, must not be an overrun.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The largest message that is read; what is longer has its header before the cut.
const LONGEST: usize = 1 << 14;

/// How many messages are read before others get a turn.
const AT_ONCE: usize = 256;

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
    socket: AsyncFd<Descriptor>,
    buffer: Vec<u8>,
}

/// A socket that tokio can wait for.
struct Descriptor(Socket);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Subscription {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Beyond `net.core.rmem_max` where we may.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let socket = AsyncFd::with_interest(Descriptor(socket), Interest::READABLE)?;
        Ok(Self { socket, buffer: vec![0; LONGEST] })
    }

    /// Marks what comes until the socket fails, and returns why it did.
    async fn follow(&mut self, own: &OwnPort, marks: &Marks) -> io::Error {
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            for _ in 0..AT_ONCE {
                let received = ready.try_io(|fd| fd.get_ref().0.recv_from(&mut &mut self.buffer[..], 0));
                match received {
                    Err(_would_block) => break,
                    // Only the kernel's word counts.
                    Ok(Ok((_, sender))) if sender.port_number() != 0 => {}
                    Ok(Ok((length, _))) => {
                        let datagram = self.buffer.get(..length).unwrap_or(&self.buffer);
                        parse::messages(datagram)
                            .filter_map(|message| event(&message, own))
                            .for_each(|event| marks.set(event));
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                        marks.set(KernelEvent::Overrun);
                    }
                    Ok(Err(error)) => return error,
                }
            }
            tokio::task::yield_now().await;
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
