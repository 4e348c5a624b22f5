//! The folder `endpoints/` of one commit: which of its entries are records, and which are strays.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use git2::{FileMode, ObjectType, Odb, Oid, Repository, TreeEntry};
use ipvland_store::{Delta, Key, MAX_RECORD_BYTES, Revision, Snapshot, Stray};

/// The folder that holds the records.
pub(crate) const FOLDER: &str = "endpoints";

/// The folder of one commit, with its records by the id of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    records: BTreeMap<Key, Oid>,
    strays: Vec<Stray>,
}

impl Endpoints {
    /// Reads the folder of a commit, or of no commit at all. What `before` holds is not measured again.
    pub(crate) fn read(repo: &Repository, commit: Option<Oid>, before: &Self) -> Result<Self, git2::Error> {
        let mut found = Self::default();
        let Some(commit) = commit else { return Ok(found) };
        let root = repo.find_commit(commit)?.tree()?;
        let Some(entry) = root.get_name(FOLDER) else { return Ok(found) };
        if entry.filemode() != i32::from(FileMode::Tree) {
            found.strays.push(stray(FOLDER.as_bytes(), format!("it is {}, not a folder", what(&entry))));
            return Ok(found);
        }
        let odb = repo.odb()?;
        let known: BTreeSet<Oid> = before.records.values().copied().collect();
        for entry in &repo.find_tree(entry.id())? {
            match judge(&odb, &entry, &known)? {
                Ok(key) => drop(found.records.insert(key, entry.id())),
                Err(reason) => found.strays.push(stray(entry.name_bytes(), reason)),
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
        for (key, id) in &self.records {
            if before.records.get(key) != Some(id) {
                changes.insert(key.clone(), Some(load(&odb, *id)?));
            }
        }
        for key in before.records.keys().filter(|key| !self.records.contains_key(*key)) {
            changes.insert(key.clone(), None);
        }
        Ok(Delta { revision, changes, strays: self.strays.clone() })
    }

    /// Returns the id of a record's bytes.
    pub(crate) fn get(&self, key: &Key) -> Option<Oid> {
        self.records.get(key).copied()
    }
}

/// Tells a record from a stray; a record's size is read from the object's header, so that a huge one is never loaded.
fn judge(
    odb: &Odb<'_>,
    entry: &TreeEntry<'_>,
    known: &BTreeSet<Oid>,
) -> Result<Result<Key, String>, git2::Error> {
    let name = std::str::from_utf8(entry.name_bytes()).unwrap_or("\0");
    let key = match Key::parse(name) {
        Ok(key) => key,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let mode = entry.filemode();
    if mode != i32::from(FileMode::Blob) && mode != i32::from(FileMode::BlobExecutable) {
        return Ok(Err(format!("it is {}, not a file", what(entry))));
    }
    if known.contains(&entry.id()) {
        return Ok(Ok(key));
    }
    let (size, kind) = odb.read_header(entry.id())?;
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

fn what(entry: &TreeEntry<'_>) -> &'static str {
    match entry.filemode() {
        mode if mode == i32::from(FileMode::Tree) => "a folder",
        mode if mode == i32::from(FileMode::Link) => "a symbolic link",
        mode if mode == i32::from(FileMode::Commit) => "a submodule",
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
