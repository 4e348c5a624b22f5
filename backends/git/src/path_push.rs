//! The push into a repository on this host's own disk.
//!
//! libgit2's transport for paths overwrites the branch whatever it points to (`transports/local.c`), so the last writer
//! would win. Here the branch's own lock is held, Git's `.lock` file, while it is compared and moved.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};
use ipvland_store::Error;

use crate::{
    address::Address,
    errors::{Failure, clean, from_server},
    push::Pushed,
};

/// No git holds a branch's lock that long.
const STALE: Duration = Duration::from_secs(30);

/// The hooks that may refuse a push.
const GUARDS: [&str; 3] = ["pre-receive", "update", "reference-transaction"];

/// Copies the commit into the repository at `path` and moves its branch from `base` to `new`, if it is at `base`.
pub(crate) fn push(
    address: &Address,
    path: &Path,
    clone: &Repository,
    branch: &str,
    base: Option<Oid>,
    new: Oid,
) -> Result<Pushed, Failure> {
    let failed = |why: git2::Error| Failure::Store(from_server(address, why));
    let target = Repository::open(path).map_err(failed)?;
    if !target.is_bare() {
        return Err(Error::refused(format!(
            "the repository {} has a working tree, which a push would contradict: make a bare one with git init --bare",
            address.shown
        ))
        .into());
    }
    refuse_unheard_hooks(address, &target)?;
    let name = format!("refs/heads/{branch}");
    // A cheap look first, so that a lost race leaves nothing behind.
    if tip(&target, &name).map_err(failed)? != base {
        return Ok(Pushed::Raced);
    }
    copy(clone, &target, new, failed)?;
    let mut transaction = target.transaction().map_err(failed)?;
    match transaction.lock_ref(&name) {
        Ok(()) => {}
        Err(why) if why.code() == ErrorCode::Locked => return locked(address, &target, &name),
        Err(why) => return Err(write_failed(address, &why)),
    }
    if tip(&target, &name).map_err(failed)? != base {
        return Ok(Pushed::Raced);
    }
    transaction
        .set_target(&name, new, None, "push by ipvland")
        .and_then(|()| transaction.commit())
        .map_err(|why| write_failed(address, &why))?;
    Ok(Pushed::Done)
}

/// Says what a lock on the branch means: another host is writing, or a crash left it. Git never removes one by itself.
fn locked(address: &Address, target: &Repository, name: &str) -> Result<Pushed, Failure> {
    let file = target.path().join(format!("{name}.lock"));
    let age = fs::metadata(&file).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
    match age {
        Some(age) if age > STALE => Err(Error::away(format!(
            "the repository {} is locked by {} for {} s: if no git runs there, a crash left it; remove it",
            address.shown,
            file.display(),
            age.as_secs()
        ))
        .into()),
        _ => Ok(Pushed::Raced),
    }
}

fn write_failed(address: &Address, why: &git2::Error) -> Failure {
    Failure::Store(Error::away(format!(
        "the repository {} can't be written: {} (check its owner and the space on its disk)",
        address.shown,
        clean(why.message())
    )))
}

fn tip(repo: &Repository, name: &str) -> Result<Option<Oid>, git2::Error> {
    match repo.refname_to_id(name) {
        Ok(id) => Ok(Some(id)),
        Err(why) if why.code() == ErrorCode::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}

/// libgit2 runs no hooks. Where a hook guards the repository, going around it would be worse than not writing.
fn refuse_unheard_hooks(address: &Address, target: &Repository) -> Result<(), Error> {
    let configured =
        target.config().and_then(|mut config| config.snapshot()?.get_path("core.hooksPath")).ok();
    let folder = configured.unwrap_or_else(|| target.path().join("hooks"));
    for hook in GUARDS {
        let file = folder.join(hook);
        if fs::metadata(&file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0) {
            return Err(Error::refused(format!(
                "the repository {} is guarded by the hook {}, which a push by path would not run: reach it by ssh \
                 or http",
                address.shown,
                file.display()
            )));
        }
    }
    Ok(())
}

/// Copies the objects that a commit has and its parent hasn't: itself, its folders and its new records.
fn copy(
    clone: &Repository,
    target: &Repository,
    commit: Oid,
    failed: impl Fn(git2::Error) -> Failure,
) -> Result<(), Failure> {
    let from = clone.odb()?;
    let to = target.odb().map_err(failed)?;
    let commit = clone.find_commit(commit)?;
    let mut wanted = Vec::new();
    list_missing(clone, &to, &commit.tree()?, &mut wanted)?;
    wanted.push(commit.id());
    for id in wanted {
        let object = from.read(id)?;
        to.write(object.kind(), object.data()).map_err(|why| {
            Error::away(format!("the repository can't be written: {}", clean(why.message())))
        })?;
    }
    Ok(())
}

/// Lists what a tree has and the target lacks, each after what it refers to.
fn list_missing(
    clone: &Repository,
    to: &git2::Odb<'_>,
    tree: &Tree<'_>,
    wanted: &mut Vec<Oid>,
) -> Result<(), git2::Error> {
    if to.exists(tree.id()) {
        return Ok(());
    }
    for entry in tree {
        match entry.kind() {
            Some(ObjectType::Tree) => list_missing(clone, to, &clone.find_tree(entry.id())?, wanted)?,
            Some(ObjectType::Blob) if !to.exists(entry.id()) => wanted.push(entry.id()),
            // A submodule's commit is in another repository.
            _ => {}
        }
    }
    wanted.push(tree.id());
    Ok(())
}
