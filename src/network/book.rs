//! The book of networks and their endpoints, on disk because Docker tells us of each just once.
//!
//! A network is a file `networks/ID.json` that survives a power cut. Each of its endpoints is a file in the directory
//! `networks/ID`, which survives the death of the daemon: after a power cut no container runs any more, and Docker makes
//! every endpoint anew. So the start of a container waits for no disk.

mod files;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{Endpoint, Network, Networks};

/// A change of the book that did not reach the disk; the book is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file system refused.
    #[error("cannot {action} {path}: {source}: check that the disk has room and is writable, then try again")]
    Disk {
        /// `read`, `write`, `remove`, or `make the directory`.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// The network is not in the book.
    #[error("network {0} is not in the book of networks")]
    Unknown(String),
    /// The thread that writes ended early.
    #[error("the write of the book of networks was cut short: restart ipvland")]
    CutShort,
}

/// The networks of this host, in memory and on disk alike: a change is on disk before anybody sees it.
///
/// Clones are handles on one book.
#[derive(Debug, Clone)]
pub struct Book(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    // Held while a file is written, so that changes come one by one and no network sees half of another's.
    writing: Mutex<()>,
    networks: watch::Sender<Networks>,
}

impl Book {
    /// Opens the book below the daemon's state directory, made with mode 0700 where it is missing. It blocks.
    ///
    /// A damaged file is reported and set aside as `.damaged`; the other networks go on working.
    ///
    /// # Errors
    /// [`BookError::Disk`] when the directory can't be made or listed.
    pub fn open(state: PathBuf) -> Result<Self, BookError> {
        let dir = state.join("networks");
        let networks = files::read_all(&dir)?;
        let (networks, _) = watch::channel(Arc::new(networks));
        Ok(Self(Arc::new(Inner { dir, writing: Mutex::new(()), networks })))
    }

    /// Returns the directory of the files.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Returns every network.
    pub fn networks(&self) -> Networks {
        self.0.networks.borrow().clone()
    }

    /// Returns a receiver that sees the networks as they are and every change.
    pub fn subscribe(&self) -> watch::Receiver<Networks> {
        self.0.networks.subscribe()
    }

    /// Enters a network, in the place of one with its id.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn insert(&self, network: Network) -> Result<(), BookError> {
        let id = network.id.clone();
        self.change(&id, Some(network)).await
    }

    /// Removes a network; one that is not there is no error.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn remove(&self, id: &str) -> Result<(), BookError> {
        self.change(id, None).await
    }

    /// Enters an endpoint of a network, in the place of one with its id.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn insert_endpoint(
        &self,
        network: &str,
        id: &str,
        endpoint: Endpoint,
    ) -> Result<(), BookError> {
        self.change_endpoint(network, id, Some(endpoint)).await
    }

    /// Removes an endpoint; one that is not there, or whose network is not, is no error.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn remove_endpoint(&self, network: &str, id: &str) -> Result<(), BookError> {
        self.change_endpoint(network, id, None).await
    }

    /// Marks the endpoints of a network that are in containers as restored: Docker started anew.
    ///
    /// # Errors
    /// [`BookError`]; the endpoints that come after the one that could not be written are then unmarked.
    pub async fn mark_restored(&self, network: &str) -> Result<(), BookError> {
        let networks = self.networks();
        let endpoints = networks.get(network).into_iter().flat_map(|network| &network.endpoints);
        for (id, endpoint) in endpoints.filter(|(_, endpoint)| endpoint.sandbox.is_some()) {
            self.insert_endpoint(network, id, Endpoint { restored: true, ..endpoint.clone() }).await?;
        }
        Ok(())
    }

    /// Changes one network on disk, then in memory.
    ///
    /// The thread runs to its end even where the caller is dropped, so that both stay alike.
    async fn change(&self, id: &str, network: Option<Network>) -> Result<(), BookError> {
        let (inner, id) = (self.0.clone(), id.to_owned());
        let done = tokio::task::spawn_blocking(move || inner.change(&id, network));
        done.await.map_err(|_| BookError::CutShort)?
    }

    async fn change_endpoint(
        &self,
        network: &str,
        id: &str,
        endpoint: Option<Endpoint>,
    ) -> Result<(), BookError> {
        let (inner, network, id) = (self.0.clone(), network.to_owned(), id.to_owned());
        let done = tokio::task::spawn_blocking(move || inner.change_endpoint(&network, &id, endpoint));
        done.await.map_err(|_| BookError::CutShort)?
    }
}

impl Inner {
    fn change(&self, id: &str, network: Option<Network>) -> Result<(), BookError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.networks.borrow().clone();
        if before.get(id) == network.as_ref() {
            return Ok(());
        }
        let mut networks = BTreeMap::clone(&before);
        match network {
            Some(network) => {
                files::write_network(&self.dir, &network)?;
                networks.insert(id.to_owned(), network);
            }
            None => {
                files::remove_network(&self.dir, id)?;
                networks.remove(id);
            }
        }
        self.networks.send_replace(Arc::new(networks));
        Ok(())
    }

    fn change_endpoint(&self, network: &str, id: &str, endpoint: Option<Endpoint>) -> Result<(), BookError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.networks.borrow().clone();
        let known = before.get(network).map(|network| network.endpoints.get(id));
        match (known, &endpoint) {
            (None, Some(_)) => return Err(BookError::Unknown(network.to_owned())),
            (None, None) => return Ok(()),
            (Some(known), asked) if known == asked.as_ref() => return Ok(()),
            (Some(_), Some(endpoint)) => files::write_endpoint(&self.dir, network, id, endpoint)?,
            (Some(_), None) => files::remove_endpoint(&self.dir, network, id)?,
        }
        let mut networks = BTreeMap::clone(&before);
        if let Some(network) = networks.get_mut(network) {
            match endpoint {
                Some(endpoint) => network.endpoints.insert(id.to_owned(), endpoint),
                None => network.endpoints.remove(id),
            };
        }
        self.networks.send_replace(Arc::new(networks));
        Ok(())
    }
}
