//! What this host knows of the fleet: follows the store, and remembers the last good snapshot on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use ipvland_store::{Event, Key, Revision, Snapshot, Stray};
use tokio::{sync::watch, time::Instant};

use crate::{
    persistent::Map,
    policy::Records,
    record::{NamesRecord, Reason, Record},
    status::Board,
};

mod cache;
mod hold;
mod index;
mod names;
mod stored;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Saved};
use hold::{Cause, Hold};
pub use index::Index;
pub(crate) use names::names_of;
pub use names::{NamesFiles, NamesView};
pub use stored::Stored;

/// Where the records of a [`View`] come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// Nowhere yet: neither the store nor the disk has told anything.
    #[default]
    None,
    /// The last good snapshot on disk: the store has not answered since the start.
    Disk,
    /// The store.
    Store,
}

/// What is known of the fleet at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Where the records come from.
    pub source: Source,
    /// The revision of the records.
    pub revision: Option<Revision>,
    /// Every record, each parsed or refused by itself.
    pub records: Arc<Records>,
    /// What lies among the records and isn't one.
    pub strays: Vec<Stray>,
    /// How often the store was read as a whole. What is missing after such a reading was not taken out by a commit.
    pub readings: u64,
    /// Why the store is away at the moment, if it is.
    pub away: Option<String>,
    /// Why records are kept that the store no longer shows, if so.
    pub held: Option<String>,
}

impl View {
    /// Says whether another view asks for the same routes: names that change make a new revision, and no other route.
    pub fn routes_as(&self, other: &Self) -> bool {
        self.records == other.records && self.source == other.source && self.strays == other.strays
    }

    /// Returns the revision at which the store holds these very records, as far as is known: not where they come from the
    /// disk, nor where some are kept that the store doesn't show.
    pub fn as_the_store_is(&self) -> Option<&Revision> {
        let is_so = self.source == Source::Store && self.held.is_none() && self.away.is_none();
        self.revision.as_ref().filter(|_| is_so)
    }

    /// Returns the keys whose records may differ from those of an earlier view of the same daemon, those that came and
    /// went included; `None` where that can't be told, and any may differ. It costs what the changes are, whatever the
    /// size of the fleet.
    pub fn changed_since(&self, earlier: &Self) -> Option<BTreeSet<Key>> {
        Some(self.records.diff(&earlier.records).map(|(key, _)| key.clone()).collect())
    }
}

/// Follows the store and tells every change of the view.
pub struct Fleet {
    /// Which store is followed.
    place: String,
    /// Whether `raw` is of another store than that.
    swapped: bool,
    /// The records as they lie in the store, without the names.
    raw: Stored,
    names: names::Held,
    view: View,
    hold: Hold,
    own: watch::Receiver<Option<Key>>,
    cache: Cache,
    views: watch::Sender<Arc<View>>,
    names_views: watch::Sender<NamesView>,
    board: Board,
}

/// How long changes are gathered before the snapshot on disk is written anew.
const WRITE_DELAY: Duration = Duration::from_millis(500);

impl Fleet {
    /// Makes the fleet of a host, with what the snapshot on disk knows. `place` says which store will be followed, as
    /// [`StoreConfig::place`](crate::config::StoreConfig::place) does; `own` is the key of the host's own record.
    pub fn new(place: String, cache: PathBuf, own: watch::Receiver<Option<Key>>, board: Board) -> Self {
        Self::start(place, Cache::open(cache), own, board)
    }

    /// As [`Fleet::new`], with a snapshot that was read already: other things can be done meanwhile.
    pub fn start(
        place: String,
        (cache, saved): (Cache, Option<Saved>),
        own: watch::Receiver<Option<Key>>,
        board: Board,
    ) -> Self {
        let mut fleet = Self {
            place,
            swapped: false,
            raw: Stored::new(),
            names: names::Held::default(),
            view: View::default(),
            hold: Hold::default(),
            own,
            cache,
            views: watch::Sender::new(Arc::default()),
            names_views: watch::Sender::new(NamesView::default()),
            board,
        };
        if let Some(saved) = saved {
            fleet.start_from(saved);
        }
        fleet.tell();
        fleet
    }

    fn start_from(&mut self, saved: Saved) {
        let Saved { place, revision, records, names, held, swapped } = saved;
        tracing::info!(%revision, records = records.len(), "read the last snapshot from disk");
        self.names = names::Held::resume(names);
        self.swapped = place != self.place;
        self.view = View {
            source: Source::Disk,
            revision: Some(revision),
            records: Arc::new(records.parsed().clone()),
            ..View::default()
        };
        self.raw = records;
        self.hold = Hold::resume(held, if swapped { Cause::Swapped } else { Cause::Lost });
        self.judge_hold();
    }

    /// Returns the views from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    /// Returns the names from now on.
    pub fn subscribe_names(&self) -> watch::Receiver<NamesView> {
        self.names_views.subscribe()
    }

    /// Follows the events of a store. It returns when they end, which those of
    /// [`follow`](ipvland_store::follow::follow) never do.
    pub async fn run(self, events: BoxStream<'static, ipvland_store::Result<Event>>) {
        self.run_until(events, std::future::pending()).await;
    }

