//! The store itself: the three methods of the contract over the directory.

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex as StdMutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{
    Batch, Delta, EndpointStore, Error, Interval, Nudge, OpenContext, Result, Revision, Snapshot,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};

use crate::{
    commit::{self, Request, raced},
    ears::Ears,
    lock::{self, Lock, Turn},
    memory::{Against, Memory},
    place::Place,
    revision::Version,
    seen::Seen,
    settings::Settings,
};

/// The longest time between two looks at a lock that another has.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Endpoint records in a directory that hosts share.
pub struct FilesystemStore {
    inner: Arc<Inner>,
    interval: Interval,
}

struct Inner {
    path: PathBuf,
    /// How long to wait for another writer.
    patience: Duration,
    writer: String,
    seen: StdMutex<Seen>,
    /// One call at a time works in the directory.
    memory: Arc<Mutex<Memory>>,
    /// One call at a time waits for the lock, apart from the others, which go on reading.
    turn: Arc<Mutex<()>>,
    ears: OnceLock<Ears>,
    /// How often inotify told of a change.
    stirs: Arc<AtomicU64>,
    /// Wakes this store's watches.
    nudge: Nudge,
    /// Wakes them, too, and knows of the same hints.
    context_nudge: Nudge,
}

impl FilesystemStore {
    /// Opens the store. The directory isn't looked at yet, since it may be mounted late.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for settings that can't be.
    pub fn open(settings: &Settings, context: OpenContext) -> Result<Self> {
        let interval = settings.interval()?;
        let writer =
            format!("{} ({}), process {}", context.writer.name, context.writer.address, std::process::id());
        let inner = Inner {
            path: settings.path()?,
            patience: settings.timeout()?,
            writer,
            seen: StdMutex::new(Seen::new(&context.state_dir)),
            memory: Arc::default(),
            turn: Arc::default(),
            ears: OnceLock::new(),
            stirs: Arc::default(),
            nudge: context.nudge.apart(),
            context_nudge: context.nudge,
        };
        Ok(Self { inner: Arc::new(inner), interval })
    }
}

impl fmt::Debug for FilesystemStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesystemStore")
            .field("path", &self.inner.path)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl EndpointStore for FilesystemStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        Inner::run(&self.inner, |inner, memory| inner.snapshot(memory)).await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        commit::check(&batch)?;
        let base = Version::parse(base)
            .ok_or_else(|| Error::conflict(format!("{base} is no revision of a directory: read again")))?;
        let request = Request { base, batch, writer: self.inner.writer.clone() };
        let inner = Arc::clone(&self.inner);
        self.inner
            .within(async move {
                let turn = Arc::clone(&inner.turn).lock_owned().await;
                let (turn, lock) = inner.lock(turn, request.base.clone()).await?;
                Inner::run(&inner, move |inner, memory| {
                    let _turn = turn;
                    inner.commit(memory, &lock, &request)
                })
                .await
            })
            .await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let inner = Arc::clone(&self.inner);
        ipvland_store::poll::poll(after, self.interval, self.inner.nudge.clone(), move |after| {
            let inner = Arc::clone(&inner);
            async move {
                // Not before: it takes a runtime.
                inner.ears.get_or_init(|| {
                    Ears::listen(&inner.context_nudge, inner.nudge.clone(), Arc::clone(&inner.stirs))
                });
                Inner::run(&inner, move |inner, memory| inner.changes(memory, &after)).await
            }
        })
    }
}

impl Inner {
    /// Runs work in the directory off the async threads, one call at a time, and bounds how long the caller waits.
    ///
    /// Work that hangs in the kernel, on a file server that is silent, keeps its one thread; calls after it end here.
    async fn run<T, F>(inner: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self, &mut Memory) -> Result<T> + Send + 'static,
    {
        let own = Arc::clone(inner);
        inner
            .within(async move {
                let mut memory = Arc::clone(&own.memory).lock_owned().await;
                own.blocking(move |inner| work(inner, &mut memory)).await
            })
            .await
    }

