//! Opening the clone for a call, in a state in which it can be used and does not grow for ever.

use std::path::Path;

use git2::Repository;
use ipvland_store::{Error, Result};

use crate::{
    address::{Address, Route},
    clone,
    errors::from_server,
    memory::Memory,
    own, wear,
};

/// Opens the clone. After a number of calls that wrote it is first looked whether it, or the repository that is this host's
/// own, should be written anew.
///
/// # Errors
/// As [`clone::open`].
pub(crate) fn tidied(
    clone: &Path,
    address: &Address,
    own: Option<&Path>,
    memory: &mut Memory,
) -> Result<Repository> {
    let repo = clone::open(clone)?;
    if !memory.is_time_to_tidy() {
        return Ok(repo);
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
        return Ok(repo);
    }
    if !matches!(address.route, Route::Path(_)) {
        match wear::compact(clone, &repo) {
            Ok(repo) => return Ok(repo),
            Err(why) => tracing::warn!(
                clone = %clone.display(), error = ?why,
                "the clone could not be written anew, so that it is downloaded again"
            ),
        }
    }
    // That of a path holds only what was written there as well.
    drop(repo);
    memory.forget();
    clone::remake(clone)
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
