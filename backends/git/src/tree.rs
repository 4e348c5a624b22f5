//! The folder `endpoints/` of one commit: which of its entries are records, and which are strays.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use bytes::Bytes;
use git2::{FileMode, ObjectType, Odb, Oid, Repository};
use ipvland_store::{Delta, Key, MAX_RECORD_BYTES, Revision, Snapshot, Stray};

use crate::{
    entries::{Difference, Entries, Entry},
    memory::Folders,
};

/// The folder that holds the records.
pub(crate) const FOLDER: &str = "endpoints";

/// The folder of one commit. What is in it and no stray is a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    entries: Entries,
    /// By their names in the folder.
    strays: BTreeMap<Vec<u8>, Stray>,
}

impl Endpoints {
    /// Reads the folder of a commit, or of no commit at all. What `before` holds is not looked at again.
    pub(crate) fn read(
        repo: &Repository,
        commit: Option<Oid>,
        before: &Self,
        folders: &mut Folders,
    ) -> Result<Self, git2::Error> {
        let mut found = Self::default();
        let Some(commit) = commit else { return Ok(found) };
        let root = repo.find_commit(commit)?.tree()?;
        let Some(folder) = root.get_name(FOLDER) else { return Ok(found) };
        if folder.filemode() != i32::from(FileMode::Tree) {
            let what = what(u32::try_from(folder.filemode()).unwrap_or_default());
            let stray = stray(FOLDER.as_bytes(), format!("it is {what}, not a folder"));
            found.strays.insert(FOLDER.into(), stray);
            return Ok(found);
        }
        let odb = repo.odb()?;
        let raw = match folders.get(folder.id()) {
            Some(raw) => raw,
            None => load(&odb, folder.id())?,
        };
        folders.keep(folder.id(), raw.clone());
        found.entries = Entries::read(raw, &before.entries)?;
        let Difference { old, new } = found.entries.difference(&before.entries);
        // A stray's bytes were not small enough, or not looked at.
        let known: BTreeSet<Oid> = before.records(old.clone()).map(|(_, entry)| entry.id).collect();
        if !before.raw().is_empty() {
            found.strays.clone_from(&before.strays);
        }
        for entry in before.entries.some(old) {
            found.strays.remove(entry.name);
        }
        for entry in found.entries.some(new) {
            if let Err(reason) = judge(&odb, &entry, &known)? {
                found.strays.insert(entry.name.to_vec(), stray(entry.name, reason));
            }
        }
        Ok(found)
    }

    /// Loads every record.
    pub(crate) fn snapshot(&self, repo: &Repository, revision: Revision) -> Result<Snapshot, git2::Error> {
        let odb = repo.odb()?;
        let records = self
            .records(self.entries.all())
            .map(|(key, entry)| Ok((key, load(&odb, entry.id)?)))
            .collect::<Result<_, git2::Error>>()?;
        Ok(Snapshot { revision, records, strays: self.strays() })
    }

    /// Loads the records that changed since an earlier commit.
    pub(crate) fn since(
        &self,
        before: &Self,
        repo: &Repository,
        revision: Revision,
    ) -> Result<Delta, git2::Error> {
        let odb = repo.odb()?;
        let Difference { old, new } = self.entries.difference(&before.entries);
        let mut gone: BTreeMap<Key, Oid> = before.records(old).map(|(key, entry)| (key, entry.id)).collect();
        let mut changes = BTreeMap::new();
        for (key, entry) in self.records(new) {
            if gone.remove(&key) != Some(entry.id) {
                changes.insert(key, Some(load(&odb, entry.id)?));
            }
        }
        changes.extend(gone.into_keys().map(|key| (key, None)));
        Ok(Delta { revision, changes, strays: self.strays() })
    }

    /// Returns the folder itself, as it is in the commit; nothing where there is none.
    pub(crate) fn raw(&self) -> &[u8] {
        self.entries.raw()
    }

    /// Returns the id of a record's bytes.
    pub(crate) fn get(&self, key: &Key) -> Option<Oid> {
        let name = key.as_str().as_bytes();
        if self.strays.contains_key(name) {
            return None;
        }
        self.entries.find(name).map(|entry| entry.id)
    }

    /// Returns the records among the entries of a range.
    fn records(&self, range: Range<usize>) -> impl Iterator<Item = (Key, Entry<'_>)> {
        let fit = self.entries.some(range).filter(|entry| !self.strays.contains_key(entry.name));
        fit.filter_map(|entry| Some((key(entry.name)?, entry)))
    }

    fn strays(&self) -> Vec<Stray> {
        let mut strays: Vec<_> = self.strays.values().cloned().collect();
        strays.sort();
        strays
    }
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
