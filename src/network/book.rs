//! The book of networks: one JSON file a network, because Docker tells us of each just once.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tracing::warn;

use super::{Endpoint, Network, Networks};
use crate::durable;

/// The largest file that is read: 10,000 endpoints take about 2 MB.
const LARGEST: u64 = 16 << 20;

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
        durable::create_dir(&dir).map_err(|source| disk("make the directory", &dir, source))?;
        let mut networks = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(|source| disk("read", &dir, source))? {
            let path = entry.map_err(|source| disk("read", &dir, source))?.path();
            // What a crash left unfinished, and what was set aside before, ends otherwise.
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read(&path) {
                Ok(network) => drop(networks.insert(network.id.clone(), network)),
                Err(reason) => set_aside(&path, &reason),
            }
        }
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
        self.change(id, move |_| Ok(Some(network))).await
    }

    /// Removes a network; one that is not there is no error.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn remove(&self, id: &str) -> Result<(), BookError> {
        self.change(id.to_owned(), |_| Ok(None)).await
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
        let (key, id) = (network.to_owned(), id.to_owned());
        self.change(key.clone(), move |known| {
            let mut network = known.cloned().ok_or(BookError::Unknown(key))?;
            network.endpoints.insert(id, endpoint);
            Ok(Some(network))
        })
        .await
    }

    /// Removes an endpoint; one that is not there, or whose network is not, is no error.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn remove_endpoint(&self, network: &str, id: &str) -> Result<(), BookError> {
        let id = id.to_owned();
        self.change(network.to_owned(), move |known| {
            let mut network = known.cloned();
            if let Some(network) = &mut network {
                network.endpoints.remove(&id);
            }
            Ok(network)
        })
        .await
    }

    /// Marks the endpoints of a network that are in containers as restored: Docker started anew.
    ///
    /// # Errors
    /// [`BookError`]; the book is then unchanged.
    pub async fn mark_restored(&self, network: &str) -> Result<(), BookError> {
        self.change(network.to_owned(), |known| {
            let mut network = known.cloned();
            for endpoint in network.iter_mut().flat_map(|network| network.endpoints.values_mut()) {
                endpoint.restored |= endpoint.sandbox.is_some();
            }
            Ok(network)
        })
        .await
    }

    /// Changes one network on disk, then in memory.
    ///
    /// The thread runs to its end even where the caller is dropped, so that both stay alike.
    async fn change<F>(&self, id: String, edit: F) -> Result<(), BookError>
    where
        F: FnOnce(Option<&Network>) -> Result<Option<Network>, BookError> + Send + 'static,
    {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || inner.change(&id, edit));
        done.await.map_err(|_| BookError::CutShort)?
    }
}

impl Inner {
    fn change(
        &self,
        id: &str,
        edit: impl FnOnce(Option<&Network>) -> Result<Option<Network>, BookError>,
    ) -> Result<(), BookError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.networks.borrow().clone();
        let after = edit(before.get(id))?;
        if before.get(id) == after.as_ref() {
            return Ok(());
        }
        let path = self.dir.join(format!("{id}.json"));
        let mut networks = BTreeMap::clone(&before);
        match after {
            Some(network) => {
                let mut text = serde_json::to_vec_pretty(&network)
                    .map_err(|error| disk("write", &path, error.into()))?;
                text.push(b'\n');
                durable::write(&path, &text).map_err(|source| disk("write", &path, source))?;
                networks.insert(id.to_owned(), network);
            }
            None => {
                durable::remove(&path).map_err(|source| disk("remove", &path, source))?;
                networks.remove(id);
            }
        }
        self.networks.send_replace(Arc::new(networks));
        Ok(())
    }
}

fn disk(action: &'static str, path: &Path, source: io::Error) -> BookError {
    BookError::Disk { action, path: path.display().to_string(), source }
}

fn read(path: &Path) -> Result<Network, String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if metadata.len() > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let network: Network = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if path.file_stem().is_none_or(|stem| stem != network.id.as_str()) {
        return Err(format!("it is about network {}", network.id));
    }
    Ok(network)
}

