//! What wakes a watch before its interval is over: the daemon's nudge, and inotify where this machine itself writes.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ipvland_store::Nudge;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::task::JoinHandle;

/// Listens for as long as it lives.
pub(crate) struct Ears {
    watcher: Option<Mutex<RecommendedWatcher>>,
    forward: JoinHandle<()>,
}

impl Ears {
    /// Starts to listen: every event counts in `stirs`, and wakes `own`, as a wake of `from` does.
    ///
    /// It MUST be called on a runtime.
    pub(crate) fn listen(from: &Nudge, own: Nudge, stirs: Arc<AtomicU64>) -> Self {
        let mut wakes = from.listen();
        let (from, to) = (from.clone(), own.clone());
        let forward = tokio::spawn(async move {
            // Kept so that `wakes` never finds the sender gone.
            let _from = from;
            while wakes.changed().await.is_ok() {
                to.wake();
            }
        });
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_change) {
                stirs.fetch_add(1, Ordering::SeqCst);
                own.wake();
            }
        });
        let watcher = match watcher {
            Ok(watcher) => Some(Mutex::new(watcher)),
            // A limit of the machine: fs.inotify.max_user_instances.
            Err(error) => {
                tracing::debug!(%error, "No inotify: changes are seen at the next interval");
                None
            }
        };
        Self { watcher, forward }
    }

    /// Listens at a directory. It may be called again and again, since another directory may be there by now.
    pub(crate) fn listen_at(&self, directory: &Path) {
        let Some(watcher) = &self.watcher else { return };
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            tracing::debug!(path = %directory.display(), %error, "Cannot listen at the directory");
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.forward.abort();
    }
}

/// Tells whether an event is worth a look. Not what reading causes, or each look would lead to the next; and the end of
/// an edit rather than each of its writes, so that a half of it is seen less often.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
        _ => true,
    }
}
