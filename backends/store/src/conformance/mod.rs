//! Named cases that every store passes.
//!
//! A store's author writes a [`Fixture`], and in a test `ipvland_store::conformance_tests!(MyFixture);`. That makes one
//! named test of each case, also of those that the suite gets later.
//!
//! The last case, `random_interleavings_lose_nothing`, plays a few seeds: three hosts write, follow and drop what they began,
//! each over a bad network of its own, and a model checks every state that anybody sees. Let it run longer before a release:
//!
//! ```text
//! CONFORMANCE_SEEDS=1000 cargo test -p ipvland-store-git --test conformance http::random_interleavings_lose_nothing
//! ```
//!
//! A failure prints the last steps, and the command that plays its seed again (`CONFORMANCE_SEED=17 CONFORMANCE_SEEDS=1 …`).
//!
//! | module | holds |
//! | --- | --- |
//! | `fixture` | what the author of a store writes |
//! | `steps` | what cases are made of, with patience |
//! | `writing`, `content`, `watching`, `trouble` | the cases |
//! | `interleaving` | the case of three hosts that do anything at any time, checked by a model |
//! | `faults` | a store around a store, with faults injected |
//! | `proxy` | a bad network before a server |
//! | `memory` | the fixture of the memory store |

// A case is a test: it fails by panicking, wherever it's compiled.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod content;
mod faults;
mod fixture;
mod interleaving;
mod memory;
mod proxy;
mod steps;
mod trouble;
mod watching;
mod writing;

pub use faults::{Fault, Faults, FaultyStore};
pub use fixture::{Ability, Fixture, NotStageable, Stage, Staged};
pub use memory::MemoryFixture;
pub use proxy::{Break, Passed, Proxy, Traffic};

use std::{io::Write as _, ops::Range, time::Duration};

use futures::future::BoxFuture;
use steps::Host;

type Case = (&'static str, &'static [Ability], for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, ()>);

/// Lists the cases, once, for [`run`] and for the macro that makes tests of them.
macro_rules! suite {
    ($dollar:tt $($module:ident::$case:ident $(needs $need:ident)?,)*) => {
        const CASES: &[Case] = &[$((stringify!($case), &[$(Ability::$need)?], |fixture| Box::pin($module::$case(fixture)))),*];

        /// Makes one named test of each case of the suite, over the stores of a [`Fixture`](crate::conformance::Fixture).
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar fixture:expr) => {
                $(#[test]
                fn $case() {
                    $crate::conformance::run(stringify!($case), &$dollar fixture);
                })*
            };
        }
    };
}

suite! { $
    writing::a_fresh_store_is_empty_and_a_commit_builds_on_it,
    writing::a_handle_reads_what_another_wrote,
    writing::a_batch_is_never_seen_half,
    writing::a_stale_base_conflicts_and_writes_nothing,
    writing::a_revision_never_given_out_is_refused_and_writes_nothing,
    writing::a_batch_without_effect_makes_no_revision,
    writing::removing_an_absent_record_has_no_effect,
    writing::concurrent_writers_lose_nothing,
    writing::of_two_first_commits_one_wins_and_both_land,
    writing::a_dropped_commit_is_done_or_not_done,
    content::every_shape_of_key_round_trips,
    content::every_value_round_trips,
    content::an_oversize_record_is_refused,
    content::strays_are_named_and_harm_nothing needs Plant,
    watching::a_watch_ends_at_the_snapshot,
    watching::a_watch_sees_another_handles_commit,
    watching::a_watch_resumes_from_an_old_revision,
    watching::follow_converges_under_concurrent_writers,
    trouble::a_lost_answer_loses_nothing_and_applies_once,
    trouble::lost_history_starts_over needs LoseHistory,
    trouble::a_store_that_is_away_says_so_in_time needs GoAway,
    trouble::follow_catches_up_when_the_store_is_back needs GoAway,
    trouble::no_secret_is_shown needs Secrets,
    interleaving::random_interleavings_lose_nothing,
}

/// Runs one case by its name, on a runtime of its own with several threads; panics when it fails.
pub fn run(case: &str, fixture: &dyn Fixture) {
    let (_, needs, body) = CASES.iter().find(|(name, ..)| *name == case).expect("the suite has the case");
    for (ability, why) in fixture.lacks().iter().filter(|(ability, _)| needs.contains(ability)) {
        assert!(!why.trim().is_empty(), "the fixture lacks {ability:?} without saying why");
        // Not by `eprintln!`, which the test harness hides when a test passes. Whether anybody reads it is not the case's.
        _ = writeln!(std::io::stderr(), "{case}: not applicable, since the store lacks {ability:?}: {why}");
    }
    end_within(
        fixture.patience().saturating_mul(20).saturating_mul(interleaving::rounds(fixture, case)),
        body(fixture),
    );
}

/// Plays random interleavings of three hosts, one for each seed, whatever the environment says; panics when one fails.
///
/// It is the case `random_interleavings_lose_nothing`, for tests that choose their seeds.
pub fn run_seeds(fixture: &dyn Fixture, seeds: Range<u64>) {
    let rounds = u32::try_from(seeds.clone().count()).unwrap_or(u32::MAX);
    end_within(
        fixture.patience().saturating_mul(20).saturating_mul(rounds),
        interleaving::play_all(fixture, seeds),
    );
}

/// Runs a case on a runtime of its own.
fn end_within(bound: Duration, case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime for the case");
    runtime.block_on(async {
        tokio::time::timeout(bound, case).await.expect("the case ends in 20 times the patience");
    });
    // A store's blocking call that hangs must not hang the test with it.
    runtime.shutdown_timeout(Duration::from_secs(1));
}
