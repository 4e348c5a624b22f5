//! The last good snapshot on disk, for a host that starts while its store is away.

use std::{collections::BTreeMap, io, path::PathBuf};

use bytes::Bytes;
use ipvland_store::{Key, Revision, Snapshot};
use serde::{Deserialize, Serialize};

use crate::durable;

/// The file that holds the snapshot.
#[derive(Debug, Clone)]
pub struct Cache {
    path: PathBuf,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Which store the snapshot is of, as [`StoreConfig::place`](crate::config::StoreConfig::place) says; empty where an
    /// earlier version wrote the file.
    pub place: String,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Records that the store does not show and whose routes are kept.
    pub held: BTreeMap<Key, Bytes>,
    /// Whether they are held because the store is another one than before.
    pub swapped: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    store: String,
    revision: String,
    /// Records that are not UTF-8 are left out: no host can read them.
    records: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<String, String>,
    #[serde(default)]
    swapped: bool,
}

impl Cache {
    /// Names the file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the snapshot; a file that is missing or damaged is none.
    pub fn read(&self) -> Option<Saved> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "cannot read the last snapshot, going on without");
                return None;
            }
        };
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) if file.version == 1 => Some(Saved {
                place: file.store,
                snapshot: Snapshot {
                    revision: Revision::new(file.revision),
                    records: from_texts(file.records),
                    strays: Vec::new(),
                },
                held: from_texts(file.held),
                swapped: file.swapped,
            }),
            _ => {
                tracing::warn!(
                    file = %self.path.display(), "the last snapshot is damaged or of another version, going on without"
                );
                None
            }
        }
    }

    /// Writes the snapshot; a failure is logged, as the daemon does without until its next start.
    pub async fn write(&self, saved: &Saved) {
        let file = File {
            version: 1,
            store: saved.place.clone(),
            revision: saved.snapshot.revision.to_string(),
            records: to_texts(&saved.snapshot.records),
            held: to_texts(&saved.held),
            swapped: saved.swapped,
        };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let bytes = serde_json::to_vec(&file).map_err(io::Error::other)?;
            durable::write(&path, &bytes)
        });
        if let Err(error) = written.await.map_err(io::Error::other).and_then(|written| written) {
            tracing::warn!(
                file = %self.path.display(), %error,
                "cannot write the last snapshot, so a start while the store is away would find no routes; free the disk"
            );
        }
    }
}

fn to_texts(records: &BTreeMap<Key, Bytes>) -> BTreeMap<String, String> {
    let texts = records.iter();
    texts
        .filter_map(|(key, bytes)| Some((key.to_string(), String::from_utf8(bytes.to_vec()).ok()?)))
        .collect()
}

fn from_texts(texts: BTreeMap<String, String>) -> BTreeMap<Key, Bytes> {
    texts.into_iter().filter_map(|(name, text)| Some((Key::parse(&name).ok()?, Bytes::from(text)))).collect()
}
