//! The case of three hosts that do anything at any time, while the network does its worst, checked by a model.
//!
//! A seed draws what each host does and what befalls it. When it comes to that, the machine decides, so a seed that failed
//! may pass the next time: play it several times. `CONFORMANCE_SEED` is the first seed, `CONFORMANCE_SEEDS` how many are played; a
//! failure prints the command that plays its seed again.
//!
//! | module | holds |
//! | --- | --- |
//! | `operation` | operations whose traces in the store tell their whole history |
//! | `ledger` | the model that every answer and every state is held against |
//! | `recorder` | the store around a host's handle that tells the model |
//! | `host` | what a host does |
//! | `disturbance` | what befalls the way from a host to the store |

mod disturbance;
mod host;
mod ledger;
mod operation;
mod recorder;

use std::{io::Write as _, ops::Range, sync::Arc, time::Instant};

use fastrand::Rng;
use futures::{StreamExt as _, stream};
use tokio::task::JoinSet;

use super::{Ability, Fixture, Stage};
use host::Host;
use ledger::{Counts, Ledger};

/// Returns how many times the time of one case a case may take.
pub(super) fn rounds(fixture: &dyn Fixture, case: &str) -> u32 {
    let is_this = case == stringify!(random_interleavings_lose_nothing);
    if is_this { u32::try_from(seeds(fixture).count()).unwrap_or(u32::MAX).max(1) } else { 1 }
}

/// Returns the seeds that the environment asks for.
fn seeds(fixture: &dyn Fixture) -> Range<u64> {
    let number = |name: &str, default: u64| {
        let Some(text) = std::env::var_os(name) else { return default };
        let number = text.to_str().and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{name} must be a number, and is {text:?}"))
    };
    let first = number("CONFORMANCE_SEED", 1);
    first..first.saturating_add(number("CONFORMANCE_SEEDS", fixture.seeds()))
}

pub(super) async fn random_interleavings_lose_nothing(fixture: &dyn Fixture) {
    play_all(fixture, seeds(fixture)).await;
}

/// Plays each seed; panics at the first that fails, with the command that plays it again.
pub(super) async fn play_all(fixture: &dyn Fixture, seeds: Range<u64>) {
    let (first, count, start) = (seeds.start, seeds.end.saturating_sub(seeds.start), Instant::now());
    let mut total = Counts::default();
    let mut runs = stream::iter(seeds)
        .map(|seed| async move { (seed, play(fixture, seed).await) })
        .buffer_unordered(fixture.seeds_at_once());
    while let Some((seed, played)) = runs.next().await {
        match played {
            Ok(counts) => total.add(&counts),
            Err(why) => panic!("seed {seed}: {why}\nplay it again: {}", command(seed)),
        }
    }
    let took = start.elapsed().as_secs_f64();
    // Not by `eprintln!`, which the test harness hides when a test passes. Whether anybody reads it is not the case's.
    _ = writeln!(
        std::io::stderr(),
        "random interleavings: {count} seeds from {first} in {took:.1} s: {total}"
    );
}

/// Returns the command that plays one seed again, as far as a test knows how it was started.
fn command(seed: u64) -> String {
    let package = std::env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
    let program = std::env::current_exe().ok();
    // Cargo names the program after the test, and adds a hash.
    let name = program.as_ref().and_then(|path| path.file_stem()?.to_str()?.rsplit_once('-'));
    let target = name.map(|(test, _)| format!(" --test {test}")).unwrap_or_default();
    let thread = std::thread::current();
    let case = thread.name().filter(|name| *name != "main").unwrap_or("random_interleavings_lose_nothing");
    format!("CONFORMANCE_SEED={seed} CONFORMANCE_SEEDS=1 cargo test{package}{target} {case}")
}

async fn play(fixture: &dyn Fixture, seed: u64) -> Result<Counts, String> {
    let stage: Arc<dyn Stage> = fixture.fresh().await.into();
    let ledger = Arc::new(Ledger::new());
    let bound = fixture.patience() * 20;
    let played = tokio::select! {
        biased;
        why = ledger.broken() => Err(why),
        played = tokio::time::timeout(bound, play_on(fixture, &stage, &ledger, seed)) => {
            played.unwrap_or_else(|_| Err(format!("it does not end within {bound:?}")))
        }
    };
    played.map_err(|why| format!("{why}\nthe last steps were:\n{}", ledger.steps()))
}

async fn play_on(
    fixture: &dyn Fixture,
    stage: &Arc<dyn Stage>,
    ledger: &Arc<Ledger>,
    seed: u64,
) -> Result<Counts, String> {
    let (mut hosts, mut trouble, mut ways) = (JoinSet::new(), JoinSet::new(), Vec::new());
    for name in ['a', 'b', 'c'] {
        let host = Host::new(name, seed, stage, ledger, fixture.patience(), fixture.retry()).await;
        let (way, rng, ledger) = (host.way.clone(), Rng::with_seed(seed ^ u64::from(name)), ledger.clone());
        ways.push(way.clone());
        trouble.spawn(async move { way.disturb(name, rng, &ledger).await });
        hosts.spawn(host.run());
    }
    if !fixture.lacks().iter().any(|(ability, _)| *ability == Ability::LoseHistory) {
        let (stage, rng, ledger) = (stage.clone(), Rng::with_seed(!seed), ledger.clone());
        trouble.spawn(async move { disturbance::lose_histories(&*stage, rng, &ledger).await });
    }
    let mut done = all(hosts).await?;
    trouble.abort_all();
    while let Some(ended) = trouble.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            return Err(format!("the stage panicked: {error}"));
        }
    }
    ways.iter().for_each(|way| way.calm());
    ledger.note("all trouble is over");

    let mut last = JoinSet::new();
    for mut host in done {
        last.spawn(async move {
            host.write_last().await;
            host
        });
    }
    done = all(last).await?;
    // Whatever else is still on its way stands on an older base than these, so that nothing changes any more.
    let mut operations = 0;
    for host in &done {
        let state =
            host.read_last().await.map_err(|error| format!("the last state can't be read: {error:?}"))?;
        operations = ledger.observe("the last state", &state, 0);
        ledger.finish(&state)?;
    }
    let mut followers = JoinSet::new();
    for mut host in done {
        followers.spawn(async move {
            host.catch_up(operations).await;
            host
        });
    }
    all(followers).await?;
    ways.iter().for_each(|way| way.count(ledger));
    Ok(ledger.counts())
}

/// Waits for all tasks; tells how the first ended that didn't.
async fn all<T: 'static>(mut tasks: JoinSet<T>) -> Result<Vec<T>, String> {
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.map_err(|error| format!("a host panicked: {error}"))?);
    }
    Ok(done)
}
