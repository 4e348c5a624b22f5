//! The directory, and the files of the machinery in it.
//!
//! Each look opens the directories anew, by the way from the root: opening a directory is what makes an NFS client ask
//! the server whether it changed. By a descriptor that is kept, or by names that it remembers, it would go on seeing what
//! was there up to a minute ago.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use ipvland_store::{Error, Result};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    entry::Entry,
    errors::{damaged, failed},
};

/// The directory of the records.
pub(crate) const ENDPOINTS: &str = "endpoints";
/// The directory of the machinery.
pub(crate) const MACHINERY: &str = ".ipvland";
/// The commits, in the machinery: each a file that is named by its generation.
pub(crate) const LOG: &str = "log";
/// Files on their way to another place, in the machinery.
pub(crate) const STAGING: &str = "staging";
/// What the store is, in the machinery.
pub(crate) const FORMAT: &str = "format";
/// How many commits are applied to the records, in the machinery.
pub(crate) const GENERATION: &str = "generation";

const MAGIC: &str = "ipvland endpoint records";
const VERSION: u32 = 1;
/// No file of the machinery but the entries of the log is larger.
const MAX_SMALL: u64 = 4096;
/// No entry of the log is larger: it holds a batch.
const MAX_ENTRY: u64 = 256 * 1024 * 1024;

/// The directory that the settings name, open.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    root: OwnedFd,
}

/// The file `format`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    magic: String,
    version: u32,
    /// Drawn at random when the store is made.
    pub(crate) id: String,
}

/// The file `generation`: how many commits the store had, all of which are in the files of the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) id: String,
    pub(crate) generation: u64,
}

impl Format {
    pub(crate) fn new() -> Self {
        let id = format!("{:016x}", fastrand::u64(..));
        Self { magic: MAGIC.to_owned(), version: VERSION, id }
    }
}

