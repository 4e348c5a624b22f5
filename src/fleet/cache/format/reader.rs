//! Reads a file, up to what a crash may have cut off.

use std::io::{self, BufRead, Read as _};

use bytes::Bytes;
use ipvland_store::{Key, Revision};

use super::FIRST_LINE;
use crate::{
    fleet::{
        Stored,
        cache::{Saved, Sizes},
    },
    persistent::Map,
    record::NamesRecord,
};

/// The longest value that is read, in bytes: more than any store, revision or record has.
const MOST: usize = 1 << 20;

/// The longest line, in bytes: a word, a key and a number are less.
const LONGEST_LINE: u64 = 256;

/// Says whether a file is of this format, and goes behind its first line then.
pub(in crate::fleet::cache) fn is_it(file: &mut impl BufRead) -> io::Result<bool> {
    // What has just been opened shows more than one line, if there is more.
    let is_it = file.fill_buf()?.starts_with(FIRST_LINE.as_bytes());
    if is_it {
        file.consume(FIRST_LINE.len());
    }
    Ok(is_it)
}

/// Reads all that is sound behind the first line, and returns how long that is.
///
/// # Errors
/// What the file system says, and [`InvalidData`](io::ErrorKind::InvalidData) where not even the snapshot is sound.
pub(in crate::fleet::cache) fn read(file: &mut impl BufRead) -> io::Result<(Saved, Sizes)> {
    let mut reader = Reader { file, hash: crc32fast::Hasher::new(), read: FIRST_LINE.len() as u64 };
    let mut saved = Saved {
        place: String::new(),
        revision: Revision::new("none"),
        records: Stored::new(),
        names: Map::new(),
        held: Map::new(),
        swapped: false,
    };
    let Some(first) = reader.part()? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    apply(&mut saved, first);
    let snapshot = reader.read;
    let mut all = snapshot;
    while let Some(part) = reader.part()? {
        apply(&mut saved, part);
        all = reader.read;
    }
    Ok((saved, Sizes { snapshot, all }))
}

#[derive(Debug)]
enum Entry {
    Store(String),
    Revision(String),
    Swapped(bool),
    Put(Key, Bytes),
    Remove(Key),
    Hold(Key, Bytes),
    Release(Key),
}

/// Applies a part. No key stands in it twice, so what is new can be added at once.
fn apply(saved: &mut Saved, part: Vec<Entry>) {
    let (mut records, mut names, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for entry in part {
        match entry {
            Entry::Store(place) => saved.place = place,
            Entry::Revision(revision) => saved.revision = Revision::new(revision),
            Entry::Swapped(swapped) => saved.swapped = swapped,
            Entry::Put(key, bytes) if NamesRecord::is_key(&key) => names.push((key, bytes)),
            Entry::Put(key, bytes) => records.push((key, bytes)),
            Entry::Remove(key) if NamesRecord::is_key(&key) => _ = saved.names.remove(&key),
            Entry::Remove(key) => saved.records.remove(&key),
            Entry::Hold(key, bytes) => held.push((key, bytes)),
            Entry::Release(key) => _ = saved.held.remove(&key),
        }
    }
    saved.records.extend(records);
    saved.names.extend(names);
    saved.held.extend(held);
}

struct Reader<'a, R> {
    file: &'a mut R,
    /// Of the part that is being read.
    hash: crc32fast::Hasher,
    read: u64,
}

impl<R: BufRead> Reader<'_, R> {
    /// Reads one part, or nothing where there is no other sound one.
    fn part(&mut self) -> io::Result<Option<Vec<Entry>>> {
        self.hash.reset();
        let (mut part, mut line) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            self.file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            self.read += line.len() as u64;
            let Some(words) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) else {
                return Ok(None);
            };
            if let Some(told) = words.strip_prefix("end ") {
                let sum = format!("{:08x}", self.hash.clone().finalize());
                return Ok((told == sum).then_some(part));
            }
            self.hash.update(&line);
            let Some(entry) = self.entry(words)? else { return Ok(None) };
            part.push(entry);
        }
    }

    /// Reads the bytes of an entry whose line was read; nothing where it is none.
    fn entry(&mut self, line: &str) -> io::Result<Option<Entry>> {
        let mut words = line.split(' ');
        let (Some(word), Some(length)) = (words.next(), words.next_back()) else { return Ok(None) };
        let (Ok(key), Ok(length)) = (words.next().map(Key::parse).transpose(), length.parse()) else {
            return Ok(None);
        };
        let Some(value) = self.value(length)? else { return Ok(None) };
        let text = |value: Vec<u8>| String::from_utf8(value).ok();
        Ok(match (word, key) {
            ("store", None) => text(value).map(Entry::Store),
            ("revision", None) => text(value).map(Entry::Revision),
            ("swapped", None) => Some(Entry::Swapped(value == b"yes")),
            ("put", Some(key)) => Some(Entry::Put(key, value.into())),
            ("remove", Some(key)) => Some(Entry::Remove(key)),
            ("hold", Some(key)) => Some(Entry::Hold(key, value.into())),
            ("release", Some(key)) => Some(Entry::Release(key)),
            _ => None,
        })
    }

    fn value(&mut self, length: usize) -> io::Result<Option<Vec<u8>>> {
        if length > MOST {
            return Ok(None);
        }
        let (mut value, mut end) = (vec![0; length], [0]);
        match self.file.read_exact(&mut value).and_then(|()| self.file.read_exact(&mut end)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        self.hash.update(&value);
        self.hash.update(&end);
        self.read += length as u64 + 1;
        Ok((end == *b"\n").then_some(value))
    }
}
