//! The folder `endpoints/` of one commit: which of its entries are records, and which are strays.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use git2::{FileMode, ObjectType, Odb, Oid, Repository};
use ipvland_store::{Delta, Key, MAX_RECORD_BYTES, Revision, Snapshot, Stray};

/// The folder that holds the records.
pub(crate) const FOLDER: &str = "endpoints";

/// The folder of one commit, with its records by the id of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    records: BTreeMap<Key, Oid>,
    strays: Vec<Stray>,
    /// The folder itself, to see what changes in it.
    raw: Bytes,
}

impl Endpoints {
    /// Reads the folder of a commit, or of no commit at all. What `before` holds is not looked at again.
    pub(crate) fn read(repo: &Repository, commit: Option<Oid>, before: &Self) -> Result<Self, git2::Error> {
        let mut found = Self::default();
        let Some(commit) = commit else { return Ok(found) };
        let root = repo.find_commit(commit)?.tree()?;
        let Some(folder) = root.get_name(FOLDER) else { return Ok(found) };
        if folder.filemode() != i32::from(FileMode::Tree) {
            let what = what(u32::try_from(folder.filemode()).unwrap_or_default());
            found.strays.push(stray(FOLDER.as_bytes(), format!("it is {what}, not a folder")));
            return Ok(found);
        }
        let odb = repo.odb()?;
        found.raw = Bytes::copy_from_slice(odb.read(folder.id())?.data());
        let raw = found.raw.clone();
        let (new, old) = (entries(&raw)?, entries(&before.raw)?);
        // Most often one record changed among thousands: what is the same at both ends is taken over.
        let mut ends = common(&old, &new);
        if !before.strays.is_empty() {
            ends = (0, 0);
        }
        let (gone, added) = (&old[ends.0..old.len() - ends.1], &new[ends.0..new.len() - ends.1]);
        if ends != (0, 0) {
            found.records = before.records.clone();
            for entry in gone {
                if let Some(key) = key(entry.name) {
                    found.records.remove(&key);
                }
            }
        }
        // A stray's bytes were not small enough, or not looked at.
        let was_record =
            |entry: &&Entry<'_>| key(entry.name).is_some_and(|key| before.get(&key) == Some(entry.id));
        let known: BTreeSet<Oid> = gone.iter().filter(was_record).map(|entry| entry.id).collect();
        for entry in added {
            match judge(&odb, entry, &known)? {
                Ok(key) => drop(found.records.insert(key, entry.id)),
                Err(reason) => found.strays.push(stray(entry.name, reason)),
            }
        }
        found.strays.sort();
        Ok(found)
    }

    /// Loads every record.
    pub(crate) fn snapshot(&self, repo: &Repository, revision: Revision) -> Result<Snapshot, git2::Error> {
        let odb = repo.odb()?;
        let records = self
            .records
            .iter()
            .map(|(key, id)| Ok((key.clone(), load(&odb, *id)?)))
            .collect::<Result<_, git2::Error>>()?;
        Ok(Snapshot { revision, records, strays: self.strays.clone() })
    }

    /// Loads the records that changed since an earlier commit.
    pub(crate) fn since(
        &self,
        before: &Self,
        repo: &Repository,
        revision: Revision,
    ) -> Result<Delta, git2::Error> {
        let odb = repo.odb()?;
        let mut changes = BTreeMap::new();
        let mut old = before.records.iter().peekable();
        for (key, id) in &self.records {
            while let Some((gone, _)) = old.next_if(|(other, _)| *other < key) {
                changes.insert(gone.clone(), None);
            }
            if old.next_if(|(other, _)| *other == key).is_none_or(|(_, other)| other != id) {
                changes.insert(key.clone(), Some(load(&odb, *id)?));
            }
        }
        changes.extend(old.map(|(gone, _)| (gone.clone(), None)));
        Ok(Delta { revision, changes, strays: self.strays.clone() })
    }

    /// Returns the folder itself, as it is in the commit; nothing where there is none.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Returns the id of a record's bytes.
    pub(crate) fn get(&self, key: &Key) -> Option<Oid> {
        self.records.get(key).copied()
    }
}

/// One entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    mode: u32,
    name: &'a [u8],
    id: Oid,
}

/// Reads a folder's entries: `mode name\0id`, one after the other.
fn entries(raw: &[u8]) -> Result<Vec<Entry<'_>>, git2::Error> {
    let entry = |rest: &[u8]| -> Option<(u32, usize, usize, Oid)> {
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let zero = space + rest[space..].iter().position(|byte| *byte == 0)?;
        let mode = u32::from_str_radix(std::str::from_utf8(&rest[..space]).ok()?, 8).ok()?;
        let id = Oid::from_bytes(rest.get(zero + 1..zero + 21)?).ok()?;
        Some((mode, space + 1, zero, id))
    };
    let mut found = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (mode, start, end, id) =
            entry(rest).ok_or_else(|| git2::Error::from_str("the folder of the records is broken"))?;
        found.push(Entry { mode, name: &rest[start..end], id });
        rest = &rest[end + 21..];
    }
    Ok(found)
}

/// Counts the entries that are the same at the beginning, and of the others those at the end.
fn common(old: &[Entry<'_>], new: &[Entry<'_>]) -> (usize, usize) {
    let first = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[first..], &new[first..]);
    (first, old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count())
}

fn key(name: &[u8]) -> Option<Key> {
    Key::parse(std::str::from_utf8(name).ok()?).ok()
}

/// The kind of a thing, in its mode.
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;

/// Tells a record from a stray; a record's size is read from the object's header, so that a huge one is never loaded.
fn judge(
    odb: &Odb<'_>,
    entry: &Entry<'_>,
    known: &BTreeSet<Oid>,
) -> Result<Result<Key, String>, git2::Error> {
    let name = std::str::from_utf8(entry.name).unwrap_or("\0");
    let key = match Key::parse(name) {
        Ok(key) => key,
        Err(why) => return Ok(Err(why.to_string())),
    };
    if entry.mode & KIND != FILE {
        return Ok(Err(format!("it is {}, not a file", what(entry.mode))));
    }
    if known.contains(&entry.id) {
        return Ok(Ok(key));
    }
    let (size, kind) = odb.read_header(entry.id)?;
    if kind != ObjectType::Blob {
        return Ok(Err(format!("it is a {kind} that says it were a file")));
    }
    if size > MAX_RECORD_BYTES {
        return Ok(Err(format!("it has {size} bytes, and a record has at most {MAX_RECORD_BYTES}")));
    }
    Ok(Ok(key))
}

fn load(odb: &Odb<'_>, id: Oid) -> Result<Bytes, git2::Error> {
    Ok(Bytes::copy_from_slice(odb.read(id)?.data()))
}

fn what(mode: u32) -> &'static str {
    match mode & KIND {
        0o040_000 => "a folder",
        0o120_000 => "a symbolic link",
        0o160_000 => "a submodule",
        _ => "a file",
    }
}

/// The longest name of a stray that is shown, in bytes of the tree.
const MAX_SHOWN: usize = 256;

fn stray(name: &[u8], reason: String) -> Stray {
    let shown = name[..name.len().min(MAX_SHOWN)].escape_ascii().to_string();
    let name = if name.len() > MAX_SHOWN { format!("{shown}...") } else { shown };
    Stray { name, reason }
}
