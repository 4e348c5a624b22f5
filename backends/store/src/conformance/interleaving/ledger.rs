//! The model: what the store must show, from what was done to it and what it has shown before.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use super::operation::{Id, LOG, Records, apply, names};
use crate::{Batch, Remedy, Result, Revision, Snapshot};

/// All that is known of one seed's store.
///
/// A state of the store is right if its log begins as every other log that anybody saw, and if its other records are what
/// the operations in that log make, one after the other. So a lost update, a torn batch, a skipped delta and two commits
/// on one base all show, wherever somebody looks.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    state: Mutex<State>,
    broken: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct State {
    /// The longest log that anybody saw.
    log: Vec<Id>,
    /// What the store holds after each beginning of the log, from none of it on.
    states: Vec<Records>,
    /// What was answered to each attempt at each operation.
    attempts: BTreeMap<Id, Vec<Answer>>,
    /// The length that the log has at least, since a commit was acknowledged at that length.
    acknowledged: usize,
    /// How long the log is at each revision.
    revisions: HashMap<Revision, usize>,
    steps: VecDeque<String>,
    counts: Counts,
}

/// What an attempt at an operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// No answer: it MAY have happened.
    Open,
    /// It has happened.
    Done,
    /// Nothing was written.
    Nothing,
}

/// What happened, for the line that sums up a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) operations: usize,
    pub(super) commits: usize,
    pub(super) acknowledged: usize,
    pub(super) unknown: usize,
    pub(super) conflicts: usize,
    pub(super) states: usize,
    pub(super) resets: usize,
    pub(super) faults: usize,
    pub(super) histories: usize,
    pub(super) connections: u64,
    pub(super) broken: u64,
}

impl Counts {
    /// Adds those of another seed.
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.commits += other.commits;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.conflicts += other.conflicts;
        self.states += other.states;
        self.resets += other.resets;
        self.faults += other.faults;
        self.histories += other.histories;
        self.connections += other.connections;
        self.broken += other.broken;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations ({} acknowledged, {} unknown) in {} commits ({} conflicts); {} states checked, {} resets; \
             {} faults, {} of {} connections broken, {} histories lost",
            self.operations,
            self.acknowledged,
            self.unknown,
            self.commits,
            self.conflicts,
            self.states,
            self.resets,
            self.faults,
            self.broken,
            self.connections,
            self.histories,
        )
    }
}

/// Steps that a failure shows.
const STEPS: usize = 60;

impl Ledger {
    pub(super) fn new() -> Self {
        let state = State {
            log: Vec::new(),
            states: vec![Records::new()],
            attempts: BTreeMap::new(),
            acknowledged: 0,
            revisions: HashMap::new(),
            steps: VecDeque::new(),
            counts: Counts::default(),
        };
        Self { started: Instant::now(), state: Mutex::new(state), broken: watch::Sender::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a step, to be shown if the seed fails.
    pub(super) fn note(&self, step: impl AsRef<str>) {
        let step = format!("{:>7.3} s  {}", self.started.elapsed().as_secs_f64(), step.as_ref());
        let mut state = self.lock();
        if state.steps.len() == STEPS {
            state.steps.pop_front();
        }
        state.steps.push_back(step);
    }

    /// Counts what happened.
    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.lock().counts);
    }