    /// As [`Fleet::run`], until `stop` is there: what was learned last is on the disk then.
    pub async fn run_until(
        mut self,
        mut events: BoxStream<'static, ipvland_store::Result<Event>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut write_at: Option<Instant> = None;
        loop {
            let due = [write_at, self.hold.ends()].into_iter().flatten().min();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        if self.take(event) {
                            write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
                        }
                    }
                    None => return,
                },
                () = &mut stop => {
                    if write_at.is_some() {
                        self.save().await;
                    }
                    return;
                }
                () = sleep_until(due) => {
                    if write_at.is_some_and(|at| at <= Instant::now()) {
                        write_at = None;
                        self.save().await;
                    }
                    if self.judge_hold() {
                        write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
                    }
                }
            }
            self.tell();
        }
    }

    /// Takes an event and says whether the records changed.
    fn take(&mut self, event: ipvland_store::Result<Event>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let away = error.to_string();
                if self.view.away.as_ref() != Some(&away) {
                    tracing::warn!("the store is away, routes stay as they are: {away}");
                }
                self.view.away = Some(away);
                return false;
            }
        };
        if self.view.away.take().is_some() {
            tracing::info!("the store is back");
        }
        let before = self.view.revision.clone();
        match event {
            Event::Reset(snapshot) => self.reset(snapshot),
            Event::Delta(mut delta) => {
                self.names.apply(&mut delta);
                self.learn(&delta.revision, delta.changes);
                self.view.strays = delta.strays;
                self.view.revision = Some(delta.revision);
            }
        }
        self.judge_hold();
        before != self.view.revision
    }

    fn reset(&mut self, mut snapshot: Snapshot) {
        self.names.reset(&mut snapshot);
        let Snapshot { revision, records, strays } = snapshot;
        tracing::info!(%revision, records = records.len(), "read all records of the store");
        let own = self.own.borrow().clone();
        let swapped = std::mem::take(&mut self.swapped);
        self.hold.begin(&self.raw, &records, own.as_ref(), swapped);
        // A store that was away, or a daemon that starts, mostly finds what it knew: that stays as it is, and shared.
        self.learn(&revision, self.raw.changes_to(records));
        self.view.revision = Some(revision);
        self.view.strays = strays;
        self.view.source = Source::Store;
        self.view.readings += 1;
    }

    /// Takes over what changed in the store since what is known.
    fn learn(&mut self, revision: &Revision, changes: BTreeMap<Key, Option<Bytes>>) {
        if changes.is_empty() {
            // Names alone leave the records as they are.
            return;
        }
        let records = Arc::make_mut(&mut self.view.records);
        for (key, change) in &changes {
            let change = if change.is_some() { "learned" } else { "removed" };
            tracing::debug!(record = %key, %revision, "record {change}");
        }
        for key in changes.iter().filter(|(_, change)| change.is_none()).map(|(key, _)| key) {
            records.remove(key);
            self.raw.remove(key);
        }
        let written: Vec<Key> =
            changes.iter().filter(|(_, change)| change.is_some()).map(|(key, _)| key.clone()).collect();
        self.raw.extend(changes.into_iter().filter_map(|(key, change)| Some((key, change?))));
        let parsed = |key: Key| Some((key.clone(), self.raw.parsed().get(&key)?.clone()));
        records.extend(written.into_iter().filter_map(parsed));
    }

    /// Puts records back that a store does not show, for as long as they are held; says whether that has ended for some.
    fn judge_hold(&mut self) -> bool {
        let before = self.hold.held().0.len();
        self.view.held = self.hold.judge(&mut self.view.records, &self.raw, self.own.borrow().as_ref());
        before != self.hold.held().0.len()
    }

    /// Returns what a start while the store is away is to know: also what is held, else a restart would drop its routes.
    fn saved(&self) -> Option<Saved> {
        // Until the store is read, what is known is of the store before, as the disk says already.
        if self.swapped {
            return None;
        }
        let (held, cause) = self.hold.held();
        Some(Saved {
            place: self.place.clone(),
            revision: self.view.revision.clone()?,
            records: self.raw.clone(),
            names: self.names.raw().clone(),
            held: held.clone(),
            swapped: cause == Cause::Swapped,
        })
    }

    async fn save(&mut self) {
        if let Some(saved) = self.saved() {
            self.cache.write(saved).await;
        }
    }

    fn tell(&self) {
        self.board.update(|status| {
            status.store.revision = self.view.revision.as_ref().map(ToString::to_string);
            status.store.source = match self.view.source {
                Source::None => "none",
                Source::Disk => "disk",
                Source::Store => "store",
            }
            .to_owned();
            status.store.away.clone_from(&self.view.away);
            status.store.held.clone_from(&self.view.held);
        });
        self.views.send_if_modified(|view| {
            let changed = **view != self.view;
            if changed {
                *view = Arc::new(self.view.clone());
            }
            changed
        });
        self.names_views.send_if_modified(|view| {
            let new = self.names.view(self.view.source);
            let changed = *view != new;
            *view = new;
            changed
        });
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A record that was parsed, or why it is refused.
type Parsed = Result<Arc<Record>, Reason>;

fn parse(key: &Key, bytes: &Bytes) -> Parsed {
    Record::parse(key, bytes).map(Arc::new)
}

/// Parses every record by itself; names are left out.
pub(crate) fn parse_all<'a>(records: impl IntoIterator<Item = (&'a Key, &'a Bytes)>) -> Records {
    let records = records.into_iter().filter(|(key, _)| !NamesRecord::is_key(key));
    records.map(|(key, bytes)| (key.clone(), parse(key, bytes))).collect()
}

/// Returns what is to be done to the names that are known to get those that were read.
fn differences(known: &Map<Key, Bytes>, read: BTreeMap<Key, Bytes>) -> BTreeMap<Key, Option<Bytes>> {
    let gone = known.keys().filter(|key| !read.contains_key(*key)).map(|key| (key.clone(), None));
    let mut changes: BTreeMap<_, _> = gone.collect();
    let new = read.into_iter().filter(|(key, bytes)| known.get(key) != Some(bytes));
    changes.extend(new.map(|(key, bytes)| (key, Some(bytes))));
    changes
}
