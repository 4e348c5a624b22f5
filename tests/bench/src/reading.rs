//! A host that boots reads the whole store: with nothing on its disk, and with what it had there.

use crate::{
    sample::{Sample, time},
    subject::Subject,
    table::Table,
};

/// Times snapshots by fresh handles.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize], rounds: usize) -> Table {
    let mut table = Table::begin(
        "snapshot",
        "every record, by a host with nothing on its disk, and (again) by one with the cache of its last run",
        "median (least to most)             against",
    );
    for subject in subjects {
        for size in sizes {
            let place = subject.fresh(*size).await;
            let (mut cold, mut warm, mut peer) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds {
                let state = tempfile::tempdir().expect("a directory");
                for into in [&mut cold, &mut warm] {
                    let store = place.open_in(state.path(), "reader").await;
                    into.push(time(async { assert_eq!(place.records(&*store).await, *size) }).await);
                }
                if let Some(theirs) = place.peer() {
                    peer.push(theirs.read().await);
                }
            }
            let peer = place.peer().map(|theirs| (theirs.reads(), Sample::new(peer)));
            let peer = peer.as_ref().map(|(name, sample)| (*name, sample));
            table.pair(subject.name, *size, &Sample::new(cold), peer);
            table.pair(&format!("{} again", subject.name), *size, &Sample::new(warm), peer);
        }
    }
    table
}
