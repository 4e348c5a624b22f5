//! One host with its store, as the daemon would open it, and a directory that hosts share.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use ipvland_store::{
    Batch, Delta, EndpointStore, Key, Nudge, OpenContext, Result, Revision, Snapshot, Writer,
};
use ipvland_store_filesystem::{FilesystemStore, Settings};
use tempfile::TempDir;

/// A directory that hosts share.
pub(crate) struct Share {
    folder: TempDir,
}

impl Share {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("net")
    }

    /// Returns where a record lies.
    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.path().join("endpoints").join(name)
    }

    pub(crate) fn machinery(&self, name: &str) -> PathBuf {
        self.path().join(".ipvland").join(name)
    }

    /// Copies all that is in it.
    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.path(), &folder.path().join("net"));
        Self { folder }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A host.
pub(crate) struct Host {
    pub(crate) store: Arc<FilesystemStore>,
    pub(crate) nudge: Nudge,
    _state: Arc<TempDir>,
}

impl Host {
    pub(crate) fn at(path: &Path) -> Self {
        Self::open(path, "50ms", "10s", Arc::new(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn open(path: &Path, interval: &str, timeout: &str, state: Arc<TempDir>) -> Self {
        let settings = Settings {
            path: path.to_owned(),
            interval: Some(interval.to_owned()),
            timeout: Some(timeout.to_owned()),
        };
        let nudge = Nudge::new();
        let context = OpenContext {
            state_dir: state.path().join("store"),
            writer: Writer { name: "web-1".into(), address: "10.1.1.1".into() },
            nudge: nudge.clone(),
        };
        Self { store: Arc::new(FilesystemStore::open(&settings, context).unwrap()), nudge, _state: state }
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.store.snapshot().await.unwrap()
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<Revision> {
        let base = self.store.snapshot().await?.revision;
        self.store.commit(&base, batch).await
    }

    /// Publishes one record on top of what is there.
    pub(crate) async fn publish(&self, name: &str, text: &str) -> Revision {
        self.commit(put(name, text)).await.unwrap()
    }

    /// Returns the texts of all records, in the order of their names.
    pub(crate) async fn texts(&self) -> Vec<(String, String)> {
        let records = self.snapshot().await.records;
        let text = |(key, bytes): (&Key, &bytes::Bytes)| {
            (key.to_string(), String::from_utf8(bytes.to_vec()).unwrap())
        };
        records.iter().map(text).collect()
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

pub(crate) fn put(name: &str, text: &str) -> Batch {
    Batch::new(format!("web-1 publishes {name}")).put(key(name), text.to_owned())
}

/// Makes texts of what a test expects.
pub(crate) fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Reads the next delta.
pub(crate) async fn next(deltas: &mut BoxStream<'static, Result<Delta>>) -> Result<Delta> {
    let next = tokio::time::timeout(Duration::from_secs(20), deltas.next()).await;
    next.expect("a delta in time").expect("the watch goes on")
}
