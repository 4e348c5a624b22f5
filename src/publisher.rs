//! Keeps this host's own record in the store equal to what its networks claim.
//!
//! The host writes when what it has to say changes, when the store lost its record, and when the store is another one
//! than it told last. Otherwise the store's word stands: a record that an operator edited by hand is left as it is, and
//! told in the status.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use ipvland_store::{EndpointStore, Nudge, Remedy, transact::Retry};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};

use crate::{
    durable,
    fleet::View,
    lease::{Answer, Ticket, Wishes},
    policy::Local,
    record::Record,
    status::Board,
};

mod announce;
mod claims;
mod edit;
mod grant;
mod names;
mod source;
#[cfg(test)]
mod tests;
mod write;

pub use announce::Announcer;
pub(crate) use claims::list;
pub use claims::{Claims, is_published};
pub use edit::{Edit, withdraw};
pub use grant::{Grant, Granted};
pub use names::NamesPublisher;
pub use source::ClaimSource;

/// What became of the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is nothing to publish.
    Nothing,
    /// The store does not have them yet, and why.
    Pending(String),
    /// The store has them.
    Published,
    /// They can't be published, and why.
    Refused(String),
    /// The store's record differs by another's hand, and how.
    Edited(String),
    /// The host has left: nothing is published until the daemon starts again.
    Left,
}

/// The newest claims that were dealt with, and what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The claims.
    pub claims: Option<Claims>,
    /// What became of them.
    pub state: State,
}

/// What the publisher needs.
pub struct Publisher {
    /// Where records live.
    pub store: Arc<dyn EndpointStore>,
    /// Which store that is, as [`StoreConfig::place`](crate::config::StoreConfig::place) says.
    pub place: String,
    /// Wakes the store's poller, so that our own commit is seen at once, and whoever tells the other hosts of it.
    pub nudge: Nudge,
    /// The stable id of the machine.
    pub id: String,
    /// What is to be published.
    pub source: ClaimSource,
    /// What the store shows.
    pub views: watch::Receiver<Arc<View>>,
    /// What this host's interfaces are, to refuse what would cut hosts off.
    pub local: watch::Receiver<Local>,
    /// Whether the host leaves, or has left.
    pub leaving: watch::Receiver<bool>,
    /// Where the claims that the store took are remembered.
    pub settled_file: PathBuf,
    /// Where the status goes.
    pub board: Board,
    /// Where the outcome goes.
    pub outcome: watch::Sender<Outcome>,
}

/// How long one round of attempts lasts before the status tells of it; the next begins at once.
const ROUND: Retry = Retry {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(12),
    deadline: Some(Duration::from_secs(60)),
};

/// How long to wait before claims that were refused are tried again, unless something changes before.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

