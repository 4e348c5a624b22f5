//! Compare, swap, and the end of a swap that another host began.
//!
//! ```text
//! under the lock   sweep staging/ · finish what waits · read · compare with the base
//!                  write staging/: the new records, the next generation, the entry of the log
//!                  link the entry to log/N+1, which fails where that is there        <- here it is committed
//!                  rename the records into endpoints/, remove those that go · rename generation
//! ```
//!
//! A crash before the link leaves nothing but files in `staging/`; one after it leaves an entry that every reader lays over
//! the files, and that the next writer finishes.
//!
//! The lock only keeps writers out of each other's way. On NFS one that was stalled (a paused machine, a network that came
//! back) may go on after the server has given its lock away, and each of its steps is harmless then:
//!
//! - its link fails, since another commit has that generation;
//! - its renames fail, since whoever takes the lock first empties `staging/`, so that they find no source. That is why
//!   everything is staged before the link, and nothing after it;
//! - before it removes a record it looks whether its commit is the newest still. What is left is a pause between that look
//!   and the next system call, long enough for another host to write the same record again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ipvland_store::{Batch, Error, Key, MAX_RECORD_BYTES, Result};
use rustix::{
    fs::{Access, AtFlags, FileType},
    io::Errno,
};

use crate::{
    entry::{Change, Entry},
    errors::failed,
    lock::Lock,
    memory::{Against, Memory},
    place::{ENDPOINTS, FORMAT, Format, GENERATION, LOG, MACHINERY, Mark, Place, STAGING},
    probe,
    revision::Version,
    stage::{Placed, Stage, overtaken},
    view::View,
};

/// How many commits the log keeps, for watches that lag behind and for whoever asks what happened.
const KEEP: u64 = 256;

/// The most bytes of a batch: far more than any host asks for, and few enough to be read back at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What is to be committed, and by whom.
pub(crate) struct Request {
    pub(crate) base: Version,
    pub(crate) batch: Batch,
    pub(crate) writer: String,
}

/// Refuses what no store takes.
pub(crate) fn check(batch: &Batch) -> Result<()> {
    for (key, bytes) in &batch.changes {
        if let Some(bytes) = bytes.as_ref().filter(|bytes| bytes.len() > MAX_RECORD_BYTES) {
            return Err(Error::refused(format!(
                "the record {key} has {} bytes, and a record has at most {MAX_RECORD_BYTES}: make it smaller",
                bytes.len()
            )));
        }
    }
    let bytes: usize = batch.changes.values().flatten().map(Bytes::len).sum();
    if bytes > MAX_BYTES || batch.changes.len() > MAX_BYTES / 1024 {
        return Err(Error::refused(format!(
            "a batch of {} records and {bytes} bytes is too large for one commit: write it in parts",
            batch.changes.len()
        )));
    }
    Ok(())
}

/// Says that another host was first.
pub(crate) fn raced(place: &Place, base: &Version) -> Error {
    Error::conflict(format!(
        "the directory {} is not at generation {} as it was read: another host was first, or a file was edited",
        place.path.display(),
        base.generation
    ))
}

/// A commit that is worth making, and was not made yet.
struct Prepared {
    stage: Stage,
    next: View,
    entry: Entry,
}

/// Commits under the lock; returns the version then.
pub(crate) fn commit(
    place: &Place,
    lock: &Lock,
    memory: &mut Memory,
    request: &Request,
    stirs: u64,
) -> Result<Version> {
    let Some(prepared) = prepare(place, lock, memory, request, stirs)? else {
        return Ok(request.base.clone());
    };
    let made = prepared.stage_all().and_then(|()| prepared.link(place));
    if made.is_err() {
        // What was staged lies about until the next commit; on a full disk that may be long.
        prepared.stage.discard();
    }
    made?;
    let Prepared { stage, next, entry } = prepared;
    let applied = apply(place, &stage, &entry, &entry.changes);
    memory.adopt(next);
    applied.map_err(|error| Error::away(format!("the commit was made, and yet: {error}")))?;
    tracing::debug!(
        path = %place.path.display(), generation = entry.revision.generation, records = entry.changes.len(),
        writer = request.writer, "Committed to the directory"
    );
    Ok(entry.revision)
}

