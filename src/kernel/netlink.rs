//! The kernel of this machine, over rtnetlink: this module, with `events`, is the only one that says `use rtnetlink`.
//!
//! A connection is a socket and a task that serves it. The task ends when the socket fails; the next call then opens
//! another. Each call has a deadline, and nothing is taken for done without the kernel's acknowledgement: a stream of
//! answers that ends early looks the same as one that is complete, so acknowledgements are forwarded and waited for.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{BoxStream, Stream},
};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message, address::AddressMessage, link::LinkMessage,
};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Address, Kernel, KernelError, KernelEvent, Link, LinkIndex, Neighbour, NeighbourOp, NewLink, Result,
    Route, RouteOp, errno, message,
};

mod device;
mod events;
mod inside;

/// How long the kernel may take to answer one call, or one group of route changes.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many requests are on their way at once. More than about 200 were seen to lose their acknowledgements.
const IN_FLIGHT: usize = 100;

/// How often a dump that the kernel calls interrupted (`NLM_F_DUMP_INTR`) is taken again. The last one is used as it
/// is: what it lacks comes with the events that interrupted it.
const DUMPS: usize = 4;

/// The kernel of the network namespace that the process runs in.
///
/// Must be used within a tokio runtime.
pub struct Netlink {
    connection: Mutex<Option<Connection>>,
    /// Held while a dump runs: the kernel answers a second one on the same socket with EBUSY.
    dumping: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Connection {
    handle: rtnetlink::Handle,
    /// Ends the task that serves the socket, whoever still waits for an answer of it.
    task: tokio::task::AbortHandle,
    /// Tells connections apart, so that a late failure of an old one does not close its successor.
    number: u64,
}

/// Why there is no good answer.
enum Failure {
    /// The kernel refused, with an error number.
    Errno(i32),
    /// The socket's task ended before the answer came.
    Closed,
    /// The answer did not come in time.
    Late,
    /// No socket could be opened.
    Open(std::io::Error),
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netlink").finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a netlink socket.
    ///
    /// # Errors
    /// When the process may not, or the kernel is older than 4.20.
    pub fn connect() -> Result<Self> {
        let netlink = Self { connection: Mutex::new(None), dumping: tokio::sync::Mutex::new(()) };
        netlink.connection().map_err(|failure| failure.explain("open a netlink socket".into()))?;
        Ok(netlink)
    }

    fn connection(&self) -> std::result::Result<Connection, Failure> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        // Strictly checked dumps filter in the kernel; others send everything.
        let (mut task, handle, _) = rtnetlink::new_connection_with_strict_check().map_err(Failure::Open)?;
        task.set_forward_ack(true);
        task.set_forward_done(true);
        // It ends by itself, when the last handle is dropped or the socket fails.
        let task = tokio::spawn(task).abort_handle();
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(slot.insert(Connection { handle, task, number }).clone())
    }

