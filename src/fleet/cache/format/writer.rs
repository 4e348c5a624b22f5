//! Writes a file, as a whole or what comes next in it.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use ipvland_store::{Key, Revision};

use super::FIRST_LINE;
use crate::{
    fleet::cache::Saved,
    persistent::{Change, Map},
};

/// Writes a file with a snapshot alone, and returns its size.
pub(in crate::fleet::cache) fn write_whole(file: &mut impl Write, saved: &Saved) -> io::Result<u64> {
    let mut file = BufWriter::with_capacity(1 << 16, file);
    file.write_all(FIRST_LINE.as_bytes())?;
    let mut part = Part::new(&mut file);
    part.entry("store", None, saved.place.as_bytes())?;
    part.entry("swapped", None, yes_or_no(saved.swapped))?;
    for key in saved.records.keys() {
        let bytes = saved.records.bytes(key).unwrap_or_default();
        part.entry("put", Some(key), &bytes)?;
    }
    part.changes("put", "remove", &Map::new(), &saved.names)?;
    part.changes("hold", "release", &Map::new(), &saved.held)?;
    let written = part.end(&saved.revision)?;
    file.flush()?;
    Ok(FIRST_LINE.len() as u64 + written)
}

/// Writes the part that leads from what a file holds to what it is to hold.
pub(in crate::fleet::cache) fn write_changes(
    file: &mut impl Write,
    before: &Saved,
    after: &Saved,
) -> io::Result<()> {
    let mut part = Part::new(file);
    if before.place != after.place {
        part.entry("store", None, after.place.as_bytes())?;
    }
    if before.swapped != after.swapped {
        part.entry("swapped", None, yes_or_no(after.swapped))?;
    }
    for (key, change) in after.records.changes_since(&before.records) {
        match change {
            Some(bytes) => part.entry("put", Some(&key), &bytes)?,
            None => part.entry("remove", Some(&key), b"")?,
        }
    }
    part.changes("put", "remove", &before.names, &after.names)?;
    part.changes("hold", "release", &before.held, &after.held)?;
    part.end(&after.revision).map(drop)
}

fn yes_or_no(is: bool) -> &'static [u8] {
    if is { b"yes" } else { b"no" }
}

/// A part that is being written.
struct Part<W> {
    file: W,
    hash: crc32fast::Hasher,
    written: u64,
}

impl<W: Write> Part<W> {
    fn new(file: W) -> Self {
        Self { file, hash: crc32fast::Hasher::new(), written: 0 }
    }

    fn entry(&mut self, word: &str, key: Option<&Key>, value: &[u8]) -> io::Result<()> {
        let line = match key {
            Some(key) => format!("{word} {key} {}\n", value.len()),
            None => format!("{word} {}\n", value.len()),
        };
        self.put(line.as_bytes())?;
        self.put(value)?;
        self.put(b"\n")
    }

    fn changes(
        &mut self,
        there: &str,
        gone: &str,
        before: &Map<Key, Bytes>,
        after: &Map<Key, Bytes>,
    ) -> io::Result<()> {
        for (key, change) in after.diff(before) {
            match change {
                Change::Added(bytes) | Change::Changed(_, bytes) => self.entry(there, Some(key), bytes)?,
                Change::Removed(_) => self.entry(gone, Some(key), b"")?,
            }
        }
        Ok(())
    }

    /// Ends the part, and returns its size.
    fn end(mut self, revision: &Revision) -> io::Result<u64> {
        self.entry("revision", None, revision.as_str().as_bytes())?;
        let sum = self.hash.clone().finalize();
        self.put(format!("end {sum:08x}\n").as_bytes())?;
        Ok(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