impl Publisher {
    /// Publishes for ever.
    pub async fn run(mut self) {
        let mut settled = Settled::load(self.settled_file.clone(), self.place.clone());
        let mut denied = Denied::default();
        loop {
            let pause = self.step(&mut settled, &mut denied).await;
            tokio::select! {
                () = self.source.changed() => {}
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.leaving.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does what there is to do now, and returns how long to wait for news before doing it again.
    async fn step(&mut self, settled: &mut Settled, denied: &mut Denied) -> Duration {
        let claims = self.source.claims();
        let idle = Duration::from_secs(3600);
        if *self.leaving.borrow() {
            self.tell(claims, State::Left);
            return idle;
        }
        let Some(wanted) = claims.clone() else {
            self.tell(claims, State::Pending("the parent interface has no address yet".to_owned()));
            return idle;
        };
        let view = self.views.borrow_and_update().clone();
        self.source.fleet.follow(&view.records);
        let wishes = self.source.wishes.borrow_and_update().clone();
        let asks = !wishes.is_empty() && !denied.stands(&wishes, &view);
        if !settled.must_write(&wanted, &view) && !asks {
            self.tell(claims, settled.state(&wanted, &view));
            return if wishes.is_empty() { idle } else { REFUSED_PAUSE };
        }
        if wanted.is_empty() && !asks && settled.claims.is_none() && !view.knows(&self.id) {
            self.tell(claims, State::Nothing);
            return idle;
        }
        match &self.outcome.borrow().state {
            // A refusal stays told until it is decided anew.
            State::Refused(_) => {}
            _ => self.show(&wanted, &State::Pending("being written to the store".to_owned())),
        }
        let (mut leaving, mut source) = (self.leaving.clone(), self.source.clone());
        let written = tokio::select! {
            written = self.write(&wanted, &wishes, &view) => written,
            // A commit that is cut off may be done or not: the next one finds out, and who leaves takes it out.
            () = source.differs_from(&wanted) => return Duration::ZERO,
            Ok(_) = leaving.wait_for(|leaving| *leaving) => return Duration::ZERO,
        };
        let (claims, state, pause) = match written {
            Ok(granted) => {
                settled.save(granted.claims.clone(), view.readings).await;
                let state = settled.state(&granted.claims, &view);
                // The view is from before: what it shows next may be room.
                *denied = Denied { wishes, view: Arc::clone(&view), since: Instant::now() };
                let pause = self.answer(granted.answers).await;
                (Some(granted.claims), state, pause.unwrap_or(idle))
            }
            Err(error) => match error.remedy() {
                Remedy::GiveUp => {
                    tracing::error!("this host's record is not published: {error}");
                    (claims, State::Refused(error.to_string()), REFUSED_PAUSE)
                }
                _ => {
                    tracing::warn!("this host's record is not published yet: {error}");
                    // A store that asks to be left alone is.
                    (claims, State::Pending(error.to_string()), error.pause().unwrap_or_default())
                }
            },
        };
        if let State::Pending(reason) | State::Refused(reason) = &state {
            self.source.leases.hinder(reason.clone());
        }
        self.tell(claims, state);
        pause
    }

    /// Brings answers to those who wished, and returns how long to wait before what was denied is asked for again.
    async fn answer(&self, answers: BTreeMap<Ticket, Answer>) -> Option<Duration> {
        let denied: Vec<(Ticket, String)> = answers
            .iter()
            .filter_map(|(ticket, answer)| Some((*ticket, answer.as_ref().err()?.clone())))
            .collect();
        if let Err(error) = self.source.leases.answer(answers).await {
            tracing::error!("what was leased can't be used: {error}");
            return Some(REFUSED_PAUSE);
        }
        // What somebody waits for was told to him; what the host itself lacks is for its operator.
        let open = self.source.leases.wishes().borrow().clone();
        let lacking = denied.into_iter().find(|(ticket, _)| open.contains_key(ticket)).map(|(_, why)| why);
        if let Some(why) = &lacking {
            tracing::warn!("this host has no prefix of its own: {why}");
        }
        let pause = lacking.as_ref().map(|_| REFUSED_PAUSE);
        self.board.update(|status| status.published.lacking = lacking);
        pause
    }

    fn tell(&self, claims: Option<Claims>, state: State) {
        if let Some(claims) = &claims {
            self.show(claims, &state);
        } else {
            self.board.update(|status| {
                status.published.state = "nothing".to_owned();
                status.published.reason = None;
            });
        }
        self.outcome.send_if_modified(|outcome| {
            let new = Outcome { claims, state };
            let changed = *outcome != new;
            *outcome = new;
            changed
        });
    }

    fn show(&self, claims: &Claims, state: &State) {
        let (word, reason) = match state {
            State::Nothing => ("nothing", None),
            State::Pending(reason) => ("pending", Some(reason)),
            State::Published => ("published", None),
            State::Refused(reason) => ("refused", Some(reason)),
            State::Edited(reason) => ("edited", Some(reason)),
            State::Left => ("left", None),
        };
        self.board.update(|status| {
            status.published.file = Some(Record::key(claims.host).to_string());
            status.published.prefixes = claims.networks.clone();
            status.published.state = word.to_owned();
            status.published.reason = reason.cloned();
        });
    }
}

/// The wishes that were denied last, and what the store showed then: asked again at once, they would be denied again.
struct Denied {
    wishes: Wishes,
    view: Arc<View>,
    since: Instant,
}

impl Default for Denied {
    fn default() -> Self {
        Self { wishes: Wishes::default(), view: Arc::default(), since: Instant::now() }
    }
}

impl Denied {
    /// Says whether the last answer still stands: nothing new was asked, and the store shows nothing new.
    fn stands(&self, wishes: &Wishes, view: &View) -> bool {
        self.wishes == *wishes && self.view.revision == view.revision && self.since.elapsed() < REFUSED_PAUSE
    }
}

/// The claims that the store took last, remembered over restarts, so that what an operator edits by hand afterwards can
/// be told from what this host has not yet said.
#[derive(Debug)]
struct Settled {
    file: PathBuf,
    /// Which store it is.
    place: String,
    claims: Option<Claims>,
    /// Another store took the claims, or none is known to have: what this one shows may be a copy from before they were.
    elsewhere: bool,
    /// The reading of the store at which the record was last known to be there.
    reading: u64,
    /// Whether the view has shown our record since we wrote it; before that, what it shows is from before our write.
    seen: bool,
}

/// The file that remembers them.
#[derive(Serialize, Deserialize)]
struct SettledFile {
    #[serde(default)]
    store: String,
    #[serde(flatten)]
    claims: Claims,
}

impl Settled {
    fn load(file: PathBuf, place: String) -> Self {
        let told: Option<SettledFile> =
            std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let elsewhere = told.as_ref().is_some_and(|told| told.store != place);
        Self { file, place, claims: told.map(|told| told.claims), elsewhere, reading: 0, seen: true }
    }

    async fn save(&mut self, claims: Claims, reading: u64) {
        let told = SettledFile { store: self.place.clone(), claims };
        let (file, content) = (self.file.clone(), serde_json::to_vec(&told));
        // Off this thread, which has to tell the other hosts meanwhile.
        let writing =
            tokio::task::spawn_blocking(move || durable::write(&file, &content.map_err(io::Error::other)?));
        if let Err(error) = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed))) {
            tracing::warn!(file = %self.file.display(), %error, "cannot remember what was published; free the disk");
        }
        self.claims = Some(told.claims);
        self.elsewhere = false;
        self.reading = reading;
        self.seen = false;
    }