/// Finishes what another left, compares with the base, and finds out what there is to change; `None` for nothing.
fn prepare(
    place: &Place,
    lock: &Lock,
    memory: &mut Memory,
    request: &Request,
    stirs: u64,
) -> Result<Option<Prepared>> {
    let Request { base, batch, .. } = request;
    for part in [LOG, STAGING] {
        place.make(&format!("{MACHINERY}/{part}"))?;
    }
    if place.mark()?.is_none() {
        place.make(ENDPOINTS)?;
    }
    if !memory.is_probed {
        probe::check(place, lock)?;
        memory.is_probed = true;
    }
    let stage = Stage::open(place)?;
    let suspects: BTreeSet<Key> = batch.changes.keys().cloned().collect();
    memory.read(place, stirs, &suspects, Against::Nobody)?;
    if let Some(entry) = place.pending(place.mark()?.as_ref())? {
        // The view has it already.
        finish(place, &stage, memory, &entry)?;
    }
    let Some(view) = memory.view().filter(|view| view.version == *base) else {
        return Err(raced(place, base));
    };
    let effective = batch.changes.iter().filter(|(key, after)| view.record(key) != after.as_ref());
    let changes: BTreeMap<_, _> = effective.map(|(key, after)| (key.clone(), after.clone())).collect();
    if changes.is_empty() {
        return Ok(None);
    }
    check_targets(place, &changes)?;
    let id = match &view.version.id {
        Some(id) => id.clone(),
        None => make(place, &stage, base)?,
    };
    let next = view.with(&id, &changes);
    let entry = entry(view, &next, changes, &stage, request);
    Ok(Some(Prepared { stage, next, entry }))
}

/// Finds what would keep the records of a commit that is made from getting into place, so that it would wait for ever: the
/// rights, and a directory that has the name of a record.
fn check_targets(place: &Place, changes: &BTreeMap<Key, Option<Bytes>>) -> Result<()> {
    let endpoints = place.needed_endpoints()?;
    let machinery = (place.needed_machinery()?, place.machinery_path());
    for (directory, path) in [(&endpoints, place.endpoints_path()), (&machinery.0, machinery.1)] {
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(directory, ".", rights, AtFlags::EACCESS) {
            // A kernel before 5.8 can't tell.
            Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed("write to", &path, errno)),
        }
    }
    for key in changes.keys() {
        let path = place.endpoints_path().join(key.as_str());
        match rustix::fs::statat(&endpoints, key.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(Error::refused(format!(
                    "{} is a directory, in the place of a record: move it away",
                    path.display()
                )));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("look at", &path, errno)),
        }
    }
    Ok(())
}

/// Makes the store: gives it an id.
fn make(place: &Place, stage: &Stage, base: &Version) -> Result<String> {
    let format = Format::new();
    stage.write(FORMAT, &serde_json::to_vec(&format).unwrap_or_default())?;
    let machinery = place.machinery_path();
    match stage.link(FORMAT, place.needed_machinery()?, machinery.clone(), FORMAT)? {
        Placed::Done => {}
        Placed::Taken | Placed::Swept => return Err(raced(place, base)),
    }
    sync(place.needed_machinery()?, &machinery)?;
    sync(place.root(), &place.path)?;
    tracing::info!(path = %place.path.display(), id = format.id, "Made a store in the directory");
    Ok(format.id)
}

fn entry(
    view: &View,
    next: &View,
    changes: BTreeMap<Key, Option<Bytes>>,
    stage: &Stage,
    request: &Request,
) -> Entry {
    let change = |(key, after): (Key, Option<Bytes>)| {
        let before = view.digest(&key);
        (key, Change { before, after })
    };
    Entry {
        token: stage.token.clone(),
        base: view.version.clone(),
        revision: next.version.clone(),
        writer: request.writer.clone(),
        subject: request.batch.subject.clone(),
        changes: changes.into_iter().map(change).collect(),
    }
}

const ENTRY: &str = "entry";

impl Prepared {
    /// Writes everything that the commit needs beside its place.
    fn stage_all(&self) -> Result<()> {
        self.stage.write(ENTRY, &self.entry.encode())?;
        stage_changes(&self.stage, &self.entry, &self.entry.changes)
    }

    /// Makes the commit, if the store is where it was prepared for.
    fn link(&self, place: &Place) -> Result<()> {
        if is_next(place, &self.entry)? { self.enter(place) } else { Err(raced(place, &self.entry.base)) }
    }

