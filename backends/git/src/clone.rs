//! The bare clone in the state directory: a cache that is made again when it is broken.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use git2::{Repository, RepositoryInitOptions, RepositoryOpenFlags};
use ipvland_store::{Error, Result};
use sha1::{Digest as _, Sha1};

/// Returns the name of a clone's directory: another URL has another clone.
pub(crate) fn directory_name(url: &str) -> String {
    let hash = Sha1::digest(url.as_bytes());
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("clone-{hex}.git")
}

/// Makes a directory that is ours alone, or checks that it is.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when it's another user's or no directory: whoever owns it
/// could plant history.
pub(crate) fn own_directory(path: &Path) -> Result<()> {
    let failed = |why: io::Error| {
        Error::refused(format!("the state directory {} can't be used: {why}", path.display()))
    };
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => return Err(failed(why)),
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if !found.is_dir() {
        return Err(Error::refused(format!(
            "{} is not a directory: remove it, or set another state directory",
            path.display()
        )));
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(Error::refused(format!(
            "the directory {} belongs to user {} and not to us (user {us}): remove it or chown it",
            path.display(),
            found.uid()
        )));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Locks the clone against other processes of this host, such as a command that runs beside the daemon, until the file is
/// dropped.
pub(crate) fn lock(path: &Path) -> Result<fs::File> {
    let file = path.with_extension("lock");
    let failed = |why: io::Error| Error::away(format!("{} can't be locked: {why}", file.display()));
    let lock = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&file)
        .map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Opens the clone, and makes it where there is none or a broken one.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when it is another user's,
/// [`RetryLater`](ipvland_store::Remedy::RetryLater) when the disk says no.
pub(crate) fn open(path: &Path) -> Result<Repository> {
    own_directory(path)?;
    let is_new = !path.join("HEAD").exists();
    if !is_new {
        match opened(path).and_then(prepared) {
            Ok(repo) => return Ok(repo),
            Err(why) => tracing::warn!(
                clone = %path.display(), error = why.message(),
                "the clone is broken and is made again"
            ),
        }
    }
    remake(path)
}

/// Opens a bare repository that may end at some commits. `Repository::open_bare` does not read which (`load_grafts` in
/// `repository.c`) and would then look for their parents.
fn opened(path: &Path) -> std::result::Result<Repository, git2::Error> {
    let flags = RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH;
    Repository::open_ext(path, flags, std::iter::empty::<&Path>())
}

/// Removes what is there and makes an empty clone.
pub(crate) fn remake(path: &Path) -> Result<Repository> {
    let failed = |why: String| Error::away(format!("the clone {} can't be made: {why}", path.display()));
    match fs::remove_dir_all(path) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(failed(why.to_string())),
        _ => own_directory(path)?,
    }
    initialized(path, "main").and_then(prepared).map_err(|why| failed(why.message().to_owned()))
}

/// Makes an empty bare repository.
pub(crate) fn initialized(path: &Path, branch: &str) -> std::result::Result<Repository, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false).initial_head(branch);
    Repository::init_opts(path, &options)
}

/// Sees to it that no redirect is followed: connecting has no option for it but the repository's own configuration.
fn prepared(repo: Repository) -> std::result::Result<Repository, git2::Error> {
    const KEY: &str = "http.followRedirects";
    let mut config = repo.config()?;
    if config.snapshot()?.get_str(KEY).ok() != Some("false") {
        config.set_str(KEY, "false")?;
    }
    Ok(repo)
}