    /// Says whether the store has to be written.
    fn must_write(&mut self, wanted: &Claims, view: &View) -> bool {
        if self.elsewhere || self.claims.as_ref() != Some(wanted) {
            return true;
        }
        let shown = view.records.get(&Record::key(wanted.host));
        self.seen |= wanted.matches(shown);
        // A commit that takes our record out is somebody's decision; a store that was read as a whole and does not have
        // it has lost it.
        let lost = shown.is_none() && !wanted.is_empty() && view.readings > self.reading;
        if view.readings > self.reading && !lost {
            self.reading = view.readings;
        }
        lost
    }

    fn state(&self, wanted: &Claims, view: &View) -> State {
        let shown = view.records.get(&Record::key(wanted.host));
        if !self.seen || view.readings == 0 || wanted.matches(shown) {
            return if wanted.is_empty() { State::Nothing } else { State::Published };
        }
        State::Edited(match shown {
            None => "it was taken out of the store by hand; it is published again when a network changes or ipvland \
                     starts"
                .to_owned(),
            Some(Err(reason)) => format!("it was edited by hand and can't be read: {reason}"),
            Some(Ok(record)) => {
                let prefixes: Vec<_> = record.prefixes().map(|(_, prefix)| prefix.to_string()).collect();
                format!("it was edited by hand and now holds {}", claims::list(&prefixes))
            }
        })
    }
}

impl View {
    /// Says whether some record carries a machine's id.
    fn knows(&self, id: &str) -> bool {
        self.records.values().any(|record| matches!(record, Ok(record) if record.id.as_deref() == Some(id)))
    }
}
