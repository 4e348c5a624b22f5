//! Keeps the names of this host's containers in the store, beside its record.
//!
//! They change with every container that starts, and a commit is the fleet's: changes are gathered, and there are no two
//! commits of this host's names within the operator's interval.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use ipvland_store::{
    Batch, EndpointStore, Error, Key, Nudge, Remedy, Result, Snapshot, StoreExt as _, transact::Retry,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::claims::list;
use crate::{
    fleet::{NamesFiles, NamesView, Source},
    host::Reach,
    record::{Names, NamesRecord},
    status::Board,
};

/// How long names must stand still before they are written, for as long as the interval isn't over.
const QUIET: Duration = Duration::from_secs(2);

/// How long one round of attempts lasts before the status tells of it; the next begins after the interval.
const ROUND: Retry = Retry {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(12),
    deadline: Some(Duration::from_secs(60)),
};

/// How long to wait before names that were refused are tried again, unless something changes before.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// What the publisher of names needs.
#[derive(Debug)]
pub struct NamesPublisher {
    /// Where records live.
    pub store: Arc<dyn EndpointStore>,
    /// Wakes the store's poller, so that our own commit is seen at once.
    pub nudge: Nudge,
    /// The stable id of the machine.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// What is to be told; nothing where that isn't known yet, and no names where there are none to tell.
    pub wanted: watch::Receiver<Option<Arc<Names>>>,
    /// What the store shows.
    pub shown: watch::Receiver<NamesView>,
    /// How the host is reached.
    pub reach: watch::Receiver<Option<Reach>>,
    /// Whether the host leaves, or has left.
    pub leaving: watch::Receiver<bool>,
    /// Says when nothing is written any more because the host leaves.
    pub stopped: watch::Sender<bool>,
    /// The least time between two commits.
    pub interval: Duration,
    /// Where the status goes.
    pub board: Board,
}

impl NamesPublisher {
    /// Publishes until the future is dropped.
    pub async fn run(mut self) {
        let mut not_before = Instant::now();
        loop {
            if *self.leaving.borrow_and_update() {
                self.stopped.send_replace(true);
                if self.leaving.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            self.stopped.send_replace(false);
            if self.differs() {
                self.gather(not_before).await;
                if *self.leaving.borrow() || !self.differs() {
                    continue;
                }
                let pause = self.write().await;
                not_before = Instant::now() + pause;
            } else {
                self.changed().await;
            }
        }
    }

    async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.wanted.changed() => {}
            Ok(()) = self.shown.changed() => {}
            Ok(()) = self.reach.changed() => {}
            Ok(()) = self.leaving.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// Waits until names stand still, or the interval is over since they began to change, but not less than the rest of
    /// the interval since the last commit.
    async fn gather(&mut self, not_before: Instant) {
        let latest = (Instant::now() + self.interval).max(not_before);
        loop {
            let quiet = (Instant::now() + QUIET).max(not_before).min(latest);
            tokio::select! {
                Ok(()) = self.wanted.changed() => {}
                Ok(()) = self.leaving.changed() => return,
                () = sleep_until(quiet) => return,
            }
        }
    }

    fn host(&self) -> Option<IpAddr> {
        self.reach.borrow().as_ref().map(|reach| reach.address)
    }

    /// Says whether the store shows other names than are to be told. What the disk remembers of it may be old.
    fn differs(&mut self) -> bool {
        let host = self.host();
        let shown = self.shown.borrow_and_update();
        let wanted = self.wanted.borrow_and_update();
        let (Source::Store, Some(wanted), Some(host)) = (shown.source, wanted.as_deref(), host) else {
            return false;
        };
        Edit { id: &self.id, name: &self.name, host, names: wanted }.differs(&shown.files)
    }

    /// Writes, and returns how long to wait before the next commit.
    async fn write(&mut self) -> Duration {
        let wanted = self.wanted.borrow().clone();
        let (Some(wanted), Some(host)) = (wanted, self.host()) else { return Duration::ZERO };
        let edit = Edit { id: &self.id, name: &self.name, host, names: &wanted };
        let (mut leaving, mut tried) = (self.leaving.clone(), false);
        let written = tokio::select! {
            written = self.store.transact(ROUND, |snapshot| {
                let batch = edit.on(snapshot)?;
                tried |= batch.is_some();
                Ok(batch)
            }) => written,
            // A commit that is cut off may be done or not: who leaves takes it out.
            Ok(_) = leaving.wait_for(|leaving| *leaving) => return Duration::ZERO,
        };
        let (problem, pause) = match written {
            Ok(revision) => {
                let count: usize = wanted.values().map(BTreeMap::len).sum();
                tracing::info!(%revision, "the names of this host's containers are in the store: {count}");
                if tried {
                    self.nudge.committed(revision);
                } else {
                    self.nudge.wake();
                }
                (None, self.interval)
            }
            Err(error) => {
                let words = format!("the names of this host's containers are not in the store: {error}");
                tracing::warn!("{words}");
                let refused = error.remedy() == Remedy::GiveUp;
                let pause = if refused { REFUSED_PAUSE } else { error.pause().unwrap_or_default() };
                (Some(words), self.interval.max(pause))
            }
        };
        self.board.update(|status| status.names.publishing = problem);
        pause
    }
}

/// What the batch is worked out from, besides the snapshot.
#[derive(Debug, Clone, Copy)]
struct Edit<'a> {
    id: &'a str,
    name: &'a str,
    host: IpAddr,
    names: &'a Names,
}

