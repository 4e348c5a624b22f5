//! Endpoints that Docker forgot: it removed them while the daemon was away for longer than it repeats its calls.

use std::{io, path::Path, time::Duration};

use super::{Inner, Ipam, Pool, network_of};
use crate::network::{Endpoint, Network, short_id};

impl Ipam {
    /// Says why an endpoint that has an address can't make way for a new one with that address: it is alive, and the
    /// address is ours to give just once.
    ///
    /// # Errors
    /// A sentence.
    pub async fn check_gone(&self, network: &Network, id: &str, endpoint: &Endpoint) -> Result<(), String> {
        let ours = {
            let state = self.0.state();
            endpoint.addresses.iter().map(|net| net.addr()).find(|address| state.pool_of(*address).is_some())
        };
        match ours {
            Some(address)
                if !is_forgotten(endpoint.clone(), Some(Duration::ZERO), self.0.times.apart).await =>
            {
                Err(super::addresses::taken(address, network, id))
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    /// Removes the endpoints of a pool that Docker forgot, when addresses run out; says whether there were any.
    pub(super) async fn reclaim(&self, pool: &Pool) -> bool {
        let networks = self.book.networks();
        let Some(network) = network_of(&networks, pool.net) else { return false };
        let mut any = false;
        for (id, endpoint) in &network.endpoints {
            let apart = self.apart_for(endpoint);
            if is_forgotten(endpoint.clone(), apart, self.times.apart).await {
                any |= self.remove_forgotten(network, id, endpoint).await;
            }
        }
        any
    }

    /// Removes an endpoint that Docker forgot, and frees its addresses.
    pub(super) async fn remove_forgotten(&self, network: &Network, id: &str, endpoint: &Endpoint) -> bool {
        if let Err(error) = self.book.remove_endpoint(&network.id, id).await {
            tracing::warn!(
                endpoint = short_id(id),
                "the addresses of a forgotten endpoint stay taken: {error}"
            );
            return false;
        }
        let mut state = self.state();
        endpoint.addresses.iter().for_each(|net| state.free(net.addr()));
        tracing::warn!(
            network = network.name,
            endpoint = short_id(id),
            addresses = ?endpoint.addresses,
            "endpoint {} has no container any more, and Docker never removed it: its addresses are free again",
            short_id(id)
        );
        true
    }

    /// Returns for how long an endpoint has been in no container, as far as this daemon knows.
    pub(super) fn apart_for(&self, endpoint: &Endpoint) -> Option<Duration> {
        let state = self.state();
        let since = endpoint.addresses.iter().filter_map(|net| state.given.get(&net.addr()));
        since.map(|given| given.since.elapsed()).min()
    }
}

/// Says whether no container can have an endpoint: its network namespace is gone, or it was in none for long.
pub(super) async fn is_forgotten(endpoint: Endpoint, apart: Option<Duration>, longest: Duration) -> bool {
    let Some(sandbox) = endpoint.sandbox else { return apart.is_some_and(|apart| apart >= longest) };
    tokio::task::spawn_blocking(move || is_gone(Path::new(&sandbox))).await.unwrap_or(false)
}

/// Says whether a file is gone from a directory that can be seen.
fn is_gone(path: &Path) -> bool {
    let seen = path.is_absolute() && path.parent().is_some_and(|parent| std::fs::read_dir(parent).is_ok());
    let missing = std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    seen && missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(sandbox: Option<String>) -> Endpoint {
        Endpoint { sandbox, ..Endpoint::new(Vec::new(), None) }
    }

    #[tokio::test]
    async fn only_what_can_be_seen_to_be_gone_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(dir.path().join(name).to_str().unwrap().to_owned());
        std::fs::write(dir.path().join("alive"), "").unwrap();
        let (long, limit) = (Some(Duration::from_secs(3600)), Duration::from_secs(120));
        for (sandbox, apart, forgotten) in [
            (path("alive"), long, false),
            (path("gone"), None, true),
            (path("no/directory"), long, false),
            (Some("gone".to_owned()), long, false),
            (None, long, true),
            (None, Some(Duration::from_secs(10)), false),
            (None, None, false),
        ] {
            assert_eq!(is_forgotten(endpoint(sandbox.clone()), apart, limit).await, forgotten, "{sandbox:?}");
        }
    }
}