    fn forget(&self, connection: &Connection) {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|current| current.number == connection.number) {
            tracing::debug!("the netlink socket failed; the next request opens another");
            *slot = None;
        }
        connection.task.abort();
    }

    /// Asks once, and once more on a new socket if the old one turns out to be closed.
    async fn ask(&self, question: Message, flags: u16) -> std::result::Result<Vec<Message>, Failure> {
        match self.ask_once(question.clone(), flags).await {
            Err(Failure::Closed) => self.ask_once(question, flags).await,
            answer => answer,
        }
    }

    async fn ask_once(&self, question: Message, flags: u16) -> std::result::Result<Vec<Message>, Failure> {
        let connection = self.connection()?;
        let answer = match send(&connection, question, flags) {
            Ok(answers) => collect(answers, Instant::now() + DEADLINE).await.map(|(messages, _)| messages),
            Err(failure) => Err(failure),
        };
        if matches!(answer, Err(Failure::Closed | Failure::Late)) {
            self.forget(&connection);
        }
        answer
    }

    async fn dump(&self, question: Message) -> std::result::Result<Vec<Message>, Failure> {
        let _turn = self.dumping.lock().await;
        let mut closed = 0;
        let mut round = 1;
        loop {
            let connection = self.connection()?;
            let dumped = match send(&connection, question.clone(), NLM_F_DUMP) {
                Ok(answers) => collect(answers, Instant::now() + DEADLINE).await,
                Err(failure) => Err(failure),
            };
            match dumped {
                Ok((_, true)) if round < DUMPS => round += 1,
                Ok((messages, _)) => return Ok(messages),
                Err(failure) => {
                    if matches!(failure, Failure::Closed | Failure::Late) {
                        self.forget(&connection);
                    }
                    closed += 1;
                    if !matches!(failure, Failure::Closed) || closed > 1 {
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn find_link(&self, name: &str) -> std::result::Result<LinkIndex, Failure> {
        let answers = self.ask(Message::GetLink(message::link_by_name(name)), NLM_F_ACK).await?;
        answers
            .iter()
            .find_map(|answer| match answer {
                Message::NewLink(link) => Some(link.header.index),
                _ => None,
            })
            .ok_or(Failure::Errno(errno::NO_LINK))
    }

    /// Sends changes in order, waits for all acknowledgements, and returns a result for each.
    async fn change_group(&self, ops: &[RouteOp]) -> Vec<std::result::Result<(), Failure>> {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(failure) => return ops.iter().map(|_| Err(failure.again())).collect(),
        };
        // The socket's task sends in the order of these calls, and the kernel works in the order of what it gets.
        let sent: Vec<_> = ops
            .iter()
            .map(|op| match op {
                RouteOp::Add(route) => {
                    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
                    send(&connection, Message::NewRoute(message::write_route(route, false)), flags)
                }
                RouteOp::Replace(route) => {
                    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
                    send(&connection, Message::NewRoute(message::write_route(route, false)), flags)
                }
                RouteOp::Remove(route) => {
                    send(&connection, Message::DelRoute(message::write_route(route, true)), NLM_F_ACK)
                }
            })
            .collect();
        let deadline = Instant::now() + DEADLINE;
        let mut results = Vec::with_capacity(ops.len());
        for (op, answers) in ops.iter().zip(sent) {
            let result = match answers {
                Ok(answers) => collect(answers, deadline).await.map(|_| ()),
                Err(failure) => Err(failure),
            };
            results.push(match (op, result) {
                (RouteOp::Remove(_), Err(Failure::Errno(errno::NO_ROUTE))) => Ok(()),
                (_, result) => result,
            });
        }
        if results.iter().any(|result| matches!(result, Err(Failure::Closed | Failure::Late))) {
            self.forget(&connection);
        }
        results
    }
}

/// Puts a question on its way and returns the stream of answers.
fn send(
    connection: &Connection,
    question: Message,
    flags: u16,
) -> std::result::Result<impl Stream<Item = NetlinkMessage<Message>> + use<>, Failure> {
    let mut request = NetlinkMessage::from(question);
    request.header.flags = NLM_F_REQUEST | flags;
    connection.handle.clone().request(request).map_err(|_| Failure::Closed)
}

/// Gathers answers up to the acknowledgement or the end of the dump; the second part tells an interrupted dump.
async fn collect(
    answers: impl Stream<Item = NetlinkMessage<Message>>,
    deadline: Instant,
) -> std::result::Result<(Vec<Message>, bool), Failure> {
    let mut answers = std::pin::pin!(answers);
    let (mut messages, mut interrupted) = (Vec::new(), false);
    loop {
        let answer = timeout_at(deadline, answers.next()).await.map_err(|_| Failure::Late)?;
        let answer = answer.ok_or(Failure::Closed)?;
        interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => messages.push(message),
            NetlinkPayload::Error(error) => match error.code {
                Some(code) => return Err(Failure::Errno(code.get().saturating_abs())),
                None => return Ok((messages, interrupted)),
            },
            // A dump that fails half-way says so in its end.
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(Failure::Errno(done.code.saturating_abs()));
            }
            NetlinkPayload::Done(_) => return Ok((messages, interrupted)),
            NetlinkPayload::Overrun(_) => return Err(Failure::Closed),
            _ => {}
        }
    }
}

impl Failure {
    fn explain(self, action: String) -> KernelError {
        let (errno, meaning) = match self {
            Self::Errno(number) => return KernelError::from_errno(action, number),
            Self::Open(error) => match error.raw_os_error() {
                Some(number) => return KernelError::from_errno(action, number),
                None => (None, error.to_string()),
            },
            Self::Closed => {
                (None, "the netlink socket failed before the kernel's answer came; it is opened anew".into())
            }
            Self::Late => {
                (None, format!("the kernel did not answer within {} s; try again", DEADLINE.as_secs()))
            }
        };
        KernelError { action, errno, meaning }
    }

    fn again(&self) -> Self {
        match self {
            Self::Errno(number) => Self::Errno(*number),
            Self::Closed => Self::Closed,
            Self::Late => Self::Late,
            Self::Open(error) => match error.raw_os_error() {
                Some(number) => Self::Errno(number),
                None => Self::Open(std::io::Error::new(error.kind(), error.to_string())),
            },
        }
    }
}

#[async_trait]
impl Kernel for Netlink {
    async fn links(&self) -> Result<Vec<Link>> {
        let answers = self.dump(Message::GetLink(LinkMessage::default())).await;
        let answers = answers.map_err(|failure| failure.explain("list the interfaces".into()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewLink(link) => Some(message::link(link)),
                _ => None,
            })
            .collect())
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        let answers = self.dump(Message::GetAddress(AddressMessage::default())).await;
        let answers = answers.map_err(|failure| failure.explain("list the addresses".into()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewAddress(address) => message::address(address),
                _ => None,
            })
            .collect())
    }

    async fn routes(&self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let answers = match self.dump(Message::GetRoute(message::all_routes(family))).await {
                Ok(answers) => answers,
                // A fresh namespace has no main table yet, and a kernel without IPv6 no such family.
                Err(Failure::Errno(number)) if number == errno::NO_TABLE || number == errno::NO_FAMILY => {
                    continue;
                }
                Err(failure) => return Err(failure.explain("list the routes".into())),
            };
            routes.extend(answers.iter().filter_map(|answer| match answer {
                Message::NewRoute(route) => message::route(route),
                _ => None,
            }));
        }
        Ok(routes)
    }

    async fn add_link(&self, name: &str, alias: &str, link: NewLink) -> Result<LinkIndex> {
        let made = self
            .ask(Message::NewLink(message::new_link(name, &link)), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
            .await;
        if let Err(failure) = made {
            let links = self.links().await.unwrap_or_default();
            let on = name_of(&links, link.parent());
            let action = match link {
                NewLink::Ipvlan { .. } => format!("add the ipvlan link {name} on {on}"),
                NewLink::Vlan { .. } => format!("add the VLAN link {name} on {on}"),
                NewLink::Dummy { .. } => format!("add the dummy link {name}"),
            };
            return Err(match failure {
                Failure::Errno(number) => KernelError {
                    action,
                    errno: Some(number),
                    meaning: errno::link_meaning(number, name, &link, &links),
                },
                failure => failure.explain(action),
            });
        }
        let action = || format!("mark the new link {name} as ours");
        let index = self.find_link(name).await.map_err(|failure| failure.explain(action()))?;
        let raise = !matches!(link, NewLink::Ipvlan { .. });
        let set = Message::SetLink(message::set_alias(index, alias, raise));
        if let Err(failure) = self.ask(set, NLM_F_ACK).await {
            // A link without our mark would stay for ever.
            if let Err(error) = self.delete_link(index).await {
                tracing::warn!(link = name, %error, "a link that could not be marked could not be removed either");
            }
            return Err(failure.explain(action()));
        }
        Ok(index)
    }

    async fn delete_link(&self, index: LinkIndex) -> Result<()> {
        match self.ask(Message::DelLink(message::link_by_index(index)), NLM_F_ACK).await {
            Ok(_) | Err(Failure::Errno(errno::NO_LINK)) => Ok(()),
            Err(failure) => Err(failure.explain(format!("remove the link {index}"))),
        }
    }

    async fn raise(&self, index: LinkIndex) -> Result<()> {
        self.raise_link(index).await
    }

    async fn add_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        self.put_address(link, net).await
    }

    async fn delete_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        self.take_address(link, net).await
    }

    async fn neighbours(&self, link: LinkIndex) -> Result<Vec<Neighbour>> {
        self.list_neighbours(link).await
    }

    async fn change_neighbours(&self, ops: &[NeighbourOp]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.change_neighbour(op).await);
        }
        results
    }

    async fn setting(&self, path: &str) -> Option<i64> {
        device::setting(path)
    }

    async fn set_setting(&self, path: &str, value: i64) -> Result<()> {
        device::set_setting(path, value)
    }

    async fn delete_link_inside(&self, namespace: &Path, alias: &str) -> Result<bool> {
        self.delete_inside(namespace, alias).await.map_err(|failure| {
            failure.explain(format!("remove the link with the alias {alias} inside {}", namespace.display()))
        })
    }

    async fn change_routes(&self, ops: &[RouteOp]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(ops.len());
        for group in ops.chunks(IN_FLIGHT) {
            let mut outcome = self.change_group(group).await;
            // A socket that had died before has done nothing; one that died in between may have, and the next full pass
            // finds out what.
            if outcome.iter().all(|result| matches!(result, Err(Failure::Closed))) {
                outcome = self.change_group(group).await;
            }
            results.extend(outcome);
        }
        let links = match results.iter().any(Result::is_err) {
            true => self.links().await.unwrap_or_default(),
            false => Vec::new(),
        };
        ops.iter()
            .zip(results)
            .map(|(op, result)| {
                result.map_err(|failure| {
                    let link = name_of(&links, op.route().link);
                    let action = op.describe(&link);
                    match failure {
                        Failure::Errno(number) => KernelError {
                            action,
                            errno: Some(number),
                            meaning: errno::route_meaning(number, op, &link),
                        },
                        failure => failure.explain(action),
                    }
                })
            })
            .collect()
    }

    fn events(&self) -> BoxStream<'static, KernelEvent> {
        events::stream()
    }
}

