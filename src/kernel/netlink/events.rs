//! What the kernel tells without being asked.
//!
//! A task of its own reads the socket and marks what sort of thing changed; the stream hands the marks out. So a reader
//! that is slow, or a storm of changes, costs four bits and no memory.

use std::{
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
use netlink_packet_route::RouteNetlinkMessage as Message;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
};
use tokio::{sync::Notify, task::JoinHandle};

use super::KernelEvent;

/// How long after a failure the socket is opened anew.
const PAUSE: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

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
pub(super) fn stream() -> BoxStream<'static, KernelEvent> {
    let marks = Arc::new(Marks::default());
    let first = Subscription::open();
    let reader = Reader(tokio::spawn(read(first, Arc::clone(&marks))));
    stream::unfold((marks, reader), |(marks, reader)| async move {
        let event = marks.take().await;
        Some((event, (marks, reader)))
    })
    .boxed()
}

async fn read(first: std::io::Result<Subscription>, marks: Arc<Marks>) {
    let mut next = first;
    loop {
        match next {
            Ok(mut subscription) => {
                while let Some(event) = subscription.next().await {
                    if let Some(event) = event {
                        marks.set(event);
                    }
                }
                tracing::warn!("the kernel's event socket failed; it is opened anew");
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
    messages: BoxStream<'static, NetlinkMessage<Message>>,
    // The socket's task ends when nobody can send requests any more and nobody reads.
    _handle: rtnetlink::Handle,
}

impl Subscription {
    fn open() -> std::io::Result<Self> {
        let (task, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        tokio::spawn(task);
        Ok(Self { messages: messages.map(|(message, _)| message).boxed(), _handle: handle })
    }

    /// Returns the next message's event, `Some(None)` where it is of no interest, `None` at the end of the socket.
    async fn next(&mut self) -> Option<Option<KernelEvent>> {
        let message = self.messages.next().await?;
        Some(match message.payload {
            NetlinkPayload::Overrun(_) => Some(KernelEvent::Overrun),
            NetlinkPayload::InnerMessage(Message::NewLink(_) | Message::DelLink(_)) => {
                Some(KernelEvent::Link)
            }
            NetlinkPayload::InnerMessage(Message::NewAddress(_) | Message::DelAddress(_)) => {
                Some(KernelEvent::Address)
            }
            NetlinkPayload::InnerMessage(Message::NewRoute(_) | Message::DelRoute(_)) => {
                Some(KernelEvent::Route)
            }
            _ => None,
        })
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
