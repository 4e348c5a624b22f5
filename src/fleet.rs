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
    policy::Records,
    record::{NamesRecord, Reason, Record},
    status::Board,
};

mod cache;
mod hold;
mod names;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Saved};
use hold::{Cause, Hold};
pub(crate) use names::names_of;
pub use names::{NamesFiles, NamesView};

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
        let same = Arc::ptr_eq(&self.records, &other.records) || self.records == other.records;
        same && self.source == other.source && self.strays == other.strays
    }

    /// Returns the keys whose records may differ from those of an earlier view of the same daemon, those that came and
    /// went included; `None` where that can't be told, and any may differ.
    pub fn changed_since(&self, earlier: &Self) -> Option<BTreeSet<Key>> {
        if Arc::ptr_eq(&self.records, &earlier.records) {
            return Some(BTreeSet::new());
        }
        let keys = self.records.keys().chain(earlier.records.keys());
        let differs = |key: &&Key| self.records.get(*key) != earlier.records.get(*key);
        Some(keys.filter(differs).cloned().collect())
    }
}

/// Follows the store and tells every change of the view.
pub struct Fleet {
    /// Which store is followed.
    place: String,
    /// Whether `raw` is of another store than that.
    swapped: bool,
    /// The records as they lie in the store, without the names.
    raw: Snapshot,
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
        let cache = Cache::new(cache);
        let mut fleet = Self {
            place,
            swapped: false,
            raw: Snapshot::empty(Revision::new("none")),
            names: names::Held::default(),
            view: View::default(),
            hold: Hold::default(),
            own,
            cache,
            views: watch::Sender::new(Arc::default()),
            names_views: watch::Sender::new(NamesView::default()),
            board,
        };
        if let Some(saved) = fleet.cache.read() {
            fleet.start_from(saved);
        }
        fleet.tell();
        fleet
    }

    fn start_from(&mut self, saved: Saved) {
        let Saved { place, mut snapshot, held, swapped } = saved;
        self.names.reset(&mut snapshot);
        tracing::info!(
            revision = %snapshot.revision, records = snapshot.records.len(), "read the last snapshot from disk"
        );
        self.swapped = place != self.place;
        self.view = View {
            source: Source::Disk,
            revision: Some(snapshot.revision.clone()),
            records: Arc::new(parse_all(&snapshot.records)),
            ..View::default()
        };
        self.raw = snapshot;
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
                        self.cache.write(&self.saved()).await;
                    }
                    return;
                }
                () = sleep_until(due) => {
                    if write_at.is_some_and(|at| at <= Instant::now()) {
                        write_at = None;
                        self.cache.write(&self.saved()).await;
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
                for (key, change) in &delta.changes {
                    // Not before there is one: names alone leave the records as they are, not even copied.
                    let records = Arc::make_mut(&mut self.view.records);
                    match change {
                        Some(bytes) => records.insert(key.clone(), parse(key, bytes)),
                        None => records.remove(key),
                    };
                    let change = if change.is_some() { "learned" } else { "removed" };
                    tracing::debug!(record = %key, revision = %delta.revision, "record {change}");
                }
                self.view.strays.clone_from(&delta.strays);
                self.raw.apply(&delta);
            }
        }
        self.view.revision = Some(self.raw.revision.clone());
        self.judge_hold();
        before != self.view.revision
    }

    fn reset(&mut self, mut snapshot: Snapshot) {
        self.names.reset(&mut snapshot);
        tracing::info!(
            revision = %snapshot.revision, records = snapshot.records.len(), "read all records of the store"
        );
        let own = self.own.borrow().clone();
        let swapped = std::mem::take(&mut self.swapped);
        self.hold.begin(&self.raw.records, &snapshot.records, own.as_ref(), swapped);
        self.view.records = Arc::new(parse_all(&snapshot.records));
        self.view.strays.clone_from(&snapshot.strays);
        self.view.source = Source::Store;
        self.view.readings += 1;
        self.raw = snapshot;
    }

    /// Puts records back that a store does not show, for as long as they are held; says whether that has ended for some.
    fn judge_hold(&mut self) -> bool {
        let before = self.hold.held().0.len();
        self.view.held =
            self.hold.judge(&mut self.view.records, &self.raw.records, self.own.borrow().as_ref());
        before != self.hold.held().0.len()
    }

    /// Returns what a start while the store is away is to know: also what is held, else a restart would drop its routes.
    fn saved(&self) -> Saved {
        let (held, cause) = self.hold.held();
        // Until the store is read, what is known is of the store before; a snapshot is written after that alone.
        Saved {
            place: self.place.clone(),
            snapshot: self.names.with(&self.raw),
            held: held.clone(),
            swapped: cause == Cause::Swapped,
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

fn parse(key: &Key, bytes: &Bytes) -> Result<Arc<Record>, Reason> {
    Record::parse(key, bytes).map(Arc::new)
}

/// Parses every record by itself; names are left out.
pub(crate) fn parse_all(records: &BTreeMap<Key, Bytes>) -> Records {
    let records = records.iter().filter(|(key, _)| !NamesRecord::is_key(key));
    records.map(|(key, bytes)| (key.clone(), parse(key, bytes))).collect()
}
