//! Requests to one Git server, over one connection that is kept.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, PRAGMA, PROXY_AUTHORIZATION,
        USER_AGENT,
    },
};
use ipvland_store::{Error, Result};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::{
    body::{Body, Rest},
    link::{Link, Way},
    proxy::Proxies,
    redirect, status,
    tls::Tls,
};
use crate::{
    address::Address,
    errors::{redirected, web_page},
    talk::Talk,
};

/// A connection that was idle for longer isn't used again: what is between may have forgotten it, without a word.
const LONGEST_IDLE: Duration = Duration::from_secs(60);
/// The most bytes of a list of references: more than a hundred thousand branches.
const MOST_REFS: u64 = 16 << 20;
/// The most bytes of any other answer. Ten thousand records of the largest size are less.
const MOST_PACK: u64 = 1 << 30;

/// What speaks HTTP with the server of one store. Its methods block.
pub(crate) struct Client {
    /// Where the repository is, by the URL in the settings.
    configured: Url,
    tls: Tls,
    proxies: Proxies,
    /// A runtime of its own, which runs while a method waits and at no other time. `None` once it is shut down.
    runtime: Option<Runtime>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Where the server said that the repository is for good.
    moved: Option<Url>,
    /// What the server can do for a push: the capabilities of its last list.
    capabilities: Option<String>,
}

/// A connection between two requests.
pub(super) struct Kept {
    pub(super) link: Link,
    /// What of the last answer nobody read.
    pub(super) rest: Option<Rest>,
    pub(super) since: Instant,
}

/// One request, so that it can be made twice.
#[derive(Clone)]
struct Ask {
    method: Method,
    url: Url,
    service: &'static str,
    body: Bytes,
    /// Asking twice is the same as asking once.
    is_safe: bool,
}

