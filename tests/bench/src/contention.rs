//! Many hosts publish at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use ipvland_store::{Batch, Retry, Snapshot, StoreExt as _};
use serde_json::json;
use tokio::sync::Barrier;

use crate::{
    sample::{Sample, time},
    subject::{Subject, key, record},
    table::Table,
};

/// Times how long hosts take that all publish at the same moment, as after a power cut, and counts their attempts.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize]) -> Table {
    let mut table = Table::begin(
        "contention",
        "hosts that publish at once, until all are done; ideal is one after another without a pause",
        "total      attempts each   against ideal",
    );
    for subject in subjects {
        for size in sizes {
            let place = subject.fresh(0).await;
            let state = tempfile::tempdir().expect("a directory");
            let alone = place.open_in(state.path(), "alone").await;
            let mut commits = Vec::new();
            for round in 0..5 {
                let batch = Batch::new("alone publishes").put(key(0), record(0, round));
                commits.push(time(alone.transact(Retry::default(), |_| Ok(Some(batch.clone())))).await);
            }
            let ideal = Sample::new(commits).median() * *size as f64 / 1e3;

            let (attempts, start) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(size + 1)));
            let mut hosts = Vec::new();
            for number in 1..=*size {
                let store =
                    place.open_in(&state.path().join(number.to_string()), &format!("host-{number}")).await;
                let (attempts, start) = (attempts.clone(), start.clone());
                hosts.push(tokio::spawn(async move {
                    start.wait().await;
                    let batch = Batch::new("a host publishes").put(key(number), record(number, 0));
                    let edit = |_: &Snapshot| {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        Ok(Some(batch.clone()))
                    };
                    store.transact(Retry::default(), edit).await.expect("a host publishes");
                }));
            }
            start.wait().await;
            let begun = Instant::now();
            for host in hosts {
                host.await.expect("a host publishes");
            }
            let total = begun.elapsed().as_secs_f64();
            assert_eq!(place.records(&*alone).await, size + 1, "a record was lost");
            let each = attempts.load(Ordering::Relaxed) as f64 / *size as f64;
            let words = format!("{total:>7.2} s {each:>10.2}      {:>8.1} x {ideal:.2} s", total / ideal);
            let row = json!({
                "store": subject.name, "writers": size, "total_s": total, "attempts_each": each, "ideal_s": ideal,
            });
            table.line(subject.name, *size, &words, row);
        }
    }
    table
}