impl Place {
    /// Opens the directory. It is never made: what is missing may be a mount.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(root) => Ok(Self { path: path.to_owned(), root }),
            Err(Errno::NOENT) => Err(Error::away(format!(
                "there is no directory {}: mount it or create it, or correct store.filesystem.path",
                path.display()
            ))),
            Err(Errno::NOTDIR) => Err(Error::refused(format!(
                "{} is no directory: correct store.filesystem.path",
                path.display()
            ))),
            Err(errno) => Err(failed("open", path, errno)),
        }
    }

    pub(crate) fn root(&self) -> impl AsFd + '_ {
        self.root.as_fd()
    }

    pub(crate) fn endpoints_path(&self) -> PathBuf {
        self.path.join(ENDPOINTS)
    }

    pub(crate) fn machinery_path(&self) -> PathBuf {
        self.path.join(MACHINERY)
    }

    /// Opens the directory of the records; `None` where it isn't there.
    pub(crate) fn endpoints(&self) -> Result<Option<OwnedFd>> {
        let opened = subdirectory(&self.root, ENDPOINTS);
        opened.map_err(|errno| failed("open", &self.endpoints_path(), errno))
    }

    /// Opens the directory of the machinery; `None` where it isn't there.
    pub(crate) fn machinery(&self) -> Result<Option<OwnedFd>> {
        let opened = subdirectory(&self.root, MACHINERY);
        opened.map_err(|errno| failed("open", &self.machinery_path(), errno))
    }

    /// Opens a directory of the machinery; `None` where it isn't there.
    pub(crate) fn part(&self, name: &str) -> Result<Option<OwnedFd>> {
        let Some(machinery) = self.machinery()? else { return Ok(None) };
        let opened = subdirectory(machinery, name);
        opened.map_err(|errno| failed("open", &self.machinery_path().join(name), errno))
    }

    /// Opens a directory of the machinery that every store has.
    pub(crate) fn needed(&self, name: &str) -> Result<OwnedFd> {
        let part = self.part(name)?;
        part.ok_or_else(|| failed("open", &self.machinery_path().join(name), Errno::NOENT))
    }

    /// Opens the directory of the machinery, which is there.
    pub(crate) fn needed_machinery(&self) -> Result<OwnedFd> {
        self.machinery()?.ok_or_else(|| failed("open", &self.machinery_path(), Errno::NOENT))
    }

    /// Opens the directory of the records, which is there.
    pub(crate) fn needed_endpoints(&self) -> Result<OwnedFd> {
        self.endpoints()?.ok_or_else(|| failed("open", &self.endpoints_path(), Errno::NOENT))
    }

    /// Makes a directory below the root, if it isn't there.
    pub(crate) fn make(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(0o755)) {
            // A read-only file system says that it is one before it looks.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("create", &self.path.join(name), errno)),
        }
    }

    /// Returns the store's id; `None` where nobody has made a store here.
    pub(crate) fn id(&self) -> Result<Option<String>> {
        let path = self.machinery_path().join(FORMAT);
        let Some(machinery) = self.machinery()? else { return Ok(None) };
        let bytes = read(machinery, FORMAT, MAX_SMALL).map_err(|errno| failed("read", &path, errno))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let format: Format =
            serde_json::from_slice(&bytes).map_err(|_| damaged(&path, "it is no format file"))?;
        if format.magic != MAGIC {
            return Err(damaged(&path, "it is no format file of ipvland"));
        }
        if format.version != VERSION {
            return Err(Error::refused(format!(
                "the store in {} is of version {}, and this ipvland knows version {VERSION}: update ipvland on this host",
                self.path.display(),
                format.version
            )));
        }
        Ok(Some(format.id))
    }

    /// Returns which commits the files have; `None` where nobody has made a store here.
    pub(crate) fn mark(&self) -> Result<Option<Mark>> {
        let Some(id) = self.id()? else { return Ok(None) };
        if let Some(mark) = self.counted(&id)? {
            return Ok(Some(mark));
        }
        // So it is before the first commit is applied. Later it must not count from nothing: an entry of the log that was
        // applied long ago would be taken for one that waits.
        let newest = self.newest_entry()?;
        match self.counted(&id)? {
            Some(mark) => Ok(Some(mark)),
            None if newest.is_none_or(|newest| newest == 1) => Ok(Some(Mark { id, generation: 0 })),
            None => Err(damaged(&self.machinery_path().join(GENERATION), "it is gone")),
        }
    }

    fn counted(&self, id: &str) -> Result<Option<Mark>> {
        let path = self.machinery_path().join(GENERATION);
        let Some(machinery) = self.machinery()? else { return Ok(None) };
        let bytes = read(machinery, GENERATION, MAX_SMALL).map_err(|errno| failed("read", &path, errno))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let mark: Mark = serde_json::from_slice(&bytes).map_err(|_| damaged(&path, "it can't be parsed"))?;
        if mark.id != id {
            return Err(damaged(&path, "it is of another store"));
        }
        Ok(Some(mark))
    }

    /// Returns the commit of a generation, if the log still has it.
    pub(crate) fn entry(&self, generation: u64) -> Result<Option<Entry>> {
        let Some(log) = self.part(LOG)? else { return Ok(None) };
        let name = generation.to_string();
        let path = self.machinery_path().join(LOG).join(&name);
        let bytes = read(log, &name, MAX_ENTRY).map_err(|errno| failed("read", &path, errno))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match Entry::decode(&bytes) {
            Some(entry) if entry.revision.generation == generation => Ok(Some(entry)),
            _ => Err(damaged(&path, "it can't be parsed")),
        }
    }

    /// Returns the commit that was made and may not be in the files yet.
    pub(crate) fn pending(&self, mark: Option<&Mark>) -> Result<Option<Entry>> {
        let Some(mark) = mark else { return Ok(None) };
        let entry = self.entry(mark.generation + 1)?;
        if entry.as_ref().is_some_and(|entry| entry.revision.id.as_ref() != Some(&mark.id)) {
            return Err(damaged(&self.machinery_path().join(LOG), "it is of another store"));
        }
        Ok(entry)
    }

    /// Tells whether a commit was made that may not be in the files yet, and reads no file.
    pub(crate) fn has_pending(&self, mark: &Mark) -> Result<bool> {
        let Some(log) = self.part(LOG)? else { return Ok(false) };
        let name = (mark.generation + 1).to_string();
        match rustix::fs::statat(log, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("look at", &self.machinery_path().join(LOG).join(&name), errno)),
        }
    }

    fn newest_entry(&self) -> Result<Option<u64>> {
        let Some(log) = self.part(LOG)? else { return Ok(None) };
        let names = names(log).map_err(|errno| failed("list", &self.machinery_path().join(LOG), errno))?;
        Ok(names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok()).max())
    }
}

fn subdirectory(parent: impl AsFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Reads a whole file, up to a limit; `None` where it isn't there.
fn read(directory: impl AsFd, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut bytes = Vec::new();
    File::from(fd).take(limit).read_to_end(&mut bytes).map_err(|error| errno(&error))?;
    Ok(Some(bytes))
}

/// Writes a file that isn't there yet, to the disk.
pub(crate) fn write_new(directory: impl AsFd, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| errno(&error))
}

/// Lists a directory.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