fn set_aside(path: &Path, reason: &str) {
    let file = path.display();
    match durable::set_aside(path, ".damaged") {
        Ok(aside) => warn!(
            file = %aside.display(),
            "cannot read the network file {file}: {reason}: it is set aside; mend it, take `.damaged` off its name and \
             restart ipvland, or remove the network with `docker network rm` and make it again",
        ),
        Err(error) => warn!(
            %file,
            "cannot read the network file {file}: {reason}; and it can't be set aside: {error}: its network does not \
             work until the file is mended and ipvland restarted",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        kernel::{Flag, Mode},
        network::Subnet,
    };

    fn network(id: &str) -> Network {
        Network {
            id: id.to_owned(),
            name: "blue".to_owned(),
            parent: "eth2".to_owned(),
            made_parent: false,
            mode: Mode::L3,
            flag: Flag::Bridge,
            mtu: Some(1400),
            internal: false,
            subnets: vec![Subnet { pool: "10.1.48.0/24".parse().unwrap(), gateway: None }],
            endpoints: BTreeMap::new(),
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint::new(vec!["10.1.48.2/24".parse().unwrap()], Some("blue0".to_owned()))
    }

    #[tokio::test]
    async fn what_is_entered_is_there_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        book.insert(network("aa")).await.unwrap();
        book.insert(network("bb")).await.unwrap();
        book.insert_endpoint("aa", "e1", endpoint()).await.unwrap();
        book.insert_endpoint("aa", "e2", endpoint()).await.unwrap();
        book.remove_endpoint("aa", "e2").await.unwrap();
        book.remove("bb").await.unwrap();
        let again = Book::open(state.path().to_owned()).unwrap();
        assert_eq!(again.networks(), book.networks());
        assert_eq!(again.networks()["aa"].endpoints.keys().collect::<Vec<_>>(), ["e1"]);
        let mode = fs::metadata(again.dir().join("aa.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside_and_stops_no_other() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        book.insert(network("aa")).await.unwrap();
        let dir = book.dir().to_owned();
        fs::write(dir.join("bb.json"), b"{\"id\": ").unwrap();
        fs::copy(dir.join("aa.json"), dir.join("cc.json")).unwrap();
        fs::create_dir(dir.join("dd.json")).unwrap();
        fs::write(dir.join("ee.json.unfinished"), b"{").unwrap();
        let again = Book::open(state.path().to_owned()).unwrap();
        assert_eq!(again.networks().keys().collect::<Vec<_>>(), ["aa"]);
        for name in ["bb.json.damaged", "cc.json.damaged", "dd.json.damaged"] {
            assert!(dir.join(name).exists(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_change_that_the_disk_refuses_is_not_seen() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        book.insert(network("aa")).await.unwrap();
        fs::remove_dir_all(book.dir()).unwrap();
        let seen = book.subscribe();
        let error = book.insert(network("bb")).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("bb.json"), "{error}");
        assert!(!seen.has_changed().unwrap());
        assert_eq!(book.networks().len(), 1);
    }

    #[tokio::test]
    async fn endpoints_in_containers_are_marked_as_restored_on_disk_too() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        book.insert(network("aa")).await.unwrap();
        book.insert_endpoint("aa", "e1", endpoint()).await.unwrap();
        let joined = Endpoint { sandbox: Some("/var/run/docker/netns/5e1f".to_owned()), ..endpoint() };
        book.insert_endpoint("aa", "e2", joined).await.unwrap();
        book.mark_restored("aa").await.unwrap();
        book.mark_restored("bb").await.unwrap();
        let again = Book::open(state.path().to_owned()).unwrap().networks();
        assert_eq!(again["aa"].endpoints.values().map(|e| e.restored).collect::<Vec<_>>(), [false, true]);
    }

    #[tokio::test]
    async fn an_endpoint_needs_its_network_but_its_removal_does_not() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        assert!(book.insert_endpoint("aa", "e1", endpoint()).await.is_err());
        book.remove_endpoint("aa", "e1").await.unwrap();
        book.remove("aa").await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn writers_at_once_lose_nothing() {
        let state = tempfile::tempdir().unwrap();
        let book = Book::open(state.path().to_owned()).unwrap();
        book.insert(network("aa")).await.unwrap();
        let writes = (0..40).map(|n| {
            let book = book.clone();
            tokio::spawn(async move { book.insert_endpoint("aa", &format!("e{n}"), endpoint()).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        assert_eq!(book.networks()["aa"].endpoints.len(), 40);
        assert_eq!(Book::open(state.path().to_owned()).unwrap().networks(), book.networks());
    }
}
