//! A snapshot and then every change, for ever.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};

use crate::{
    Delta, EndpointStore, Error, Nudge, Remedy, Result, Revision, Snapshot, backoff::Backoff, nudge::Hint,
};

/// What [`follow`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Forget what you know: this is the whole store. Comes first, and again when the store's history is gone.
    Reset(Snapshot),
    /// What changed since the event before; without changes where it says only that the store is back.
    Delta(Delta),
}

/// The longest first pause before the store is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The shortest pause that a hint leads to.
const HINTED_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause while the store is away.
const AWAY_CAP: Duration = Duration::from_secs(30);
/// The longest pause after the store said no: it's longer, since an operator must act first.
const REFUSED_CAP: Duration = Duration::from_secs(60);

/// Follows a store for ever.
///
/// The stream never ends. An error item says that the store is away (or says no) at the moment; the stream goes on by
/// itself with jittered backoff, which a `nudge` cuts short, but for what the store [asked for](Error::pause). What was told before an error still holds: the first event
/// after it says that the store is back: it continues from there, or is a [`Event::Reset`].
pub fn follow<S: EndpointStore + ?Sized>(store: Arc<S>, nudge: Nudge) -> BoxStream<'static, Result<Event>> {
    let follower = Follower {
        store,
        wakes: nudge.listen(),
        hints: nudge.hints(),
        commits: nudge.commits(),
        nudge,
        known: None,
        state: State::Snapshot,
        started_over: false,
        pause: None,
        backoff: Backoff::new(FIRST_PAUSE, REFUSED_CAP),
    };
    stream::unfold(follower, async |mut follower| Some((follower.next().await, follower))).boxed()
}

struct Follower<S: ?Sized> {
    store: Arc<S>,
    wakes: watch::Receiver<u64>,
    hints: watch::Receiver<Hint>,
    /// What this host has written: the store has taken it, so it is there.
    commits: watch::Receiver<Option<Revision>>,
    /// Kept also so that `wakes` never finds the sender gone.
    nudge: Nudge,
    /// The revision that the reader has.
    known: Option<Revision>,
    state: State,
    /// The store said [`Remedy::StartOver`] and has shown nothing new since.
    started_over: bool,
    /// The cap of the pause that comes before the next step, if one does.
    pause: Option<Duration>,
    backoff: Backoff,
}

enum State {
    /// Nothing is known, or history is gone: read the whole store.
    Snapshot,
    /// An error was told: find out whether the store is back, which the reader is to be told as well.
    Return,
    /// Ask for what comes after the known revision.
    Watch(Revision),
    /// Read what comes; since when the stream has been without an error.
    Read(BoxStream<'static, Result<Delta>>, Instant),
}

impl<S: EndpointStore + ?Sized> Follower<S> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(cap) = self.pause.take() {
                self.wait(cap).await;
            }
            if !matches!(self.state, State::Read(..)) {
                self.heard();
            }
            let told = match &mut self.state {
                State::Snapshot => {
                    let answer = self.store.snapshot().await;
                    self.on_snapshot(answer)
                }
                State::Return => {
                    let answer = self.store.snapshot().await;
                    self.on_return(answer)
                }
                State::Watch(after) => {
                    debug!(%after, "Watching the store");
                    let deltas = self.store.watch(after.clone());
                    self.state = State::Read(deltas, Instant::now());
                    None
                }
                State::Read(deltas, _) => {
                    let item = deltas.next().await;
                    self.on_item(item)
                }
            };
            if let Some(told) = told {
                return told;
            }
        }
    }

    fn on_snapshot(&mut self, answer: Result<Snapshot>) -> Option<Result<Event>> {
        match answer {
            Ok(snapshot) => {
                self.state = State::Watch(snapshot.revision.clone());
                self.nudge.saw(&snapshot.revision);
                let before = self.known.replace(snapshot.revision.clone());
                if before.as_ref() == Some(&snapshot.revision) {
                    return None;
                }
                self.backoff.reset();
                Some(Ok(Event::Reset(snapshot)))
            }
            Err(error) => {
                self.pause_after(&error);
                Some(Err(error))
            }
        }
    }

    fn on_return(&mut self, answer: Result<Snapshot>) -> Option<Result<Event>> {
        let Some(known) = self.known.clone() else { return self.on_snapshot(answer) };
        match answer {
            Ok(snapshot) => {
                self.state = State::Watch(known.clone());
                // Else what is new comes from the watch, and says by itself that the store is back.
                (snapshot.revision == known).then(|| {
                    let changes = BTreeMap::new();
                    Ok(Event::Delta(Delta { revision: known, changes, strays: snapshot.strays }))
                })
            }
            Err(error) => {
                self.pause_after(&error);
                Some(Err(error))
            }
        }
    }

    fn on_item(&mut self, item: Option<Result<Delta>>) -> Option<Result<Event>> {
        match item {
            Some(Ok(delta)) => {
                self.known = Some(delta.revision.clone());
                self.started_over = false;
                self.backoff.reset();
                if let State::Read(_, since) = &mut self.state {
                    *since = Instant::now();
                }
                Some(Ok(Event::Delta(delta)))
            }
            Some(Err(error)) => match error.remedy() {
                Remedy::RetryLater | Remedy::RunAgain | Remedy::GiveUp => {
                    self.state = State::Return;
                    self.pause_after(&error);
                    Some(Err(error))
                }
                Remedy::StartOver => {
                    self.state = State::Snapshot;
                    if !std::mem::replace(&mut self.started_over, true) {
                        info!(%error, "Reading the whole store again");
                        return None;
                    }
                    // Starting over did not help the last time; without a pause this would spin.
                    self.pause_after(&error);
                    Some(Err(error))
                }
            },
            None => {
                // A stream that was quiet and well for long and then ended is no sign of trouble.
                if matches!(&self.state, State::Read(_, since) if since.elapsed() > REFUSED_CAP) {
                    self.backoff.reset();
                }
                self.pause = Some(AWAY_CAP);
                self.state = self.known.clone().map_or(State::Snapshot, State::Watch);
                None
            }
        }
    }

    fn pause_after(&mut self, error: &Error) {
        if let Some(pause) = error.pause() {
            self.nudge.rest(pause);
        }
        self.pause = Some(cap_after(error.remedy()));
    }

    /// Takes what was said so far as answered by what is done next.
    fn heard(&mut self) {
        self.wakes.borrow_and_update();
        self.commits.borrow_and_update();
    }

    async fn wait(&mut self, cap: Duration) {
        let pause = self.backoff.pause_up_to(cap);
        let rest = self.nudge.resting().unwrap_or_default();
        debug!(pause_ms = (rest + pause).as_millis() as u64, "Asking the store again after a pause");
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
            // Else all whom the store asked come back at once where somebody nudges them meanwhile.
            self.heard();
        }
        let begun = Instant::now();
        let mut hints = self.hints.clone();
        let hinted = async {
            // Who has written finds the store there. Many who say so are asked by no more than a question a second.
            let heard = hints.changed().await;
            tokio::time::sleep_until(begun + HINTED_PAUSE).await;
            heard
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.wakes.changed() => debug!("Nudged to ask the store again"),
            Ok(()) = self.commits.changed() => debug!("The store has taken a commit, and is asked again"),
            _ = hinted => debug!("Asking the store again for a hint"),
        }
        self.hints.borrow_and_update();
    }
}

fn cap_after(remedy: Remedy) -> Duration {
    match remedy {
        Remedy::GiveUp => REFUSED_CAP,
        Remedy::RetryLater | Remedy::RunAgain | Remedy::StartOver => AWAY_CAP,
    }
}
