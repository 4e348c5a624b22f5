//! A host of the fleet that commits without a daemon around its store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use ipvland_store::{Batch, EndpointStore};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::place::{Place, key, record_of};
use crate::route::{
    prefix,
    raw::{Heard, Raw},
};

/// The first host of the fleet.
pub(crate) struct Committer {
    store: Arc<dyn EndpointStore>,
    _folder: TempDir,
}

impl Committer {
    /// Opens the store.
    pub(crate) async fn open(place: &Place) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let (store, _) = place.open(folder.path(), "committer").await;
        Self { store, _folder: folder }
    }

    /// Publishes a prefix and takes it back; returns how long it took from the commit until a kernel had the route.
    pub(crate) async fn round(&self, ears: &mut Raw, round: usize) -> Duration {
        let own: IpNet = prefix(0);
        let further: IpNet = format!("192.168.{}.0/24", 10 + round % 200).parse().expect("a prefix");
        let (began, heard) = self.commit(ears, round, &[own, further], Heard::New(further)).await;
        self.commit(ears, round, &[own], Heard::Gone(further)).await;
        heard - began
    }

    async fn commit(
        &self,
        ears: &mut Raw,
        round: usize,
        prefixes: &[IpNet],
        change: Heard,
    ) -> (Instant, Instant) {
        let base = self.store.snapshot().await.expect("a snapshot").revision;
        let batch = Batch::new("a host publishes").put(key(0), record_of(0, round, prefixes));
        let store = Arc::clone(&self.store);
        let began = Instant::now();
        // The route may be there before the store has answered.
        let committed = tokio::spawn(async move { store.commit(&base, batch).await });
        let heard = block_in_place(|| ears.wait_for(change)).unwrap_or_else(|why| panic!("{why}"));
        committed.await.expect("a task").expect("a commit");
        (began, heard)
    }
}
