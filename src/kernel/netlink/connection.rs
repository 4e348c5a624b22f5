//! Requests over rtnetlink, one at a time, each with its answers.
//!
//! A connection is a socket and a task that serves it. The task ends when the socket fails; the next call then opens
//! another. Each call has a deadline, and nothing is taken for done without the kernel's acknowledgement: a stream of
//! answers that ends early looks the same as one that is complete, so acknowledgements are forwarded and waited for.

use std::sync::PoisonError;

use futures::{StreamExt, stream::Stream};
use netlink_packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use tokio::time::{Instant, timeout_at};

use super::Netlink;
use crate::kernel::failure::{DEADLINE, Failure};

/// How often a dump that the kernel calls interrupted (`NLM_F_DUMP_INTR`) is taken again. The last one is used as it
/// is: what it lacks comes with the events that interrupted it.
const DUMPS: usize = 4;

/// A socket and the task that serves it.
#[derive(Clone)]
pub(super) struct Connection {
    handle: rtnetlink::Handle,
    /// Ends the task that serves the socket, whoever still waits for an answer of it.
    task: tokio::task::AbortHandle,
    /// Tells connections apart, so that a late failure of an old one does not close its successor.
    number: u64,
}

impl Netlink {
    pub(super) fn connection(&self) -> Result<Connection, Failure> {
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
    pub(super) async fn ask(&self, question: Message, flags: u16) -> Result<Vec<Message>, Failure> {
        match self.ask_once(question.clone(), flags).await {
            Err(Failure::Closed) => self.ask_once(question, flags).await,
            answer => answer,
        }
    }

    async fn ask_once(&self, question: Message, flags: u16) -> Result<Vec<Message>, Failure> {
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

    pub(super) async fn dump(&self, question: Message) -> Result<Vec<Message>, Failure> {
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
}

/// Puts a question on its way and returns the stream of answers.
fn send(
    connection: &Connection,
    question: Message,
    flags: u16,
) -> Result<impl Stream<Item = NetlinkMessage<Message>> + use<>, Failure> {
    let mut request = NetlinkMessage::from(question);
    request.header.flags = NLM_F_REQUEST | flags;
    connection.handle.clone().request(request).map_err(|_| Failure::Closed)
}

/// Gathers answers up to the acknowledgement or the end of the dump; the second part tells an interrupted dump.
async fn collect(
    answers: impl Stream<Item = NetlinkMessage<Message>>,
    deadline: Instant,
) -> Result<(Vec<Message>, bool), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel as _;

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
