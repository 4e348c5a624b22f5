//! What lies around a call: the clone reaches the repository before it, and does not grow for ever after it.

use std::path::Path;

use git2::Repository;
use ipvland_store::{Error, Result};

use crate::{
    address::{Address, Route},
    clone,
    errors::{Failure, from_server},
    memory::Memory,
    own,
    remote::remember,
    wear,
};

/// Does what a call leaves to be done, once it has been answered: notes where the branch is, so that its commits stay and
/// the next fetch goes on from there; and, after a number of calls that wrote, looks whether the clone, or the repository
/// that is this host's own, should be written anew.
///
/// # Errors
/// libgit2's, where the clone is broken; those of [`clone::remake`].
pub(crate) fn settle(
    clone: &Path,
    address: &Address,
    own: Option<&Path>,
    memory: &mut Memory,
    repo: Repository,
) -> Result<(), Failure> {
    if let (Some(branch), Some(tip)) = (&memory.branch, memory.moved_to.take()) {
        remember(&repo, branch, tip)?;
    }
    if !memory.is_time_to_tidy() {
        return Ok(());
    }
    if let Some(own) = own
        && let Err(why) = own::pack(own)
    {
        tracing::warn!(
            repo = %own.display(), error = why.message(),
            "the repository could not be packed and takes more of the disk than it needs: try git fsck and git gc"
        );
    }
    if !wear::is_worn(&repo) {
        return Ok(());
    }
    if !matches!(address.route, Route::Path(_)) {
        match wear::compact(clone, &repo) {
            Ok(_) => return Ok(()),
            Err(why) => tracing::warn!(
                clone = %clone.display(), error = ?why,
                "the clone could not be written anew, so that it is downloaded again"
            ),
        }
    }
    // That of a path holds only what was written there as well.
    drop(repo);
    memory.forget();
    clone::remake(clone)?;
    Ok(())
}

/// Lets the clone read a repository of this host's where it is, so that nothing of it is copied.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when it isn't there, or is another user's.
pub(crate) fn reach(address: &Address, repo: &Repository) -> Result<()> {
    let Route::Path(path) = &address.route else { return Ok(()) };
    let failed = |why| from_server(address, why);
    // Opening it says why it can't be read, which libgit2's transport for paths forgets, and checks its owner.
    let objects = Repository::open(path).map_err(failed)?.commondir().join("objects");
    let Some(objects) = objects.to_str() else {
        return Err(Error::refused(format!("the path {} of the repository is not UTF-8", objects.display())));
    };
    repo.odb().and_then(|odb| odb.add_disk_alternate(objects)).map_err(failed)
}
