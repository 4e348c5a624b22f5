//! A store in memory, stricter than any real one.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, task::yield_now};

use crate::{
    Batch, Delta, EndpointStore, Error, Key, MAX_RECORD_BYTES, Registry, Result, Revision, Snapshot, Stray,
};

/// Records in this process's memory. Clones are handles on one store.
///
/// For one host without any store, for tests of what stands above a store, and as the model that other stores are
/// held against: it refuses revisions that it never gave out, and lets other tasks run at every step, so that a race
/// in its caller shows.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// Tells this store's revisions from those of another in the same process.
    id: u64,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Key, Bytes>,
    strays: BTreeMap<String, Stray>,
    /// The number of the newest revision.
    newest: u64,
    /// What each revision after the oldest changed; the last led to the newest.
    history: VecDeque<Change>,
}

#[derive(Clone)]
struct Change {
    records: BTreeMap<Key, Option<Bytes>>,
    strays: Vec<Stray>,
}

impl Default for Shared {
    fn default() -> Self {
        static STORES: AtomicU64 = AtomicU64::new(1);
        let id = STORES.fetch_add(1, Ordering::Relaxed);
        Self { id, state: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl MemoryStore {
    /// Makes a store that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes all revisions but the newest unknown, as a compaction or a rewritten history does: who watches after one
    /// of them is told to start over.
    pub fn forget_history(&self) {
        self.shared.lock().history.clear();
    }

    /// Puts something under any name, as another program's hand in a real store does. What can be a record is one;
    /// all else is a stray.
    pub fn plant(&self, name: &[u8], bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let shown = name.escape_ascii().to_string();
        let key = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8".to_owned());
        let key = key.and_then(|name| Key::parse(name).map_err(|invalid| invalid.to_string()));
        let mut state = self.shared.lock();
        let (records, reason) = match key {
            Ok(key) if bytes.len() <= MAX_RECORD_BYTES => (BTreeMap::from([(key, Some(bytes))]), None),
            // It takes the place of the record that had the name.
            Ok(key) => (BTreeMap::from([(key, None)]), Some(too_large(bytes.len()))),
            Err(reason) => (BTreeMap::new(), Some(reason)),
        };
        state.strays.remove(&shown);
        if let Some(reason) = reason {
            state.strays.insert(shown.clone(), Stray { name: shown, reason });
        }
        state.apply(records);
        drop(state);
        self.shared.changed.send_replace(());
    }
}

fn too_large(bytes: usize) -> String {
    format!("it has {bytes} bytes, more than the {MAX_RECORD_BYTES} of a record")
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revision(&self, number: u64) -> Revision {
        Revision::new(format!("memory-{}-{number}", self.id))
    }

    /// Returns the number of a revision that this store gave out.
    fn number(&self, revision: &Revision, newest: u64) -> Option<u64> {
        let (store, number) = revision.as_str().strip_prefix("memory-")?.split_once('-')?;
        let number = number.parse().ok().filter(|number| *number <= newest)?;
        (store == self.id.to_string()).then_some(number)
    }

    /// Returns the first change after a revision, or `None` if the store is still there.
    fn change_after(&self, after: &Revision) -> Result<Option<Delta>> {
        let state = self.lock();
        let gone =
            || Error::history_gone(format!("the memory store does not know revision {after} any more"));
        let number = self.number(after, state.newest).ok_or_else(gone)?;
        let oldest = state.newest - state.history.len() as u64;
        let index = number.checked_sub(oldest).ok_or_else(gone)?;
        Ok(state.history.get(index as usize).cloned().map(|change| Delta {
            revision: self.revision(number + 1),
            changes: change.records,
            strays: change.strays,
        }))
    }
}

impl State {
    fn apply(&mut self, changes: BTreeMap<Key, Option<Bytes>>) {
        for (key, change) in &changes {
            match change {
                Some(bytes) => {
                    self.strays.remove(key.as_str());
                    self.records.insert(key.clone(), bytes.clone());
                }
                None => {
                    self.records.remove(key);
                }
            }
        }
        self.newest += 1;
        self.history.push_back(Change { records: changes, strays: self.strays.values().cloned().collect() });
    }
}

#[async_trait]
impl EndpointStore for MemoryStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        yield_now().await;
        let snapshot = {
            let state = self.shared.lock();
            Snapshot {
                revision: self.shared.revision(state.newest),
                records: state.records.clone(),
                strays: state.strays.values().cloned().collect(),
            }
        };
        yield_now().await;
        Ok(snapshot)
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        yield_now().await;
        for (key, change) in &batch.changes {
            if let Some(bytes) = change.as_ref().filter(|bytes| bytes.len() > MAX_RECORD_BYTES) {
                return Err(Error::refused(format!("can't write {key}: {}", too_large(bytes.len()))));
            }
        }
        let revision = {
            let mut state = self.shared.lock();
            let newest = state.newest;
            match self.shared.number(base, newest) {
                None => {
                    return Err(Error::refused(format!("the memory store never gave out revision {base}")));
                }
                Some(number) if number != newest => {
                    return Err(Error::conflict(format!(
                        "the memory store is at {}, not at {base} any more",
                        self.shared.revision(newest)
                    )));
                }
                Some(_) => {}
            }
            let records = &state.records;
            if batch.changes.iter().all(|(key, change)| records.get(key) == change.as_ref()) {
                return Ok(base.clone());
            }
            state.apply(batch.changes);
            self.shared.revision(state.newest)
        };
        self.shared.changed.send_replace(());
        yield_now().await;
        Ok(revision)
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let wakes = self.shared.changed.subscribe();
        let watcher = Watcher { shared: self.shared.clone(), wakes, after: Some(after) };
        stream::unfold(watcher, async |mut watcher| watcher.next().await.map(|item| (item, watcher))).boxed()
    }
}

struct Watcher {
    shared: Arc<Shared>,
    wakes: watch::Receiver<()>,
    /// `None` after the error that ends the stream.
    after: Option<Revision>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Delta>> {
        loop {
            let after = self.after.clone()?;
            yield_now().await;
            self.wakes.borrow_and_update();
            match self.shared.change_after(&after) {
                Ok(Some(delta)) => {
                    self.after = Some(delta.revision.clone());
                    return Some(Ok(delta));
                }
                // The sender lives in `shared`, so that waiting can't fail.
                Ok(None) => self.wakes.changed().await.ok()?,
                Err(error) => {
                    self.after = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({})", self.shared.revision(self.shared.lock().newest))
    }
}

/// Registers the kind `memory`, which has no settings. Each opening makes a store of its own, that nobody shares.
pub fn register(registry: &mut Registry) {
    #[derive(serde::Deserialize)]
    struct Settings {}
    registry.register("memory", &[], |_: Settings, _| async { Ok(Arc::new(MemoryStore::new()) as _) });
}
