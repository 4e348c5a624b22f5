//! Files that survive a power cut: each is there as it was before or as it was written, never half.
//!
//! All of it blocks; callers on async threads use `spawn_blocking`. Writers of one path take turns by themselves.

use std::{
    fs::{DirBuilder, File, OpenOptions, remove_file, rename},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The ending of files that are being written. One that is left over from a crash is of no use.
pub const UNFINISHED: &str = ".unfinished";

/// Puts `bytes` in the place of a file, mode 0600, so that a crash leaves the old content or the new.
///
/// # Errors
/// What the file system says; the old content stands then, except where only the last sync of the directory failed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_by(path, |file| file.write_all(bytes))
}

/// As [`write()`], with content that is not in memory as a whole: `fill` writes it.
///
/// # Errors
/// What `fill` or the file system says; the old content stands then, except where only the last sync of the directory
/// failed.
pub fn write_by(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = beside(path, UNFINISHED)?;
    let written = create(&unfinished)
        .and_then(|mut file| fill(&mut file).and_then(|()| file.sync_all()))
        .and_then(|()| rename(&unfinished, path));
    if written.is_err() {
        // The first error is the one to tell; the next write clears what may be left.
        let _ = remove_file(&unfinished);
    }
    written?;
    sync_parent(path)
}

/// Puts `bytes` in the place of a file, mode 0600, so that the death of the process leaves the old content or the new. It
/// doesn't wait for the disk: after a power cut the file may be damaged.
///
/// # Errors
/// What the file system says; the old content stands then.
pub fn swap(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = beside(path, UNFINISHED)?;
    let written = create(&unfinished)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| rename(&unfinished, path));
    if written.is_err() {
        // The first error is the one to tell; the next write clears what may be left.
        let _ = remove_file(&unfinished);
    }
    written
}

/// Removes a file for good; one that is gone already is no error.
///
/// # Errors
/// What the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_parent(path),
    }
}

/// Moves a file to the same name with `ending` behind it, and returns where it is now.
///
/// # Errors
/// What the file system says.
pub fn set_aside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let aside = beside(path, ending)?;
    rename(path, &aside)?;
    sync_parent(path)?;
    Ok(aside)
}

/// Makes a directory and what is missing above it, mode 0700; one that is there is left as it is.
///
/// # Errors
/// What the file system says.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn create(path: &Path) -> io::Result<File> {
    // Removed and made anew: an old file could have another owner or mode, or be a link to elsewhere.
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not name a file", path.display()))
    })?;
    let mut name = name.to_os_string();
    name.push(ending);
    Ok(path.with_file_name(name))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_written_file_holds_the_bytes_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        create_dir(&state).unwrap();
        let path = state.join("x.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!((mode(&path), mode(&state)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn what_a_crash_left_unfinished_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, b"not ours").unwrap();
        std::os::unix::fs::symlink(&elsewhere, beside(&path, UNFINISHED).unwrap()).unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"not ours");
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"old").unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_twice_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
