//! From a commit on one host to the change on another.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use ipvland_store::{Batch, Event, StoreExt as _};

use crate::{
    sample::Sample,
    subject::{Subject, key, record},
    table::Table,
};

/// Times how long a follower takes to see another host's commit, the commit included. Stores that are looked at are
/// nudged when the commit is done, as hosts that tell each other do; `etcd` and inotify tell by themselves.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize], rounds: usize) -> Table {
    let mut table = Table::begin(
        "watch",
        "from the begin of a commit on one host to the change at another that follows and is nudged",
        "median (least to most)             against",
    );
    for subject in subjects {
        for size in sizes {
            let place = subject.fresh(*size).await;
            let (here, there) =
                (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
            let writer = place.open_in(here.path(), "writer").await;
            let (reader, nudge) = place.open_nudged(there.path(), "reader").await;
            let mut events = reader.follow(nudge.clone());
            let Some(Ok(Event::Reset(first))) = events.next().await else { panic!("follow begins with all") };
            let mut base = first.revision;
            // The first look of the watch itself is over by then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (mut ours, mut peer) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let batch = Batch::new("writer publishes").put(key(0), record(0, round + 1));
                let begun = Instant::now();
                base = writer.commit(&base, batch).await.expect("a commit");
                nudge.wake();
                loop {
                    match events.next().await.expect("follow never ends").expect("the store is well") {
                        Event::Delta(delta) if delta.revision == base => break,
                        Event::Delta(_) | Event::Reset(_) => {}
                    }
                }
                ours.push(begun.elapsed());
                if let Some(theirs) = place.peer() {
                    peer.push(theirs.tell(round).await);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                // The peer's own change is no figure of ours.
                base = writer.snapshot().await.expect("a snapshot").revision;
            }
            let peer = place.peer().map(|theirs| (theirs.tells(), Sample::new(peer)));
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
