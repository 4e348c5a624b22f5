//! Hears the push webhooks of Git servers: an HTTP endpoint that leads to a look at the store, and to nothing else.

mod request;
mod signature;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use ipvland_store::Nudge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::status::WebhookStatus;
use signature::Secret;

/// How long a connection may last, from its first byte to its last: a server sends one short request by each.
const LONGEST: Duration = Duration::from_secs(10);

/// How many connections are open at once. Together with the largest body that bounds the memory that strangers can take.
const MOST_CONNECTIONS: usize = 32;

/// How soon a port that was taken, or a secret that can't be read, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The pause after an error of the listening socket: of too many open files, for one, there is no end at once.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// The endpoint.
#[derive(Debug)]
pub(super) struct Webhook {
    listen: SocketAddr,
    secret_file: Option<PathBuf>,
    shared: Arc<Shared>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    nudge: Nudge,
    /// Tells that the others are to hear of what comes now.
    relay: watch::Sender<()>,
    status: watch::Sender<WebhookStatus>,
}

impl Webhook {
    pub(super) fn new(
        listen: SocketAddr,
        secret_file: Option<PathBuf>,
        nudge: Nudge,
        relay: watch::Sender<()>,
    ) -> Self {
        let status = watch::Sender::new(WebhookStatus::default());
        Self { listen, secret_file, shared: Arc::new(Shared { nudge, relay, status }) }
    }

    /// Returns what the status shows.
    pub(super) fn counts(&self) -> watch::Receiver<WebhookStatus> {
        self.shared.status.subscribe()
    }

    /// Answers for ever.
    pub(super) async fn run(self) {
        let (listener, secret) = loop {
            match self.open().await {
                Ok(open) => break open,
                Err(problem) => self.shared.status.send_if_modified(|status| {
                    let changed = status.problem.as_ref() != Some(&problem);
                    if changed {
                        tracing::warn!("{problem}");
                    }
                    status.problem = Some(problem);
                    changed
                }),
            };
            tokio::time::sleep(RETRY).await;
        };
        // Port 0 is a free one.
        let at = listener.local_addr().unwrap_or(self.listen);
        tracing::info!(%at, "push webhooks are heard on http {at}");
        self.shared.status.send_modify(|status| {
            (status.listen, status.problem) = (Some(at.to_string()), None);
        });
        serve(listener, Arc::new(secret), self.shared).await;
    }

    async fn open(&self) -> Result<(TcpListener, Secret), String> {
        let file = self.secret_file.as_deref().ok_or("nudge.webhook needs nudge.webhook_secret_file")?;
        let secret = Secret::read(file)?;
        let listener = TcpListener::bind(self.listen).await.map_err(|error| {
            format!(
                "webhooks can't be heard on {}: {error}; free the port, or set nudge.webhook to another",
                self.listen
            )
        })?;
        Ok((listener, secret))
    }
}

async fn serve(listener: TcpListener, secret: Arc<Secret>, shared: Arc<Shared>) {
    let turns = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Who comes when all turns are taken waits in the kernel.
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (stream, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a webhook's connection could not be taken");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let (secret, shared) = (Arc::clone(&secret), Arc::clone(&shared));
        tokio::spawn(async move {
            match timeout(LONGEST, serve_connection(stream, source, secret, shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%source, %error, "a webhook's connection broke"),
                Err(_) => tracing::debug!(%source, "a webhook's connection took too long"),
            }
            drop(turn);
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    source: SocketAddr,
    secret: Arc<Secret>,
    shared: Arc<Shared>,
) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (secret, shared) = (Arc::clone(&secret), Arc::clone(&shared));
        async move { Ok::<_, Infallible>(request::answer(request, source, &secret, &shared).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.keep_alive(false).max_buf_size(16 << 10);
    http.serve_connection(TokioIo::new(stream), service).await
}
