//! What wakes pollers, and what they tell of themselves.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{Revision, bucket::Bucket, pace::Pace};

/// Wakes whoever waits for the next look at a store. Clones are one nudge.
///
/// - [`wake`](Self::wake) says "look now".
/// - [`hint`](Self::hint) says "there is this revision", by hearsay: who has it does nothing, and a hint for nothing costs a
///   look that is rate-limited.
/// - [`committed`](Self::committed) says "this host has written", which pollers and whoever tells the other hosts wait for.
///
/// The pollers tell by it what they look at and how often ([`counts`](Self::counts)), and whether there is one at all
/// ([`polled`](Self::polled)): nobody needs to hint at stores that push their events.
#[derive(Debug, Clone)]
pub struct Nudge {
    wakes: Arc<watch::Sender<u64>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hints: watch::Sender<Hint>,
    committed: watch::Sender<Option<Revision>>,
    polled: watch::Sender<bool>,
    state: Mutex<State>,
}

/// The newest hint, with its number: two for one revision are two.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hint {
    number: u64,
    pub(crate) revision: Option<Revision>,
}

/// What pollers share, and what outlives them.
#[derive(Debug)]
pub(crate) struct State {
    /// The last revisions that the store showed, the newest last.
    recent: VecDeque<Revision>,
    /// When the newest came.
    pub(crate) newest_at: Option<Instant>,
    pub(crate) hosts: usize,
    pub(crate) alive: usize,
    pub(crate) pace: Pace,
    pub(crate) bucket: Bucket,
    /// Until when the store asked to be left alone.
    rest_until: Option<Instant>,
    pub(crate) counts: Counts,
}

/// What pollers did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Looks at the store.
    pub looks: u64,
    /// Hints for a revision that was not known, or for none in particular.
    pub hints: u64,
    /// Hints for a revision that was known already: no look was made.
    pub known_hints: u64,
    /// Hints that brought news.
    pub true_hints: u64,
    /// Hints that brought nothing, however often the store was looked at.
    pub false_hints: u64,
    /// The interval at the moment; none before the first look.
    pub interval: Option<Duration>,
    /// The newest hint for a revision that was not known.
    pub last_hint: Option<Revision>,
}

/// How many revisions are remembered. A host hears of one from each that writes, and may be several ahead by then.
const REMEMBERED: usize = 64;

impl Nudge {
    /// Makes a nudge that nobody has given yet.
    pub fn new() -> Self {
        let state = State {
            recent: VecDeque::new(),
            newest_at: None,
            hosts: 0,
            alive: 0,
            pace: Pace::default(),
            bucket: Bucket::full(),
            rest_until: None,
            counts: Counts::default(),
        };
        let shared = Shared {
            hints: watch::Sender::new(Hint::default()),
            committed: watch::Sender::new(None),
            polled: watch::Sender::new(false),
            state: Mutex::new(state),
        };
        Self { wakes: Arc::new(watch::Sender::new(0)), shared: Arc::new(shared) }
    }

    /// Returns a nudge with wakes of its own, and with everything else in common: for a store that wakes its pollers by
    /// itself, too, and nobody else.
    pub fn apart(&self) -> Self {
        Self { wakes: Arc::new(watch::Sender::new(0)), shared: Arc::clone(&self.shared) }
    }

    /// Wakes all pollers that hold a clone; one that is looking at the moment looks again.
    pub fn wake(&self) {
        self.wakes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns a listener that has seen every wake so far.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.wakes.subscribe()
    }

    /// Passes hearsay on: there is this revision, or just something new. Says whether that is news.
    pub fn hint(&self, revision: Option<Revision>) -> bool {
        {
            let mut state = self.state();
            if revision.as_ref().is_some_and(|revision| state.recent.contains(revision)) {
                state.counts.known_hints += 1;
                return false;
            }
            state.counts.hints += 1;
            state.counts.last_hint.clone_from(&revision);
        }
        self.shared.hints.send_modify(|hint| {
            *hint = Hint { number: hint.number.wrapping_add(1), revision };
        });
        true
    }

    /// Returns a listener that has seen every hint so far.
    pub(crate) fn hints(&self) -> watch::Receiver<Hint> {
        self.shared.hints.subscribe()
    }

    /// Tells that this host has written a revision: pollers look for it, and whoever tells the others does so.
    ///
    /// It is no [wake](Self::wake): a store that remembers what it has written may answer that look without asking anybody,
    /// where a wake is for what others have written. It MUST NOT be called before the store has said that it is done.
    pub fn committed(&self, revision: Revision) {
        self.shared.committed.send_replace(Some(revision));
    }

    /// Returns the newest revision that this host has written.
    pub fn last_commit(&self) -> Option<Revision> {
        self.shared.committed.borrow().clone()
    }

    /// Returns the newest revision that this host has written, and tells each from now on.
    pub fn commits(&self) -> watch::Receiver<Option<Revision>> {
        self.shared.committed.subscribe()
    }

    /// Says whether a poller has ever listened: only then there is somebody whom hints help.
    pub fn polled(&self) -> watch::Receiver<bool> {
        self.shared.polled.subscribe()
    }

    pub(crate) fn poller_listens(&self) {
        self.shared.polled.send_if_modified(|polled| !std::mem::replace(polled, true));
    }

    /// Says whether a revision is the newest that the store has shown.
    pub fn is_newest(&self, revision: &Revision) -> bool {
        self.state().recent.back() == Some(revision)
    }

    /// Says whether the store has shown a revision lately.
    pub fn knows(&self, revision: &Revision) -> bool {
        self.state().recent.contains(revision)
    }

    /// Remembers a revision that the store has shown.
    pub(crate) fn saw(&self, revision: &Revision) {
        let mut state = self.state();
        if state.recent.back() == Some(revision) {
            return;
        }
        state.recent.retain(|known| known != revision);
        if state.recent.len() == REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back(revision.clone());
        state.newest_at = Some(Instant::now());
    }

    /// Tells how many hosts share the store, and how many of them are known to be alive, this one not counted. Pollers look
    /// less often by themselves where there are many, and not at one instant when all are told of news.
    pub fn set_fleet(&self, hosts: usize, alive: usize) {
        let mut state = self.state();
        (state.hosts, state.alive) = (hosts, alive);
    }

    /// Returns what the pollers did so far.
    pub fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    /// Leaves the store alone for as long as it asked for.
    pub(crate) fn rest(&self, pause: Duration) {
        let until = Instant::now().checked_add(pause);
        let mut state = self.state();
        state.rest_until = state.rest_until.max(until);
    }

    /// Returns how long the store is to be left alone, because it asked for that.
    pub fn resting(&self) -> Option<Duration> {
        let left = self.rest_until()?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn rest_until(&self) -> Option<Instant> {
        self.state().rest_until
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is ever half changed.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Nudge {
    fn default() -> Self {
        Self::new()
    }
}