    /// Says that the store broke its contract. The first to say so is heard.
    pub(super) fn fail(&self, why: String) {
        self.note(format!("FAILED: {why}"));
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            broken.get_or_insert(why);
            first
        });
    }

    /// Waits until somebody said that the store broke its contract.
    pub(super) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        // The sender lives in `self`, so that waiting can't fail.
        let why = broken.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }

    /// Returns the last steps, one a line.
    pub(super) fn steps(&self) -> String {
        self.lock().steps.iter().fold(String::new(), |mut all, step| {
            let _ = writeln!(all, "  {step}");
            all
        })
    }

    /// Returns the length that every log has from now on.
    pub(super) fn acknowledged(&self) -> usize {
        self.lock().acknowledged
    }

    /// Takes note of a state that somebody saw and checks it. Returns the length of its log.
    pub(super) fn observe(&self, who: &str, seen: &Snapshot, at_least: usize) -> usize {
        let log = seen.records.get(LOG).map(|log| names(log)).unwrap_or_default();
        let checked = self.lock().observe(who, &log, seen, at_least);
        if let Err(why) = checked {
            self.fail(why);
        }
        log.len()
    }

    /// Takes note that a commit begins; returns the number of the attempt.
    pub(super) fn begin(&self, id: &Id) -> usize {
        let mut state = self.lock();
        state.counts.commits += 1;
        let attempts = state.attempts.entry(id.clone()).or_default();
        attempts.push(Answer::Open);
        attempts.len() - 1
    }

    /// Takes note of the answer to a commit and checks it. A commit that is dropped has none.
    pub(super) fn answer(&self, id: &Id, attempt: usize, batch: &Batch, answer: &Result<Revision>) {
        let mut state = self.lock();
        let verdict = match answer {
            Ok(_) => Answer::Done,
            Err(error) if error.remedy() == Remedy::RetryLater => Answer::Open,
            Err(_) => Answer::Nothing,
        };
        if let Some(open) = state.attempts.get_mut(id).and_then(|attempts| attempts.get_mut(attempt)) {
            *open = verdict;
        }
        match answer {
            Err(error) if error.remedy() == Remedy::RunAgain => state.counts.conflicts += 1,
            _ => {}
        }
        let Ok(revision) = answer else { return };
        let log = batch.changes.get(LOG).cloned().flatten().map(|log| names(&log)).unwrap_or_default();
        state.acknowledged = state.acknowledged.max(log.len());
        let who = format!("the acknowledged commit {id}");
        let checked = state.extend(&who, &log).and_then(|()| state.revision(&who, revision, log.len()));
        drop(state);
        if let Err(why) = checked {
            self.fail(why);
        }
    }

    /// Takes note that an operation has happened, whichever of its attempts made it.
    pub(super) fn done(&self, id: &Id) {
        self.lock().attempts.entry(id.clone()).or_default().push(Answer::Done);
    }

    /// Checks that each operation is in the last state if it was acknowledged, and isn't if nothing was written.
    pub(super) fn finish(&self, last: &Snapshot) -> Result<(), String> {
        let log = last.records.get(LOG).map(|log| names(log)).unwrap_or_default();
        let mut state = self.lock();
        if log.len() != state.log.len() {
            return Err(format!(
                "the last state has {} operations, and {} were seen before: some were lost, the first is {}",
                log.len(),
                state.log.len(),
                state.log[log.len()]
            ));
        }
        let (mut acknowledged, mut unknown) = (0, 0);
        for (id, answers) in &state.attempts {
            let is_there = log.contains(id);
            if answers.contains(&Answer::Done) {
                acknowledged += 1;
                if !is_there {
                    return Err(format!("the operation {id} was acknowledged, and is lost"));
                }
            } else if answers.contains(&Answer::Open) {
                unknown += 1;
            } else if is_there {
                return Err(format!(
                    "the operation {id} happened, though each attempt was told that nothing was written"
                ));
            }
        }
        state.counts.operations = state.attempts.len();
        state.counts.acknowledged = acknowledged;
        state.counts.unknown = unknown;
        Ok(())
    }

    /// Returns what happened.
    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }
}

impl State {
    fn observe(&mut self, who: &str, log: &[Id], seen: &Snapshot, at_least: usize) -> Result<(), String> {
        self.counts.states += 1;
        self.extend(who, log)?;
        self.revision(who, &seen.revision, log.len())?;
        if log.len() < at_least {
            return Err(format!(
                "{who} shows {} operations, though {at_least} were acknowledged before the call: it lacks {}",
                log.len(),
                self.log[log.len()]
            ));
        }
        let wanted = &self.states[log.len()];
        if seen.records == *wanted {
            return Ok(());
        }
        let mut why = format!("{who} shows a state that no operations make, after {}:", last(log));
        for key in wanted.keys().chain(seen.records.keys()) {
            let (seen, wanted) = (seen.records.get(key), wanted.get(key));
            if seen != wanted && !why.contains(&format!(" {key} is")) {
                let _ = write!(why, " {key} is {} and should be {};", shown(seen), shown(wanted));
            }
        }
        Err(why)
    }

    /// Checks a log against the longest one, and takes note of it if it's longer.
    fn extend(&mut self, who: &str, log: &[Id]) -> Result<(), String> {
        for (at, id) in log.iter().enumerate() {
            match self.log.get(at) {
                Some(known) if known == id => {}
                Some(known) => {
                    return Err(format!(
                        "{who} has {id} as operation {}, where others saw {known}: one of them is lost, or they changed places",
                        at + 1
                    ));
                }
                None => {
                    if self.log.contains(id) {
                        return Err(format!("{who} shows that {id} happened twice"));
                    }
                    if !self.attempts.contains_key(id) {
                        return Err(format!("{who} shows the operation {id}, which nobody tried"));
                    }
                    let mut records = self.states[at].clone();
                    let mut text = records.get(LOG).map(|log| log.to_vec()).unwrap_or_default();
                    text.extend_from_slice(format!("{id}\n").as_bytes());
                    apply(&mut records, id.changes());
                    records.insert(super::super::steps::key(LOG), text.into());
                    self.log.push(id.clone());
                    self.states.push(records);
                }
            }
        }
        Ok(())
    }

    /// Checks that a revision always names the same state.
    fn revision(&mut self, who: &str, revision: &Revision, length: usize) -> Result<(), String> {
        match self.revisions.insert(revision.clone(), length) {
            Some(before) if before != length => Err(format!(
                "{who} shows {length} operations at revision {revision}, where others saw {before}"
            )),
            _ => Ok(()),
        }
    }
}

fn last(log: &[Id]) -> String {
    log.last().map_or_else(|| "nothing".to_owned(), Id::to_string)
}

/// Shows the beginning of a value, which names the operation that wrote it.
fn shown(value: Option<&bytes::Bytes>) -> String {
    value.map_or_else(
        || "absent".to_owned(),
        |bytes| format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(24)])),
    )
}