fn name_of(links: &[Link], index: Option<LinkIndex>) -> String {
    let name = links.iter().find(|link| Some(link.index) == index).map(|link| link.name.clone());
    match (name, index) {
        (Some(name), _) => name,
        (None, Some(index)) => format!("interface {index}"),
        (None, None) => "no interface".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ROUTE_PROTOCOL;

    #[tokio::test]
    async fn a_connection_that_died_is_opened_anew_without_a_word() {
        let netlink = Netlink::connect().unwrap();
        let before = netlink.links().await.unwrap();
        assert!(before.iter().any(|link| link.loopback), "{before:?}");
        let Ok(first) = netlink.connection() else { panic!("no connection") };
        first.task.abort();
        tokio::task::yield_now().await;
        assert_eq!(netlink.links().await.unwrap().len(), before.len());
        let Ok(second) = netlink.connection() else { panic!("no connection") };
        assert_ne!(first.number, second.number);
    }

    #[tokio::test]
    async fn route_changes_survive_a_dead_connection_too() {
        let netlink = Netlink::connect().unwrap();
        let Ok(first) = netlink.connection() else { panic!("no connection") };
        first.task.abort();
        tokio::task::yield_now().await;
        // Of TEST-NET-1 and by no link that there is: nothing is changed, whoever runs this.
        let gone = Route {
            prefix: "192.0.2.0/24".parse().unwrap(),
            gateway: None,
            link: Some(0x7fff_fff0),
            protocol: ROUTE_PROTOCOL,
            metric: 4999,
            source: None,
            mtu: None,
        };
        let errno = match netlink.change_routes(&[RouteOp::Remove(gone)]).await.remove(0) {
            Ok(()) => None,
            Err(error) => error.errno,
        };
        let (denied, missing) = (Some(1), Some(errno::NO_LINK));
        assert!([None, denied, missing].contains(&errno), "the kernel answered: {errno:?}");
    }

    #[tokio::test]
    async fn answers_that_end_early_are_not_taken_for_all() {
        let none = futures::stream::empty();
        let deadline = Instant::now() + DEADLINE;
        assert!(matches!(collect(none, deadline).await, Err(Failure::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_late() {
        let never = futures::stream::pending();
        let deadline = Instant::now() + DEADLINE;
        assert!(matches!(collect(never, deadline).await, Err(Failure::Late)));
    }
}