impl Edit<'_> {
    fn differs(&self, files: &NamesFiles) -> bool {
        let key = NamesRecord::key(self.host);
        let moved = files.iter().any(|(other, file)| *other != key && is_of(file.as_deref().ok(), self.id));
        let shown = files.get(&key);
        moved
            || match shown {
                None => !self.names.is_empty(),
                Some(Err(_)) => true,
                Some(Ok(file)) => {
                    file.id != self.id && !self.names.is_empty()
                        || file.id == self.id && file.names != *self.names
                }
            }
    }

    fn on(&self, snapshot: &Snapshot) -> Result<Option<Batch>> {
        let key = NamesRecord::key(self.host);
        let present = snapshot.records.get(&key).map(|bytes| NamesRecord::parse(&key, bytes));
        let others = matches!(&present, Some(Ok(file)) if file.id != self.id);
        let before = match present {
            Some(Ok(file)) if others && !self.names.is_empty() => {
                return Err(Error::refused(format!(
                    "another machine (id {}) tells names as {} in {key}; give this one another address, or, if it is that \
                     machine set up anew, run `ipvland leave --force` here once",
                    file.id, self.host
                )));
            }
            Some(Ok(file)) if !others => file.names,
            _ => Names::new(),
        };
        let mut batch = Batch::new(self.subject(&before));
        for old in own_keys(snapshot, self.id).into_iter().filter(|old| *old != key) {
            batch = batch.remove(old);
        }
        if !self.names.is_empty() {
            let file = NamesRecord { host: self.host, id: self.id.to_owned(), names: self.names.clone() };
            batch = batch.put(key, file.to_bytes());
        } else if !others {
            batch = batch.remove(key);
        }
        Ok((!batch.is_noop_on(snapshot)).then_some(batch))
    }

    /// Says in words what the batch does: `web-1 names db.net1`.
    fn subject(&self, before: &Names) -> String {
        let whole = |names: &Names| -> BTreeMap<String, Vec<IpAddr>> {
            let names = names.iter().flat_map(|(network, names)| {
                names.iter().map(move |(name, addresses)| {
                    (format!("{name}.{network}"), addresses.iter().copied().collect())
                })
            });
            names.collect()
        };
        let (old, new) = (whole(before), whole(self.names));
        let pick = |of: &BTreeMap<String, Vec<IpAddr>>, fits: &dyn Fn(&str) -> bool| -> Vec<String> {
            of.keys().filter(|name| fits(name)).cloned().collect()
        };
        let parts = [
            ("names", pick(&new, &|name| !old.contains_key(name))),
            ("moves", pick(&new, &|name| old.get(name).is_some_and(|was| Some(was) != new.get(name)))),
            ("drops", pick(&old, &|name| !new.contains_key(name))),
        ];
        let words: Vec<_> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(verb, names)| format!("{verb} {}", list(&names)))
            .collect();
        let words = if words.is_empty() { "updates its names".to_owned() } else { words.join(" and ") };
        format!("{} {words}", self.name)
    }
}

/// Returns the batch of a host's names.
#[cfg(test)]
pub(super) fn batch(snapshot: &Snapshot, id: &str, name: &str, host: IpAddr, names: &Names) -> Option<Batch> {
    Edit { id, name, host, names }.on(snapshot).unwrap()
}

fn is_of(file: Option<&NamesRecord>, id: &str) -> bool {
    file.is_some_and(|file| file.id == id)
}

/// Returns the keys of a machine's names.
pub(super) fn own_keys(snapshot: &Snapshot, id: &str) -> Vec<Key> {
    let files = snapshot.records.iter().filter(|(key, _)| NamesRecord::is_key(key));
    let own = files.filter(|(key, bytes)| is_of(NamesRecord::parse(key, bytes).ok().as_ref(), id));
    own.map(|(key, _)| key.clone()).collect()
}
