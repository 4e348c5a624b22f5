//! What the socket offers beside Docker's protocol: orders of the command line to the daemon.

use std::fmt;

use async_trait::async_trait;

/// The daemon, as the socket sees it.
#[async_trait]
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// Withdraws this host's record and its own routes; with `force` also while networks are there that need them.
    ///
    /// Returns a sentence about what was done, or about what stands against it.
    async fn leave(&self, force: bool) -> Result<String, String>;

    /// Looks at the store and at the kernel now, without waiting for the interval, and says what it saw.
    async fn sync(&self) -> Result<String, String>;
}
