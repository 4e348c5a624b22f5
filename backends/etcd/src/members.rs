//! The members of the cluster, a client for each, and which of them is asked.

use std::{
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, ConnectOptions};
use ipvland_store::{Error, Result};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    endpoints::Endpoint,
    errors::{self, Caller, Failure},
    login::Login,
    tls::Tls,
};

/// When a call that failed at one member is tried at the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Always: it only reads.
    Always,
    /// Only where etcd surely did nothing: it writes.
    IfUnsent,
}

/// The members. One is asked until it fails; then it's the turn of the next, so that a dead one costs one time-out.
#[derive(Debug)]
pub(crate) struct Members {
    endpoints: Vec<Endpoint>,
    login: Option<Login>,
    tls: Option<Tls>,
    prefix: String,
    timeout: Duration,
    current: AtomicUsize,
    clients: Mutex<Clients>,
}

/// A client for each member that has one, with a number that tells it from the one before.
#[derive(Default)]
struct Clients {
    slots: Vec<Option<(u64, Client)>>,
    made: u64,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("made", &self.made).finish_non_exhaustive()
    }
}

/// The shortest time between the pings that show a connection is alive. etcd takes more frequent ones, and those on a
/// connection that carries no call, as an attack and hangs up.
const MIN_PING: Duration = Duration::from_secs(6);

impl Members {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        login: Option<Login>,
        tls: Option<Tls>,
        prefix: &str,
        timeout: Duration,
    ) -> Self {
        let clients = Clients { slots: vec![None; endpoints.len()], made: 0 };
        let prefix = prefix.to_owned();
        // So that the hosts of a fleet don't all ask the first.
        let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % endpoints.len();
        let current = AtomicUsize::new(first);
        Self { endpoints, login, tls, prefix, timeout, current, clients: Mutex::new(clients) }
    }

    /// Returns how long one member may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns all URLs, for messages.
    pub(crate) fn shown(&self) -> String {
        let urls: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        urls.join(", ")
    }

    /// Runs work with the client of one member, then of the next; returns the answer and which member gave it.
    pub(crate) async fn call<T, F>(
        &self,
        repeat: Repeat,
        work: impl Fn(Client) -> F,
    ) -> Result<(usize, T), Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut errors = Vec::new();
        let first = self.current.load(Ordering::Relaxed);
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            match self.attempt(at, &work).await {
                Ok(answer) => return Ok((at, answer)),
                Err(Failure::Member { error, is_unsent }) => {
                    self.leave(at, &error);
                    errors.push(error);
                    if repeat == Repeat::IfUnsent && !is_unsent {
                        break;
                    }
                }
                Err(other) => return Err(other),
            }
        }
        Err(Failure::Store(errors::no_member(errors)))
    }

    async fn attempt<T, F>(&self, at: usize, work: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let is_sent = AtomicBool::new(false);
        let ended = timeout(self.timeout, async {
            let client = self.client(at).await?;
            is_sent.store(true, Ordering::Relaxed);
            work(client).await.map_err(|error| self.failure(at, &error))
        });
        ended.await.unwrap_or_else(|_| {
            let url = &self.endpoints[at].url;
            Err(errors::late(url, self.timeout.as_secs_f32(), !is_sent.load(Ordering::Relaxed)))
        })
    }

    /// Says what an error of a member means.
    pub(crate) fn failure(&self, at: usize, error: &etcd_client::Error) -> Failure {
        let caller = Caller {
            url: &self.endpoints[at].url,
            username: self.login.as_ref().map(|login| login.username.as_str()),
            prefix: &self.prefix,
            has_identity: self.tls.as_ref().is_some_and(Tls::has_identity),
        };
        errors::from_member(caller, error)
    }

    /// Says that a member fell silent.
    pub(crate) fn silent(&self, at: usize) -> Failure {
        errors::late(&self.endpoints[at].url, self.timeout.as_secs_f32(), false)
    }

    /// Returns a member's URL.
    pub(crate) fn url(&self, at: usize) -> &str {
        &self.endpoints[at].url
    }

    /// Turns to the next member, and forgets the connection to this one: the next call to it makes a new one, with the
    /// password and the certificates as they are then.
    pub(crate) fn leave(&self, at: usize, error: &Error) {
        let url = &self.endpoints[at].url;
        debug!(member = url, %error, "An etcd member is left for the next one");
        self.lock().slots[at] = None;
        let next = (at + 1) % self.endpoints.len();
        // Another call may have turned already.
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn client(&self, at: usize) -> Result<Client, Failure> {
        if let Some((_, client)) = &self.lock().slots[at] {
            return Ok(client.clone());
        }
        let client = self.connect(at).await?;
        let mut clients = self.lock();
        clients.made += 1;
        let made = clients.made;
        clients.slots[at] = Some((made, client.clone()));
        Ok(client)
    }

    async fn connect(&self, at: usize) -> Result<Client, Failure> {
        let Endpoint { url, .. } = &self.endpoints[at];
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.timeout)
            .with_keep_alive(self.timeout.max(MIN_PING), self.timeout)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(self.timeout.max(MIN_PING))
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.options()?);
        }
        let anonymous = options.clone();
        if let Some(login) = &self.login {
            options = options.with_user(&login.username, login.password()?.reveal());
        }
        match Client::connect([url], Some(options)).await {
            Err(error) if error.to_string().contains("authentication is not enabled") => {
                warn!(member = url, "etcd asks for no password: its authentication is not enabled");
                Client::connect([url], Some(anonymous)).await.map_err(|error| self.failure(at, &error))
            }
            answer => answer.map_err(|error| self.failure(at, &error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
