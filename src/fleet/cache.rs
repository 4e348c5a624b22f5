//! The last good snapshot on disk, for a host that starts while its store is away.
//!
//! One file holds the snapshot and, behind it, a journal of what changed since: a change of one record writes one record.
//! When the journal has outgrown the snapshot, the file is written anew. Its parts are told in [`format`].
//!
//! The file has the name that it had when it was one JSON object: an earlier version that comes back finds a file that it
//! can't read and goes on without, where it would believe an old one.

mod format;
mod former;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, OpenOptions},
    io::{self, BufReader, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use ipvland_store::{Key, Revision};

use super::Stored;
use crate::{durable, persistent::Map};

/// The journal may always grow this large, in bytes: below it, writing the file anew saves nothing.
const SMALL: u64 = 64 * 1024;

/// The file that holds the snapshot.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    /// What the file holds, where we know that; else it is written anew.
    written: Option<Written>,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Which store the snapshot is of, as [`StoreConfig::place`](crate::config::StoreConfig::place) says; empty where an
    /// earlier version wrote the file.
    pub place: String,
    /// The revision of the records.
    pub revision: Revision,
    /// The records.
    pub records: Stored,
    /// The bytes of each file of names.
    pub names: Map<Key, Bytes>,
    /// Records that the store does not show and whose routes are kept.
    pub held: Map<Key, Bytes>,
    /// Whether they are held because the store is another one than before.
    pub swapped: bool,
}

#[derive(Debug)]
struct Written {
    saved: Saved,
    sizes: Sizes,
}

/// How long a file is, in bytes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Its first line and the snapshot.
    snapshot: u64,
    all: u64,
}

impl Cache {
    /// Names the file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// Reads the snapshot; a file that is missing or damaged is none. Of a file whose end is damaged, as a crash may leave
    /// it, that end is not read.
    pub fn read(&self) -> Option<Saved> {
        self.look().map(|(saved, _)| saved)
    }

    /// Names the file and reads it, for the one who goes on writing it. It blocks, and takes a while where there are many
    /// records.
    pub fn open(path: PathBuf) -> (Self, Option<Saved>) {
        let mut cache = Self::new(path);
        let saved = cache.load();
        (cache, saved)
    }

    /// As [`Cache::read`], for the one who writes the file: what comes next is written behind what is there.
    fn load(&mut self) -> Option<Saved> {
        let (saved, sizes) = self.look()?;
        self.written = sizes.map(|sizes| Written { saved: saved.clone(), sizes });
        Some(saved)
    }

    /// Returns what the file holds, and its lengths where it is whole and in today's format.
    fn look(&self) -> Option<(Saved, Option<Sizes>)> {
        match look_at(&self.path) {
            Ok(None) => None,
            Ok(Some(found)) => {
                if found.1.is_none() {
                    tracing::debug!(file = %self.path.display(), "the snapshot will be written anew");
                }
                Some(found)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(
                    file = %self.path.display(), "the last snapshot is damaged or of another version, going on without"
                );
                None
            }
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "cannot read the last snapshot, going on without");
                None
            }
        }
    }

    /// Writes what there is to remember; a failure is logged, as the daemon does without until its next start.
    pub async fn write(&mut self, saved: Saved) {
        let path = self.path.clone();
        let before = self.written.take();
        let written = tokio::task::spawn_blocking(move || put(&path, before, saved));
        match written.await.map_err(io::Error::other).and_then(|written| written) {
            Ok(written) => self.written = Some(written),
            Err(error) => tracing::warn!(
                file = %self.path.display(), %error,
                "cannot write the last snapshot, so a start while the store is away would find no routes; free the disk"
            ),
        }
    }
}

fn look_at(path: &Path) -> io::Result<Option<(Saved, Option<Sizes>)>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let size = file.metadata()?.len();
    // Small pieces: a file that is read at once would leave a hole of its size in the memory of the daemon.
    let mut file = BufReader::with_capacity(1 << 16, file);
    if !format::is_it(&mut file)? {
        return former::read(&mut file).map(|saved| Some((saved, None)));
    }
    let (saved, sizes) = format::read(&mut file)?;
    Ok(Some((saved, (sizes.all == size).then_some(sizes))))
}

/// Appends to a file that is known what changed, or writes it anew.
fn put(path: &Path, before: Option<Written>, saved: Saved) -> io::Result<Written> {
    if let Some(before) = before
        && before.sizes.all - before.sizes.snapshot <= before.sizes.snapshot.max(SMALL)
        && let Some(all) = append(path, &before, &saved)?
    {
        return Ok(Written { saved, sizes: Sizes { all, ..before.sizes } });
    }
    let mut all = 0;
    durable::write_by(path, |file| {
        all = format::write_whole(file, &saved)?;
        Ok(())
    })?;
    Ok(Written { saved, sizes: Sizes { snapshot: all, all } })
}

/// Appends what changed, and returns the new size; nothing where the file is not the one that we wrote.
fn append(path: &Path, before: &Written, saved: &Saved) -> io::Result<Option<u64>> {
    let mut bytes = Vec::new();
    format::write_changes(&mut bytes, &before.saved, saved)?;
    let mut file = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() != before.sizes.all {
        return Ok(None);
    }
    file.write_all(&bytes)?;
    file.sync_data()?;
    Ok(Some(before.sizes.all + bytes.len() as u64))
}
