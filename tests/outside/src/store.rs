//! The three methods.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{Batch, Delta, EndpointStore, Error, Nudge, Result, Revision, Snapshot, poll::poll};

use crate::disk::Disk;

/// A store in one file. Clones are one handle.
#[derive(Clone)]
pub struct OneFile {
    disk: Arc<Disk>,
    interval: Duration,
    nudge: Nudge,
}

impl OneFile {
    /// Makes a handle; the file is first read by the first call.
    pub fn new(path: PathBuf, token: Option<String>, interval: Duration, nudge: Nudge) -> Self {
        Self { disk: Arc::new(Disk { path, token }), interval, nudge }
    }

    /// Runs file I/O away from the async threads.
    async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Disk) -> Result<T> + Send + 'static,
    {
        let disk = Arc::clone(&self.disk);
        // A task that has started goes on when the caller drops the future: the file is replaced or it is not.
        let task = tokio::task::spawn_blocking(move || work(&disk));
        task.await
            .unwrap_or_else(|error| Err(Error::away("reading the store's file broke off").with_source(error)))
    }
}

#[async_trait]
impl EndpointStore for OneFile {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.blocking(|disk| Ok(disk.read()?.snapshot())).await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        let base = base.clone();
        self.blocking(move |disk| disk.change(|document| document.commit(&base, batch))).await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let handle = self.clone();
        poll(after, self.interval, self.nudge.clone(), move |after| {
            let handle = handle.clone();
            async move { handle.blocking(move |disk| disk.read()?.since(&after)).await }
        })
    }
}

impl fmt::Debug for OneFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OneFile({})", self.disk.path.display())
    }
}
