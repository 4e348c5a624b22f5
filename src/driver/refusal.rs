//! A "no" to Docker, and the time after which one is due.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{kernel::KernelError, network::BookError};

/// Why Docker doesn't get what it asked for: one lower-case sentence, all that its protocol has room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl From<KernelError> for Refusal {
    fn from(error: KernelError) -> Self {
        Self(error.to_string())
    }
}

impl From<BookError> for Refusal {
    fn from(error: BookError) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

/// When a request has to be answered: Docker's client waits forever, and dockerd with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    pub(super) fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// Waits for one step of a request; `what` tells whom it waited for when time is up.
    pub(super) async fn wait<T>(&self, what: &str, step: impl Future<Output = T>) -> Result<T, Refusal> {
        timeout_at(self.at, step).await.map_err(|_| {
            let seconds = self.after.as_secs_f32();
            Refusal(format!(
                "gave up after {seconds} s of waiting for {what}: see the log of ipvland, then try again"
            ))
        })
    }
}
