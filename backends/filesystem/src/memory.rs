//! What a handle knows from the calls before, and how it reads the directory as a whole.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use ipvland_store::{Error, Key, Result};

use crate::{
    errors::failed,
    lock::Lock,
    place::{Mark, Place},
    revision::{Digest, Version},
    scan::Shelf,
    view::View,
};

/// How often the directory is read without a lock while commits come in between.
const ATTEMPTS: usize = 5;

/// How often every file is looked at, even where nothing seems to have changed: an edit in place on another machine
/// shows in the file alone.
const FULL_LOOK: Duration = Duration::from_secs(30);

/// How many steps are remembered for watches that lag behind.
const MAX_STEPS: usize = 256;

/// What one handle knows.
#[derive(Default)]
pub(crate) struct Memory {
    shelf: Shelf,
    view: Option<View>,
    steps: VecDeque<Step>,
    quiet: Option<Quiet>,
    /// The directory's file system was found to have what commits need.
    pub(crate) is_probed: bool,
}

/// One change that the handle saw; the next step, or the view, tells what it led to.
struct Step {
    from: Version,
    keys: BTreeSet<Key>,
}

/// What there was when the view was read.
struct Quiet {
    mark: Option<Mark>,
    /// How often inotify had told of a change by then.
    stirs: u64,
    at: Instant,
}

/// How a read is kept from seeing a half of a commit.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// Nobody else writes: the caller has the lock.
    Nobody,
    /// Writers are noticed; after some attempts they are kept out by a shared lock, waited for so long.
    Writers(Duration),
}

impl Memory {
    /// Tells whether the store is certainly as it was at the last read, from a few looks that read no record.
    pub(crate) fn is_quiet(&self, place: &Place, stirs: u64) -> Result<bool> {
        let Some(quiet) = &self.quiet else { return Ok(false) };
        if quiet.stirs != stirs || quiet.at.elapsed() >= FULL_LOOK || place.mark()? != quiet.mark {
            return Ok(false);
        }
        if let Some(mark) = &quiet.mark
            && place.has_pending(mark)?
        {
            return Ok(false);
        }
        let Some(endpoints) = place.endpoints()? else { return Ok(false) };
        self.shelf.lists(endpoints).map_err(|errno| failed("look at", &place.endpoints_path(), errno))
    }

    /// Reads the whole store at one revision.
    ///
    /// A reader takes no lock, so that one that is stopped keeps nobody from writing. The files of generation N hold
    /// nothing newer than the commit N + 1, which lies whole in the log before any of them changes; so what was read
    /// between two looks at the generation that agree is N, or N + 1 where the log has that.
    pub(crate) fn read(
        &mut self,
        place: &Place,
        stirs: u64,
        suspects: &BTreeSet<Key>,
        against: Against,
    ) -> Result<&View> {
        let (mut lock, mut is_read) = (None, false);
        for attempt in 0..2 * ATTEMPTS {
            if attempt == ATTEMPTS
                && let Against::Writers(patience) = against
            {
                tracing::debug!(path = %place.path.display(), "Commits come too fast, reading under the lock");
                lock = Lock::shared(place, patience)?;
            }
            is_read = self.try_read(place, stirs, suspects)?;
            if is_read {
                break;
            }
        }
        drop(lock);
        self.view.as_ref().filter(|_| is_read).ok_or_else(|| {
            let shown = place.path.display();
            Error::away(format!("{shown} changes faster than it can be read: wait a moment"))
        })
    }

    fn try_read(&mut self, place: &Place, stirs: u64, suspects: &BTreeSet<Key>) -> Result<bool> {
        let mark = place.mark()?;
        let at = Instant::now();
        let endpoints = place.endpoints()?;
        let mut differs = match &endpoints {
            Some(endpoints) => self.shelf.scan(endpoints, &place.endpoints_path(), suspects)?,
            None if mark.is_some() => {
                return Err(Error::away(format!(
                    "{} is gone: create it, empty or from a backup, or is something else mounted there?",
                    place.endpoints_path().display()
                )));
            }
            None => self.shelf.clear(),
        };
        let pending = place.pending(mark.as_ref())?;
        if let (Some(entry), Some(endpoints)) = (&pending, &endpoints) {
            // Edited by hand since, or caught by the scan just while it was replaced?
            let unclear = entry.unlike(|key| self.shelf.digest(key));
            if !unclear.is_empty() {
                differs |= self.shelf.scan(endpoints, &place.endpoints_path(), &unclear)?;
            }
        }
        if place.mark()? != mark {
            self.quiet = None;
            return Ok(false);
        }
        let is_same = |quiet: &Quiet| quiet.mark == mark && pending.is_none() && !differs;
        if self.view.is_none() || !self.quiet.as_ref().is_some_and(is_same) {
            self.adopt(View::new(mark.as_ref(), self.shelf.items(), pending.as_ref()));
        }
        self.quiet = pending.is_none().then_some(Quiet { mark, stirs, at });
        Ok(true)
    }

    /// Takes a view for the newest.
    pub(crate) fn adopt(&mut self, view: View) {
        // The next read compares with this view and not with what was read for another.
        self.quiet = None;
        let Some(before) = self.view.replace(view) else { return };
        let Some(now) = &self.view else { return };
        if before.version == now.version {
            return;
        }
        if before.version.id.is_some() && before.version.id != now.version.id {
            // Whoever follows the store that was here starts over.
            self.steps.clear();
            return;
        }
        let keys = before.differing(now);
        self.steps.push_back(Step { from: before.version, keys });
        if self.steps.len() > MAX_STEPS {
            self.steps.pop_front();
        }
    }

    /// Returns the last read.
    pub(crate) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Returns what the file of a record held at the last read, whether or not a commit waits that changes it.
    pub(crate) fn on_disk(&self, key: &Key) -> Option<Digest> {
        self.shelf.digest(key)
    }

    /// Tells whether a version is that of the last read.
    pub(crate) fn is_at(&self, version: &Version) -> bool {
        self.view.as_ref().is_some_and(|view| view.version == *version)
    }

    /// Returns the keys of the records that changed between a version and the last read, from memory.
    fn remembered(&self, since: &Version) -> Option<BTreeSet<Key>> {
        if self.is_at(since) {
            return Some(BTreeSet::new());
        }
        let at = self.steps.iter().rposition(|step| step.from == *since)?;
        Some(self.steps.iter().skip(at).flat_map(|step| &step.keys).cloned().collect())
    }

    /// Returns the keys of the records that changed between a version and the last read, from memory and from the log.
    pub(crate) fn changed(&self, place: &Place, since: &Version) -> Result<Option<BTreeSet<Key>>> {
        let (mut at, mut keys) = (since.clone(), BTreeSet::new());
        loop {
            if let Some(more) = self.remembered(&at) {
                keys.extend(more);
                return Ok(Some(keys));
            }
            let Some(next) = at.generation.checked_add(1) else { return Ok(None) };
            // A gap is an edit by hand, of which nothing is written down.
            let Some(entry) = place.entry(next)?.filter(|entry| entry.base == at) else { return Ok(None) };
            keys.extend(entry.changes.into_keys());
            at = entry.revision;
        }
    }
}
