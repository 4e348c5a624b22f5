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
    alert,
    endpoints::Endpoint,
    errors::{self, Caller, Failure},
    login::Login,
    tls::Tls,
    tls_errors,
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
pub(crate) struct Members {
    endpoints: Vec<Endpoint>,
    login: Option<Login>,
    tls: Option<Tls>,
    prefix: String,
    timeout: Duration,
    current: AtomicUsize,
    clients: Mutex<Clients>,
}

/// A client for each member that has one, and whether it has answered yet.
type Clients = Vec<Option<(Client, bool)>>;

/// The shortest time between the pings that show a connection is alive. etcd takes more frequent ones, and those on a
/// connection that carries no call, as an attack and hangs up.
const MIN_PING: Duration = Duration::from_secs(6);
/// How long a member may take to say that it doesn't trust a certificate.
const ALERT: Duration = Duration::from_secs(1);

impl Members {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        login: Option<Login>,
        tls: Option<Tls>,
        prefix: &str,
        timeout: Duration,
    ) -> Self {
        let clients = vec![None; endpoints.len()];
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
        let (is_sent, is_new) = (AtomicBool::new(false), AtomicBool::new(true));
        let ended = timeout(self.timeout, async {
            let (client, has_answered) = self.client(at).await?;
            is_new.store(!has_answered, Ordering::Relaxed);
            is_sent.store(true, Ordering::Relaxed);
            work(client).await.map_err(|error| self.failure(at, &error))
        });
        match ended.await {
            Ok(Ok(answer)) => {
                if let Some((_, has_answered)) = &mut self.lock()[at] {
                    *has_answered = true;
                }
                Ok(answer)
            }
            // A connection that never carried an answer, so that this is about connecting.
            Ok(Err(Failure::Member { error, is_unsent: false })) if is_new.into_inner() => {
                Err(self.explain(at, error).await)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let url = &self.endpoints[at].url;
                Err(errors::late(url, self.timeout.as_secs_f32(), !is_sent.into_inner()))
            }
        }
    }

    /// Finds out whether a member hung up because of this host's certificate.
    async fn explain(&self, at: usize, error: Error) -> Failure {
        let (endpoint, Some(tls)) = (&self.endpoints[at], &self.tls) else {
            return Failure::Member { error, is_unsent: false };
        };
        let alert = timeout(self.timeout.min(ALERT), alert::alert(tls, endpoint)).await;
        let sentence = alert.ok().flatten().and_then(|words| tls_errors::sentence(self.caller(at), &words));
        match sentence {
            Some(sentence) => Failure::Member { error: Error::refused(sentence), is_unsent: true },
            None => Failure::Member { error, is_unsent: false },
        }
    }

    /// Says what an error of a member means.
    pub(crate) fn failure(&self, at: usize, error: &etcd_client::Error) -> Failure {
        errors::from_member(self.caller(at), error)
    }

    fn caller(&self, at: usize) -> Caller<'_> {
        Caller {
            url: &self.endpoints[at].url,
            username: self.login.as_ref().map(|login| login.username.as_str()),
            prefix: &self.prefix,
            has_identity: self.tls.as_ref().is_some_and(Tls::has_identity),
        }
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
        self.lock()[at] = None;
        let next = (at + 1) % self.endpoints.len();
        // Another call may have turned already.
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns the client of a member, and whether it has answered before.
    async fn client(&self, at: usize) -> Result<(Client, bool), Failure> {
        let known = self.lock()[at].clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let client = self.connect(at).await?;
        self.lock()[at] = Some((client.clone(), false));
        Ok((client, false))
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