impl Client {
    /// Makes a client. Nothing is asked yet.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for a URL that can't be, [`RetryLater`](ipvland_store::Remedy::RetryLater)
    /// when the kernel has no more file descriptors.
    pub(crate) fn new(address: &Address, tls: Tls, proxies: Proxies) -> Result<Self> {
        let configured = Url::parse(&address.url)
            .map_err(|why| Error::refused(format!("store.git.repo is no valid URL ({why})")))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| Error::away(format!("nothing can wait for the network: {why}")))?;
        Ok(Self { configured, tls, proxies, runtime: Some(runtime), state: Mutex::default() })
    }

    /// Asks for the references, and what the server can do, for a service: `git-upload-pack` or `git-receive-pack`.
    pub(crate) fn references(&self, talk: &Talk, service: &'static str) -> Result<Vec<u8>> {
        let mut base = self.lock().moved.clone().unwrap_or_else(|| self.configured.clone());
        for _ in 0..=redirect::MOST {
            let mut url = base.clone();
            url.set_path(&format!("{}/info/refs", base.path().trim_end_matches('/')));
            url.set_query(Some(&format!("service={service}")));
            let ask =
                Ask { method: Method::GET, url: url.clone(), service, body: Bytes::new(), is_safe: true };
            let (response, link) = self.exchange(talk, &ask)?;
            if response.status().is_redirection() {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| redirect::follow(&url, to, service));
                let Some(to) = to else { return Err(Error::refused(redirected(&talk.address))) };
                if redirect::is_for_good(response.status()) {
                    tracing::info!(
                        repo = talk.address.shown, to = %to,
                        "the git server says that the repository has moved: put its new place into store.git.repo"
                    );
                    self.lock().moved = Some(to.clone());
                }
                talk.go_to(to.clone());
                base = to;
                self.keep(Kept { link, rest: Some(Rest::new(response)), since: Instant::now() });
                continue;
            }
            let body = self.body(talk, response, link, service, "advertisement", MOST_REFS)?;
            // The body has that bound of its own.
            return Ok(body.whole(self, talk, usize::MAX)?.unwrap_or_default());
        }
        Err(Error::refused(redirected(&talk.address)))
    }

    /// Sends a service what it wants to know, and returns its answer.
    ///
    /// # Errors
    /// [`RetryLater`](ipvland_store::Remedy::RetryLater) also where the connection broke before an answer to a push: the
    /// server may have taken it.
    pub(crate) fn call(&self, talk: &Talk, service: &'static str, body: Vec<u8>) -> Result<Body> {
        let base =
            talk.place().or_else(|| self.lock().moved.clone()).unwrap_or_else(|| self.configured.clone());
        let mut url = base.clone();
        url.set_path(&format!("{}/{service}", base.path().trim_end_matches('/')));
        let is_safe = service == "git-upload-pack";
        let ask = Ask { method: Method::POST, url, service, body: body.into(), is_safe };
        let (response, link) = self.exchange(talk, &ask)?;
        if response.status().is_redirection() {
            // A browser would turn it into a GET, and who was asked has not done it.
            return Err(Error::refused(redirected(&talk.address)));
        }
        self.body(talk, response, link, service, "result", MOST_PACK)
    }

    /// Makes a request and waits for the head of the answer.
    fn exchange(&self, talk: &Talk, ask: &Ask) -> Result<(Response<Incoming>, Link)> {
        let way =
            Way { url: &ask.url, tls: &self.tls, proxy: self.proxies.to(&ask.url), address: &talk.address };
        loop {
            let kept = self.take(talk, &ask.url);
            let reused = kept.is_some();
            let mut link = match kept {
                Some(link) => link,
                None => self.wait(talk, Link::open(&way))??,
            };
            let request = request(talk, ask, &link)?;
            talk.meter.asked(ask.body.len());
            match self.wait(talk, link.sender.try_send_request(request))? {
                Ok(response) => return Ok((response, link)),
                Err(mut why) => {
                    let was_sent = why.take_message().is_none();
                    // The server closed what was kept just when it was to be used. A new connection ends this loop.
                    if reused && (ask.is_safe || !was_sent) {
                        continue;
                    }
                    return Err(link.explain(&way, why.error()));
                }
            }
        }
    }

    /// Checks an answer's head.
    fn body(
        &self,
        talk: &Talk,
        response: Response<Incoming>,
        link: Link,
        service: &str,
        kind: &str,
        most: u64,
    ) -> Result<Body> {
        let status = response.status().as_u16();
        if status != 200 {
            let pause = status::pause(response.headers());
            let shows_certificate = self.tls.has_identity();
            let words = self.wait(talk, status::words(response))?;
            return Err(match status {
                401 => talk.login.http_refusal(&talk.address),
                400 if link.is_tls && !shows_certificate && words.contains("certificate") => {
                    super::tls::wants_certificate(&talk.address)
                }
                _ => status::error(&talk.address, status, pause),
            });
        }
        let wanted = format!("application/x-{service}-{kind}");
        let found = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if found.map(|kind| kind.split(';').next().unwrap_or_default().trim()) != Some(wanted.as_str()) {
            return Err(web_page(&talk.address));
        }
        Ok(Body::new(response, link, most))
    }

    /// Waits for something, not longer than the server may be silent and the call may last.
    pub(super) fn wait<T>(&self, talk: &Talk, what: impl Future<Output = T>) -> Result<T> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::away("the store is closed"));
        };
        let patience = talk.patience();
        // A timer is made inside the runtime only.
        runtime.block_on(async { tokio::time::timeout(patience, what).await }).map_err(|_| {
            Error::away(format!(
                "the git server {} did not answer within {} s for {}",
                talk.address.host(),
                patience.as_secs_f32(),
                talk.address.shown
            ))
        })
    }

    /// Takes the connection that was kept, if it leads there and is in order.
    fn take(&self, talk: &Talk, url: &Url) -> Option<Link> {
        let mut kept = self.lock().kept.take()?;
        if kept.since.elapsed() > LONGEST_IDLE || kept.link.origin != url.origin() {
            return None;
        }
        if let Some(rest) = kept.rest.take()
            && !self.wait(talk, rest.drain()).is_ok_and(|is_read| is_read)
        {
            return None;
        }
        kept.link.is_open().then_some(kept.link)
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, kept: Kept) {
        self.lock().kept = Some(kept);
    }

    /// Returns what the server can do for a push, if that is known.
    pub(crate) fn capabilities(&self) -> Option<String> {
        self.lock().capabilities.clone()
    }

    /// Remembers what the server can do for a push, or forgets it.
    pub(crate) fn set_capabilities(&self, capabilities: Option<String>) {
        self.lock().capabilities = capabilities;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Dropped plainly it would wait, which an async thread must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

/// Writes a request. Who logs in is said at once, so that a look is one request; the connection leads to the very host
/// that the login is for.
fn request(talk: &Talk, ask: &Ask, link: &Link) -> Result<Request<Full<Bytes>>> {
    let failed = |why: hyper::http::Error| {
        Error::refused(format!("store.git.repo can't be asked over HTTP ({why}): check the URL"))
    };
    // A proxy for plain HTTP is told the whole URL (RFC 9112, 3.2.2).
    let target = match &link.proxy_for_plain {
        Some(_) => ask.url.as_str(),
        None => &ask.url[url::Position::BeforePath..url::Position::AfterQuery],
    };
    let host = &ask.url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::builder()
        .method(&ask.method)
        .uri(target)
        .header(HOST, host)
        // Some servers know a Git client by the first word.
        .header(USER_AGENT, concat!("git/2.0 (ipvland ", env!("CARGO_PKG_VERSION"), ")"));
    if ask.method == Method::POST {
        request = request
            .header(CONTENT_TYPE, format!("application/x-{}-request", ask.service))
            .header(ACCEPT, format!("application/x-{}-result", ask.service));
    } else {
        request = request.header(ACCEPT, "*/*").header(PRAGMA, "no-cache");
    }
    if let Some((user, password)) = talk.login.basic()? {
        let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
        request = request.header(AUTHORIZATION, sensitive(&format!("Basic {pair}"))?);
    }
    if let Some(Some(login)) = &link.proxy_for_plain {
        request = request.header(PROXY_AUTHORIZATION, sensitive(login)?);
    }
    request.body(Full::new(ask.body.clone())).map_err(failed)
}

/// Makes a header's value that no log shows.
fn sensitive(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::refused("the login for the git server can't be sent over HTTP"))?;
    value.set_sensitive(true);
    Ok(value)
}
