//! What can go wrong in a store, and what the caller is to do about it.

use std::{fmt, time::Duration};

/// The result of every call to a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller does after an error. There are four answers, and callers match all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The store is away, slow or busy: the same call may succeed later. A write that ended so MAY have happened.
    RetryLater,
    /// Another host was first: nothing was written. Read again, edit again, commit again.
    RunAgain,
    /// The store no longer knows the revision it was asked about. Take a new snapshot.
    StartOver,
    /// Neither waiting nor reading helps (a wrong password, a refused write): an operator must act.
    GiveUp,
}

/// An error of a store: one sentence that an operator can act on, the [`Remedy`] for the caller, and the cause.
///
/// Neither `Display` nor `Debug` MAY show a secret: whoever makes the sentence leaves passwords and tokens out, also
/// those in a URL, and doesn't attach a source that would print one.
pub struct Error {
    remedy: Remedy,
    message: String,
    pause: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error from its remedy and a lower-case sentence: what, where, what to do.
    pub fn new(remedy: Remedy, message: impl Into<String>) -> Self {
        Self { remedy, message: message.into(), pause: None, source: None }
    }

    /// The store can't be reached or doesn't answer in time ([`Remedy::RetryLater`]).
    pub fn away(message: impl Into<String>) -> Self {
        Self::new(Remedy::RetryLater, message)
    }

    /// Another host wrote first ([`Remedy::RunAgain`]).
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Remedy::RunAgain, message)
    }

    /// A revision is not in the store's history any more ([`Remedy::StartOver`]).
    pub fn history_gone(message: impl Into<String>) -> Self {
        Self::new(Remedy::StartOver, message)
    }

    /// The store, or its configuration, says no for good ([`Remedy::GiveUp`]).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Remedy::GiveUp, message)
    }

    /// Attaches the cause. It MUST NOT print a secret.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says how long the store itself asked to be left alone, as a server does by `Retry-After` (RFC 9110, 10.2.3).
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }

    /// Returns how long the store asked to be left alone. Who asks it again waits at least so long.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// Returns what the caller is to do.
    pub fn remedy(&self) -> Remedy {
        self.remedy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.remedy, self.message)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
