//! Every kind of store, as a scenario wants it that works on all of them: only the config file differs.

mod etcd;
mod filesystem;
mod git;
mod redis;

pub(crate) use etcd::Etcd;
pub(crate) use filesystem::SharedDirectory;
pub(crate) use redis::Redis;

use super::host::Host;
use crate::failure::Outcome;

/// A store that a fleet shares, on a host of its own at 10.1.1.1.
pub(crate) trait StoreServer {
    /// What every host's config file says of the store.
    fn tables(&self) -> String;

    /// Prepares a host that was turned on, before its daemon starts.
    ///
    /// # Errors
    /// Where the host does not get what the store needs there, such as a mount.
    fn prepare(&self, _host: &Host) -> Outcome {
        Ok(())
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not come up.
    fn start(&self) -> Outcome;

    /// Stops the server, so that no host reaches its store.
    ///
    /// # Errors
    /// Where it does not end.
    fn stop(&self) -> Outcome;
}
