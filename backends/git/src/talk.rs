//! One call's talk with the server: how long it may last, what it cost, and why it failed.
//!
//! libgit2 makes its transports by itself and hands errors on as numbers and one line of text. It does all work of a call
//! on the thread that calls it, so the talk of the call is a thread's own variable.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ipvland_store::Error;
use url::Url;

use crate::{address::Address, credentials::Login, remote::Server, transport::Line};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Talk>>> = const { RefCell::new(None) };
}

/// What a call's exchanges with the server have in common.
pub(crate) struct Talk {
    pub(crate) address: Address,
    pub(crate) login: Login,
    pub(crate) line: Arc<Line>,
    pub(crate) meter: Meter,
    /// How long the server may be silent.
    silence: Duration,
    /// When the call must have ended.
    end: Instant,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    failure: Option<Error>,
    place: Option<Url>,
    capabilities: String,
}

impl Talk {
    /// Returns the talk of the call that runs on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Returns how long the next step may take.
    pub(crate) fn patience(&self) -> Duration {
        self.silence.min(self.end.saturating_duration_since(Instant::now()))
    }

    /// Keeps why the talk ended, in our words.
    pub(crate) fn fail(&self, why: Error) {
        self.notes().failure.get_or_insert(why);
    }

    /// Takes why the talk ended, if we know better than libgit2.
    pub(crate) fn take_failure() -> Option<Error> {
        Self::current()?.notes().failure.take()
    }

    /// Goes on at another place, for the rest of the call.
    pub(crate) fn go_to(&self, place: Url) {
        self.notes().place = Some(place);
    }

    /// Returns the other place.
    pub(crate) fn place(&self) -> Option<Url> {
        self.notes().place.clone()
    }

    /// Keeps what the server can do for a fetch.
    pub(crate) fn note_capabilities(&self, capabilities: String) {
        self.notes().capabilities = capabilities;
    }

    /// Returns what the server can do for a fetch, or nothing where it wasn't asked.
    pub(crate) fn capabilities(&self) -> String {
        self.notes().capabilities.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what a call costs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// Counts a request and the bytes of its body.
    pub(crate) fn asked(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts further bytes that go out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of an answer.
    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Makes a talk the one of this thread, until it's dropped; then says what it cost.
pub(crate) struct Call {
    talk: Arc<Talk>,
    name: &'static str,
    start: Instant,
}

impl Call {
    /// Begins a call, which lasts at most `limit`.
    pub(crate) fn begin(name: &'static str, server: &Server, silence: Duration, limit: Duration) -> Self {
        let start = Instant::now();
        let talk = Arc::new(Talk {
            address: server.address.clone(),
            login: server.login.clone(),
            line: Arc::clone(&server.line),
            meter: Meter::default(),
            silence,
            end: start + limit,
            notes: Mutex::default(),
        });
        CURRENT.set(Some(Arc::clone(&talk)));
        Self { talk, name, start }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        CURRENT.set(None);
        let Meter { requests, sent, received } = &self.talk.meter;
        tracing::debug!(
            call = self.name,
            repo = self.talk.address.shown,
            requests = requests.load(Ordering::Relaxed),
            sent_bytes = sent.load(Ordering::Relaxed),
            received_bytes = received.load(Ordering::Relaxed),
            took_us = self.start.elapsed().as_micros() as u64,
            "talked with the git server"
        );
    }
}
