//! What fetches and commits leave in the clone, and writing it anew before that is too much.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use git2::{Commit, Oid, Repository};
use ipvland_store::Error;

use crate::{clone, errors::Failure};

/// So many packs are looked through for each object; each fetch leaves one.
const PACKS: u64 = 400;
/// The room that a clone may take beyond what it needs, in bytes.
const SLACK: u64 = 16 << 20;
/// A clone may also take so many times what it needs.
const TIMES: u64 = 4;
/// So many commits of the branch are kept, for whoever watches from a commit that is a little older than the tip.
const COMMITS: usize = 16;

/// Where the clone's configuration says how many bytes it needed when it was last written anew.
const NEEDED: &str = "ipvland.needed";

/// Tells whether the clone takes so much more than it needs that it's time to write it anew.
pub(crate) fn is_worn(repo: &Repository) -> bool {
    let needed = repo.config().and_then(|mut config| config.snapshot()?.get_i64(NEEDED)).unwrap_or(0);
    let (bytes, packs) = usage(&repo.path().join("objects"));
    packs > PACKS || bytes > TIMES * needed.unsigned_abs() + SLACK
}

/// Returns the bytes that the files below a folder take on the disk, and how many of them are packs. A file that goes
/// meanwhile counts nothing.
fn usage(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut packs) = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => {
                let (more, further) = usage(&entry.path());
                bytes += more;
                packs += further;
            }
            Ok(found) => {
                bytes += found.blocks() * 512;
                packs += u64::from(entry.path().extension().is_some_and(|extension| extension == "idx"));
            }
            Err(_) => {}
        }
    }
    (bytes, packs)
}

/// Writes the clone anew: the last commits of its branches with their files, and nothing else. The server isn't asked.
pub(crate) fn compact(path: &Path, repo: &Repository) -> Result<Repository, Failure> {
    let failed = |why: std::io::Error| {
        Failure::Store(Error::away(format!("the clone {} can't be written anew: {why}", path.display())))
    };
    let tips = tips(repo)?;
    let kept = last_commits(repo, &tips)?;
    let (new, old) = (path.with_extension("new"), path.with_extension("old"));
    for left in [&new, &old] {
        // A crash may have left one.
        remove(left).map_err(failed)?;
    }
    clone::own_directory(&new)?;
    let target = clone::initialized(&new, "main")?;
    let mut builder = repo.packbuilder()?;
    builder.set_threads(1);
    for id in &kept {
        builder.insert_commit(*id)?;
    }
    builder.write(&new.join("objects/pack"), 0)?;
    let mut shallow = String::new();
    for id in &kept {
        if parents(&repo.find_commit(*id)?).any(|parent| !kept.contains(&parent)) {
            shallow += &format!("{id}\n");
        }
    }
    if !shallow.is_empty() {
        fs::write(new.join("shallow"), shallow).map_err(failed)?;
    }
    for (name, id) in &tips {
        target.reference(name, *id, true, "")?;
    }
    let (needed, _) = usage(&new.join("objects"));
    target.config()?.set_i64(NEEDED, needed.cast_signed())?;
    fs::rename(path, &old).and_then(|()| fs::rename(&new, path)).map_err(failed)?;
    remove(&old).map_err(failed)?;
    tracing::debug!(clone = %path.display(), bytes = needed, commits = kept.len(), "wrote the clone anew");
    Ok(clone::open(path)?)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// Lists the branches that the clone followed.
fn tips(repo: &Repository) -> Result<Vec<(String, Oid)>, git2::Error> {
    let mut tips = Vec::new();
    for found in repo.references_glob("refs/remotes/origin/*")? {
        let found = found?;
        if let (Ok(name), Some(id)) = (found.name(), found.target()) {
            tips.push((name.to_owned(), id));
        }
    }
    Ok(tips)
}

/// Lists the last commits before and with the tips.
fn last_commits(repo: &Repository, tips: &[(String, Oid)]) -> Result<BTreeSet<Oid>, git2::Error> {
    let mut kept = BTreeSet::new();
    let mut next: VecDeque<Oid> = tips.iter().map(|(_, id)| *id).collect();
    while let Some(id) = next.pop_front() {
        if kept.len() >= COMMITS.max(tips.len()) {
            break;
        }
        if kept.insert(id) {
            // Without those that the clone doesn't have: the commits after them are its own roots.
            next.extend(repo.find_commit(id)?.parent_ids());
        }
    }
    Ok(kept)
}

/// Lists a commit's parents as they are written in it, also where the clone ends with the commit.
fn parents(commit: &Commit<'_>) -> impl Iterator<Item = Oid> {
    let lines = commit.raw_header_bytes().split(|byte| *byte == b'\n');
    let parents = lines.filter_map(|line| line.strip_prefix(b"parent "));
    parents
        .filter_map(|hex| Oid::from_str(std::str::from_utf8(hex).ok()?).ok())
        .collect::<Vec<_>>()
        .into_iter()
}