    async fn blocking<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let inner = Arc::clone(self);
        let ended = tokio::task::spawn_blocking(move || work(&inner)).await;
        ended.unwrap_or_else(|_panicked| {
            let shown = self.path.display();
            Err(Error::away(format!("the work in the directory {shown} was broken off: see the log")))
        })
    }

    /// Bounds a call: it waits for another writer, and then for the disk.
    async fn within<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.patience * 2;
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_late| {
            Err(Error::away(format!(
                "the directory {} did not answer within {} s: look at the file server, or at the disk",
                self.path.display(),
                limit.as_secs_f32()
            )))
        })
    }

    /// Waits for the lock. No thread waits: each look takes one for a moment, and the turn goes with it, so that there is
    /// never more than one that hangs.
    async fn lock(
        self: &Arc<Self>,
        mut turn: OwnedMutexGuard<()>,
        base: Version,
    ) -> Result<(OwnedMutexGuard<()>, Lock)> {
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(2));
        loop {
            let base = base.clone();
            let is_last = begun.elapsed() >= self.patience;
            let (back, lock) = self
                .blocking(move |inner| {
                    let lock = inner.try_lock(&base, is_last)?;
                    Ok((turn, lock))
                })
                .await?;
            turn = back;
            if let Some(lock) = lock {
                return Ok((turn, lock));
            }
            tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_lock(&self, base: &Version, is_last: bool) -> Result<Option<Lock>> {
        let place = self.place()?;
        // Who is too late anyway needn't wait.
        let is_behind = place.mark()?.is_some_and(|mark| {
            base.id.as_ref().is_some_and(|id| *id != mark.id) || mark.generation > base.generation
        });
        if is_behind {
            return Err(raced(&place, base));
        }
        match Lock::try_exclusive(&place, &self.writer)? {
            Turn::Mine(lock) => Ok(Some(lock)),
            Turn::Taken(holder) if is_last => Err(lock::late(&place, &holder, self.patience)),
            Turn::Taken(_) => Ok(None),
        }
    }

    /// Opens the directory, and checks that it holds the store that this host has seen before, and is no bare mount point.
    fn place(&self) -> Result<Place> {
        let place = Place::open(&self.path)?;
        let id = place.id()?;
        self.recognise(&place, id)?;
        Ok(place)
    }

    fn recognise(&self, place: &Place, id: Option<String>) -> Result<()> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).check(place, id)
    }

    fn stirs(&self) -> u64 {
        self.stirs.load(Ordering::SeqCst)
    }

    fn snapshot(&self, memory: &mut Memory) -> Result<Snapshot> {
        let stirs = self.stirs();
        let place = self.place()?;
        Ok(memory.read(&place, stirs, &BTreeSet::new(), Against::Writers(self.patience))?.snapshot())
    }

    fn commit(&self, memory: &mut Memory, lock: &Lock, request: &Request) -> Result<Revision> {
        let stirs = self.stirs();
        let place = self.place()?;
        let version = commit::commit(&place, lock, memory, request, stirs)?;
        // The commit may have made the store.
        self.recognise(&place, version.id.clone())?;
        Ok(version.revision())
    }

    /// Returns what changed after a revision, or `None`.
    fn changes(&self, memory: &mut Memory, after: &Revision) -> Result<Option<Delta>> {
        let gone = |why: &str| Error::history_gone(format!("the directory {} {why}", self.path.display()));
        let after = Version::parse(after).ok_or_else(|| gone("never had that revision"))?;
        let stirs = self.stirs();
        let place = self.place()?;
        if let Some(ears) = self.ears.get() {
            ears.listen_at(&place.endpoints_path());
        }
        if memory.is_at(&after) && memory.is_quiet(&place, stirs)? {
            return Ok(None);
        }
        let suspects = BTreeSet::new();
        let now = memory.read(&place, stirs, &suspects, Against::Writers(self.patience))?.version.clone();
        if now == after {
            return Ok(None);
        }
        let keys = memory.changed(&place, &after)?;
        let keys = keys.ok_or_else(|| gone("does not know any more what changed since that revision"))?;
        Ok(memory.view().map(|view| view.delta(keys)))
    }
}