    /// Links the entry into the log: from then on the commit is made.
    fn enter(&self, place: &Place) -> Result<()> {
        let Self { stage, entry, .. } = self;
        let generation = entry.revision.generation;
        let path = place.machinery_path().join(LOG);
        match stage.link(ENTRY, place.needed(LOG)?, path.clone(), &generation.to_string())? {
            Placed::Done => {}
            // The answer of an NFS server to a link that it did can be lost, and the client asks again.
            Placed::Taken if place.entry(generation)?.is_some_and(|there| there.token == entry.token) => {}
            Placed::Taken | Placed::Swept => return Err(raced(place, &entry.base)),
        }
        let answer = sync(place.needed(LOG)?, &path).and_then(|()| place.mark());
        let now = answer
            .map_err(|error| Error::away(format!("the commit may have been made, and yet: {error}")))?;
        if now.is_some_and(|now| now.generation > generation + KEEP / 2) {
            // Stalled for so long that the entry which had this name is forgotten: nobody looks at this one.
            _ = rustix::fs::unlinkat(place.needed(LOG)?, generation.to_string(), AtFlags::empty());
            return Err(raced(place, &entry.base));
        }
        Ok(())
    }
}

/// Tells whether the files have the commits up to the one before an entry.
fn is_next(place: &Place, entry: &Entry) -> Result<bool> {
    Ok(place.mark()?.map_or(0, |mark| mark.generation) + 1 == entry.revision.generation)
}

/// Writes the new contents of records, and the generation that counts them, beside their places.
fn stage_changes(stage: &Stage, entry: &Entry, changes: &BTreeMap<Key, Change>) -> Result<()> {
    for (key, change) in changes {
        if let Some(bytes) = &change.after {
            stage.write(key.as_str(), bytes)?;
        }
    }
    // A store that commits has an id.
    let id = entry.revision.id.clone().unwrap_or_default();
    let mark = Mark { id, generation: entry.revision.generation };
    // No key begins with a blank.
    stage.write(&format!(" {GENERATION}"), &serde_json::to_vec(&mark).unwrap_or_default())
}

/// Moves staged records into place.
fn apply(place: &Place, stage: &Stage, entry: &Entry, changes: &BTreeMap<Key, Change>) -> Result<()> {
    let endpoints = place.needed_endpoints()?;
    let path = place.endpoints_path();
    let generation = entry.revision.generation;
    for (key, change) in changes {
        let name = key.as_str();
        if change.after.is_some() {
            match stage.put(name, &endpoints, path.clone(), name)? {
                Placed::Done => continue,
                Placed::Taken | Placed::Swept => return Err(overtaken(place)),
            }
        }
        if !is_next(place, entry)? {
            return Err(overtaken(place));
        }
        match rustix::fs::unlinkat(&endpoints, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("remove", &path.join(name), errno)),
        }
    }
    sync(&endpoints, &path)?;
    let machinery = place.needed_machinery()?;
    match stage.put(&format!(" {GENERATION}"), &machinery, place.machinery_path(), GENERATION)? {
        Placed::Done => {}
        Placed::Taken | Placed::Swept => return Err(overtaken(place)),
    }
    sync(&machinery, &place.machinery_path())?;
    if let Some(old) = generation.checked_sub(KEEP) {
        // What can't be removed is only in the way of nobody.
        _ = rustix::fs::unlinkat(place.needed(LOG)?, old.to_string(), AtFlags::empty());
    }
    Ok(())
}

/// Ends a commit that another host made and did not end.
fn finish(place: &Place, stage: &Stage, memory: &Memory, entry: &Entry) -> Result<()> {
    tracing::warn!(
        path = %place.path.display(), generation = entry.revision.generation, writer = entry.writer,
        "Finishing a commit whose host did not end it"
    );
    // The others are in place, or were edited by hand since.
    let open = entry.changes.iter().filter(|(key, change)| memory.on_disk(key) == change.before);
    let open: BTreeMap<_, _> = open.map(|(key, change)| (key.clone(), change.clone())).collect();
    stage_changes(stage, entry, &open)?;
    if !is_next(place, entry)? {
        return Err(overtaken(place));
    }
    apply(place, stage, entry, &open)?;
    // Were the lock lost meanwhile, what an earlier holder staged late would be in the way of the next commit.
    stage.sweep()
}

fn sync(directory: impl std::os::fd::AsFd, path: &std::path::Path) -> Result<()> {
    match rustix::fs::fsync(directory) {
        // Some network file systems have nothing to do for a directory, and say so.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(failed("write", path, errno)),
    }
}

#[cfg(test)]
mod tests;
