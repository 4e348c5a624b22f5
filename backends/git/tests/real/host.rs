//! One host with its store, as the daemon would open it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipvland_store::{Batch, EndpointStore, Key, Nudge, OpenContext, Result, Revision, Snapshot, Writer};
use ipvland_store_git::{GitStore, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host.
pub(crate) struct Host {
    pub(crate) store: Arc<GitStore>,
    pub(crate) state: Arc<TempDir>,
    pub(crate) nudge: Nudge,
}

impl Host {
    /// Opens the store of `10.1.1.N` with a URL or path and further settings.
    pub(crate) fn open(number: usize, repo: &str, more: Value) -> Self {
        let state = Arc::new(tempfile::tempdir().unwrap());
        let mut table = more;
        table["repo"] = repo.into();
        Self::try_open(number, table, state).unwrap()
    }

    /// Opens the store over a state directory and a whole table of settings.
    pub(crate) fn try_open(number: usize, mut table: Value, state: Arc<TempDir>) -> Result<Self> {
        if table.get("interval").is_none() {
            table["interval"] = "50ms".into();
        }
        let settings: Settings = serde_json::from_value(table).unwrap();
        let nudge = Nudge::new();
        let context = OpenContext {
            state_dir: state.path().join("store"),
            writer: Writer { name: format!("web-{number}"), address: format!("10.1.1.{number}") },
            nudge: nudge.clone(),
        };
        Ok(Self { store: Arc::new(GitStore::open(&settings, context)?), state, nudge })
    }

    /// Opens the store of a path.
    pub(crate) fn at(number: usize, path: &Path) -> Self {
        Self::open(number, path.to_str().unwrap(), json!({}))
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.store.snapshot().await.unwrap()
    }

    pub(crate) async fn commit(&self, base: &Revision, batch: Batch) -> Revision {
        self.store.commit(base, batch).await.unwrap()
    }

    /// Publishes one record on top of what is there.
    pub(crate) async fn publish(&self, name: &str, text: &str) -> Revision {
        let base = self.snapshot().await.revision;
        self.commit(&base, put(name, text)).await
    }

    /// Returns the directory of the clone.
    pub(crate) fn clone_dir(&self) -> PathBuf {
        let entries = fs::read_dir(self.state.path().join("store")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|extension| extension == "git")).unwrap()
    }

    /// Tells whether a text is anywhere below the state directory.
    pub(crate) fn state_holds(&self, text: &str) -> bool {
        holds(self.state.path(), text.as_bytes())
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

pub(crate) fn put(name: &str, text: &str) -> Batch {
    Batch::new(format!("web publishes {name}")).put(key(name), text.to_owned())
}

fn holds(path: &Path, text: &[u8]) -> bool {
    if path.to_string_lossy().as_bytes().windows(text.len()).any(|part| part == text) {
        return true;
    }
    if path.is_dir() {
        return fs::read_dir(path).unwrap().any(|entry| holds(&entry.unwrap().path(), text));
    }
    fs::read(path).unwrap().windows(text.len()).any(|part| part == text)
}
