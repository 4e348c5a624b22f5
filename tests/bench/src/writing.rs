//! A host publishes: one record changes in a store of many.

use ipvland_store::Batch;

use crate::{
    sample::{Sample, time},
    subject::{Subject, key, record},
    table::Table,
};

/// Times commits of one record by a host that knows the newest revision.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize], rounds: usize) -> Table {
    let mut table = Table::begin(
        "commit",
        "one record changes, by a host that knows the newest revision",
        "median (least to most)             against",
    );
    for subject in subjects {
        for size in sizes {
            let place = subject.fresh(*size).await;
            let state = tempfile::tempdir().expect("a directory");
            let store = place.open_in(state.path(), "writer").await;
            let mut base = store.snapshot().await.expect("a snapshot").revision;
            let (mut ours, mut peer) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let batch = Batch::new("writer publishes").put(key(0), record(0, round + 1));
                ours.push(time(async { base = store.commit(&base, batch).await.expect("a commit") }).await);
                if let Some(theirs) = place.peer() {
                    peer.push(theirs.write(round).await);
                    // The peer's own change is no figure of ours.
                    base = store.snapshot().await.expect("a snapshot").revision;
                }
            }
            let peer = place.peer().map(|theirs| (theirs.writes(), Sample::new(peer)));
            table.pair(
                subject.name,
                *size,
                &Sample::new(ours),
                peer.as_ref().map(|(name, sample)| (*name, sample)),
            );
        }
    }
    table
}
