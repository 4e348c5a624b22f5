//! A store of ours without a daemon around it: what its two steps take alone.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream::BoxStream};
use ipvland_store::{Batch, EndpointStore, Event, Nudge, Revision, StoreExt as _};
use std::sync::Arc;
use tempfile::TempDir;

use crate::fleet::place::{Place, key, record};

/// A writer and a follower of one store.
pub(crate) struct PlainStore {
    writer: Arc<dyn EndpointStore>,
    nudge: Nudge,
    events: BoxStream<'static, ipvland_store::Result<Event>>,
    base: Revision,
    _folders: [TempDir; 2],
}

impl PlainStore {
    /// Opens a store twice.
    pub(crate) async fn open(place: &Place) -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let (writer, _) = place.open(folders[0].path(), "writer").await;
        let (reader, nudge) = place.open(folders[1].path(), "reader").await;
        let mut events: BoxStream<'static, _> = Box::pin(reader.follow(nudge.clone()));
        let Some(Ok(Event::Reset(first))) = events.next().await else { panic!("follow begins with all") };
        // Polled, so that the first look of the watch itself is over by then.
        _ = tokio::time::timeout(Duration::from_millis(500), events.next()).await;
        Self { writer, nudge, events, base: first.revision, _folders: folders }
    }

    /// Writes one record and then reads it elsewhere, and returns how long each took: a push and a fetch.
    pub(crate) async fn write_and_read(&mut self, round: usize) -> [Duration; 2] {
        let batch = Batch::new("writer publishes").put(key(0), record(0, round + 1));
        let begun = Instant::now();
        self.base = self.writer.commit(&self.base, batch).await.expect("a commit");
        let written = begun.elapsed();
        let begun = Instant::now();
        self.nudge.wake();
        loop {
            match self.events.next().await.expect("follow never ends").expect("the store is well") {
                Event::Delta(delta) if delta.revision == self.base => break,
                Event::Delta(_) | Event::Reset(_) => {}
            }
        }
        [written, begun.elapsed()]
    }

    /// Looks whether anything has changed, which nothing has, and returns how long that took.
    pub(crate) async fn look(&self) -> Duration {
        let begun = Instant::now();
        let seen = self.writer.snapshot().await.expect("a look");
        let took = begun.elapsed();
        assert_eq!(seen.revision, self.base, "somebody else writes");
        took
    }
}
