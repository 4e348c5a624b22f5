//! The repository that a host without a `repo` keeps for itself, and the packing of its history.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, Oid, Repository};
use ipvland_store::{Error, Result};

use crate::clone;

/// Makes the bare repository that a host without a `repo` keeps for itself, if it isn't there yet.
///
/// # Errors
/// As [`clone::open`]; but a broken one is reported and left alone, since nobody else has its records.
pub(crate) fn open(path: &Path) -> Result<()> {
    clone::own_directory(path)?;
    let failed = |why: git2::Error| {
        Error::refused(format!(
            "the repository {} can't be opened: {} (mend it with git fsck, or move it away to start empty)",
            path.display(),
            why.message()
        ))
    };
    match Repository::open_bare(path) {
        Ok(_) => return Ok(()),
        Err(why) if why.code() == ErrorCode::NotFound && is_empty(path) => {}
        Err(why) => return Err(failed(why)),
    }
    let repo = clone::initialized(path, "main").map_err(failed)?;
    // There is no second copy, so a power cut must not take a commit back.
    repo.config().and_then(|mut config| config.set_bool("core.fsyncObjectFiles", true)).map_err(failed)
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// So many loose objects are packed: the four of a commit take a block of the disk each.
const LOOSE: usize = 1_000;
/// So many packs are made one.
const PACKS: usize = 10;

/// Packs what commits left, when it is much. Nothing is forgotten: an object's file goes when the index of a pack, as it
/// is on the disk, names the object.
///
/// # Errors
/// libgit2's, when an object can't be read or the disk says no. Nothing is removed then.
pub(crate) fn pack(path: &Path) -> std::result::Result<(), git2::Error> {
    pack_beyond(path, LOOSE, PACKS)
}

fn pack_beyond(path: &Path, most_loose: usize, most_packs: usize) -> std::result::Result<(), git2::Error> {
    let objects = path.join("objects");
    let failed = |why: io::Error| git2::Error::from_str(&format!("{}: {why}", objects.display()));
    let loose = loose(&objects).map_err(failed)?;
    if loose.len() < most_loose {
        return Ok(());
    }
    let packs = objects.join("pack");
    let old = indexes(&packs).map_err(failed)?;
    let all = old.len() >= most_packs;
    let repo = Repository::open_bare(path)?;
    let mut builder = repo.packbuilder()?;
    if all {
        let mut ids = Vec::new();
        repo.odb()?.foreach(|id| {
            ids.push(*id);
            true
        })?;
        ids.iter().try_for_each(|id| builder.insert_object(*id, None))?;
    } else {
        loose.iter().try_for_each(|(id, _)| builder.insert_object(*id, None))?;
    }
    builder.write(&packs, 0)?;
    let index = packs.join(format!("pack-{}.idx", builder.name()?.unwrap_or_default()));
    let packed = names(&index).map_err(failed)?;
    let gone: Vec<_> =
        loose.into_iter().filter(|(id, _)| packed.contains(id)).map(|(_, file)| file).collect();
    gone.iter().try_for_each(fs::remove_file).map_err(failed)?;
    for pack in old.iter().filter(|pack| all && **pack != index) {
        if names(pack).map_err(failed)?.is_subset(&packed) {
            fs::remove_file(pack)
                .and_then(|()| fs::remove_file(pack.with_extension("pack")))
                .map_err(failed)?;
        }
    }
    tracing::debug!(repo = %path.display(), objects = packed.len(), "packed what commits left");
    Ok(())
}

/// Lists the objects that have a file of their own.
fn loose(objects: &Path) -> io::Result<Vec<(Oid, PathBuf)>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(objects)? {
        let folder = folder?;
        let start = folder.file_name();
        let Some(start) = start.to_str().filter(|name| name.len() == 2) else { continue };
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            let name = format!("{start}{}", file.file_name().to_string_lossy());
            // What a crash left half written has no such name.
            if name.len() == 40
                && let Ok(id) = Oid::from_str(&name)
            {
                found.push((id, file.path()));
            }
        }
    }
    Ok(found)
}

fn indexes(packs: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(packs)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "idx"))
        .collect())
}

/// Reads the names of a pack's objects from its index: gitformat-pack(5), version 2.
fn names(index: &Path) -> io::Result<BTreeSet<Oid>> {
    const HEADER: &[u8] = b"\xfftOc\0\0\0\x02";
    const NAMES: usize = 8 + 256 * 4;
    let bytes = fs::read(index)?;
    let wrong = || io::Error::other(format!("{} is no index of a pack", index.display()));
    let count = bytes.get(NAMES - 4..NAMES).and_then(|count| count.try_into().ok()).map(u32::from_be_bytes);
    let count = count.filter(|_| bytes.starts_with(HEADER)).ok_or_else(wrong)? as usize;
    let names = bytes.get(NAMES..NAMES + count * 20).ok_or_else(wrong)?;
    names.chunks_exact(20).map(|name| Oid::from_bytes(name).map_err(|_| wrong())).collect()
}

#[cfg(test)]
mod tests {
    use git2::{FileMode, Signature};

    use super::*;

    /// Commits another text, and returns the commit.
    fn commit(repo: &Repository, text: &str) -> Oid {
        let blob = repo.blob(text.as_bytes()).unwrap();
        let mut tree = repo.treebuilder(None).unwrap();
        tree.insert("a", blob, FileMode::Blob.into()).unwrap();
        let tree = repo.find_tree(tree.write().unwrap()).unwrap();
        let who = Signature::now("web", "web@example").unwrap();
        let parent = repo.head().ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        repo.commit(Some("HEAD"), &who, &who, "x", &tree, &parents).unwrap()
    }

    fn text(repo: &Repository, commit: Oid) -> String {
        let tree = repo.find_commit(commit).unwrap().tree().unwrap();
        let blob = repo.find_blob(tree.get_name("a").unwrap().id()).unwrap();
        String::from_utf8(blob.content().to_vec()).unwrap()
    }

    #[test]
    fn packs_and_packs_of_packs_hold_all_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository.git");
        open(&path).unwrap();
        let mut commits = Vec::new();
        for number in 0..200 {
            let repo = Repository::open_bare(&path).unwrap();
            commits.push(commit(&repo, &number.to_string()));
            pack_beyond(&path, 30, 3).unwrap();
            let count = loose(&path.join("objects")).unwrap().len();
            assert!(count < 30, "{count} loose objects");
            let packs = indexes(&path.join("objects/pack")).unwrap();
            assert!(packs.len() <= 3, "{packs:?}");
        }
        let repo = Repository::open_bare(&path).unwrap();
        for (number, id) in commits.iter().enumerate() {
            assert_eq!(text(&repo, *id), number.to_string());
        }
    }

    #[test]
    fn an_object_that_can_not_be_read_stops_it_and_nothing_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository.git");
        open(&path).unwrap();
        let repo = Repository::open_bare(&path).unwrap();
        let first = commit(&repo, "one");
        let kept = commit(&repo, "two");
        let hex = first.to_string();
        let broken = path.join(format!("objects/{}/{}", &hex[..2], &hex[2..]));
        fs::remove_file(&broken).unwrap();
        fs::write(&broken, "not what was there").unwrap();
        let before = loose(&path.join("objects")).unwrap();
        assert!(pack_beyond(&path, 1, 3).is_err());
        assert_eq!(loose(&path.join("objects")).unwrap(), before);
        assert_eq!(text(&Repository::open_bare(&path).unwrap(), kept), "two");
    }
}
