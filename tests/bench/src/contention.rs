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
    curve::Curve,
    report::Part,
    row::{Row, Target, Unit},
    sample::{Sample, time},
    subject::{self, Subject, key, record},
    table::Table,
};

/// How often a figure is taken, and above how many hosts only once, as that takes minutes.
const ROUNDS: usize = 3;
const MANY: usize = 100;

/// What a number of hosts took that published at the same moment.
struct Contention {
    /// Until all were done, in seconds.
    total: f64,
    /// How often each tried, on average.
    attempts: f64,
    /// One push of one host alone, times the hosts, in seconds.
    ideal: f64,
}

/// Times how long hosts take that all publish at the same moment, as after a power cut, and counts their attempts.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize]) -> Table {
    let mut table = Table::begin(
        "contention",
        "hosts that publish at once, until all are done; ideal is one after another without a pause",
        "total      attempts each   against ideal",
    );
    for subject in subjects {
        for size in sizes {
            let Contention { total, attempts, ideal } = measure(subject, *size).await;
            let words = format!("{total:>7.2} s {attempts:>10.2}      {:>8.1} x {ideal:.2} s", total / ideal);
            let row = json!({
                "store": subject.name, "writers": size, "total_s": total, "attempts_each": attempts, "ideal_s": ideal,
            });
            table.line(subject.name, *size, &words, row);
        }
    }
    table
}

/// Takes the lines of the table that are about hosts which boot at once, over Git.
pub(crate) async fn part(sizes: &[usize]) -> Part {
    let subjects = subject::all(&["git-http".to_owned()]);
    let mut part = Part::default();
    let mut curve = Curve::new("contention", "Hosts that publish at once on one Git branch", "hosts", "s");
    for size in sizes.iter().copied() {
        let mut rounds = Vec::new();
        for _ in 0..if size > MANY { 1 } else { ROUNDS } {
            rounds.push(measure(&subjects[0], size).await);
        }
        let sample =
            |figure: fn(&Contention) -> f64| Sample::of(rounds.iter().map(figure).collect::<Vec<_>>());
        let (total, ideal) = (sample(|round| round.total * 1e3), sample(|round| round.ideal * 1e3));
        curve.add("ipvland", size, total.median() / 1e3);
        curve.add("as many pushes of one host", size, ideal.median() / 1e3);
        curve.add("4 times that", size, 4.0 * ideal.median() / 1e3);
        let what = format!("{size} hosts boot at once on one branch");
        part.row(
            Row::new("contention", &what, Unit::Ms, total)
                .against(format!("{size} pushes of one host"), &ideal)
                .target(Target::Times(4.0)),
        );
        let what = format!("{what}: attempts each");
        let row = Row::new("contention", what, Unit::Count, sample(|round| round.attempts));
        part.row(row.target(Target::Most(3.0)));
    }
    part.curves.push(curve);
    part
}

async fn measure(subject: &Subject, size: usize) -> Contention {
    let place = subject.fresh(0).await;
    let state = tempfile::tempdir().expect("a directory");
    let alone = place.open_in(state.path(), "alone").await;
    let mut commits = Vec::new();
    for round in 0..5 {
        let batch = Batch::new("alone publishes").put(key(0), record(0, round));
        commits.push(time(alone.transact(Retry::default(), |_| Ok(Some(batch.clone())))).await);
    }
    let ideal = Sample::new(commits).median() * size as f64 / 1e3;

    let (attempts, start) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(size + 1)));
    let mut hosts = Vec::new();
    for number in 1..=size {
        let folder = state.path().join(number.to_string());
        let store = place.open_in(&folder, &format!("host-{number}")).await;
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
    let attempts = attempts.load(Ordering::Relaxed) as f64 / size as f64;
    Contention { total, attempts, ideal }
}
