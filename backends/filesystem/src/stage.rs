//! Files on their way into place: whole and on the disk before they get there.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use ipvland_store::{Error, Result};
use rustix::{fs::AtFlags, io::Errno};

use crate::{
    errors::failed,
    place::{Place, STAGING, names, write_new},
};

/// The files that one attempt has staged. Their names begin with its token, which no other attempt has.
pub(crate) struct Stage {
    directory: OwnedFd,
    path: PathBuf,
    pub(crate) token: String,
}

/// Why a file did not get into place.
pub(crate) enum Placed {
    Done,
    /// The name is taken already; only of a link.
    Taken,
    /// The staged file is gone: another writer has the lock now and swept it away.
    Swept,
}

impl Stage {
    /// Opens the stage of the writer that has the lock, and sweeps away what others left there.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let stage = Self {
            directory: place.needed(STAGING)?,
            path: place.machinery_path().join(STAGING),
            token: format!("{:032x}", fastrand::u128(..)),
        };
        stage.sweep()?;
        Ok(stage)
    }

    /// Removes every staged file, whosever it is.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.remove(|_| true)
    }

    /// Removes the files of this attempt, as far as that is possible.
    pub(crate) fn discard(&self) {
        // Not those of others: the lock may be another's by now.
        if let Err(error) = self.remove(|name| name.starts_with(self.token.as_bytes())) {
            tracing::debug!(path = %self.path.display(), %error, "Cannot remove what was staged");
        }
    }

    fn remove(&self, which: impl Fn(&[u8]) -> bool) -> Result<()> {
        let mut listed = names(&self.directory).map_err(|errno| failed("list", &self.path, errno))?;
        listed.retain(|name| which(name));
        for name in listed {
            match rustix::fs::unlinkat(&self.directory, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    return Err(failed("remove", &self.path.join(name), errno));
                }
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.token)
    }

    /// Writes a file to the disk, beside its place.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let name = self.name(name);
        write_new(&self.directory, &name, bytes)
            .map_err(|errno| failed("write", &self.path.join(&name), errno))
    }

    /// Moves a staged file over whatever is in its place.
    pub(crate) fn put(&self, name: &str, directory: impl AsFd, path: PathBuf, to: &str) -> Result<Placed> {
        match rustix::fs::renameat(&self.directory, self.name(name), directory, to) {
            Ok(()) => Ok(Placed::Done),
            Err(Errno::NOENT) => Ok(Placed::Swept),
            Err(errno) => Err(failed("replace", &path.join(to), errno)),
        }
    }

    /// Gives a staged file its name, if nothing has that yet.
    pub(crate) fn link(&self, name: &str, directory: impl AsFd, path: PathBuf, to: &str) -> Result<Placed> {
        let own = self.name(name);
        match rustix::fs::linkat(&self.directory, &own, directory, to, AtFlags::empty()) {
            Ok(()) => {
                // Its first name is of no use any more; what stays is swept away by the next writer.
                _ = rustix::fs::unlinkat(&self.directory, &own, AtFlags::empty());
                Ok(Placed::Done)
            }
            Err(Errno::NOENT) => Ok(Placed::Swept),
            Err(Errno::EXIST) => Ok(Placed::Taken),
            Err(errno) => Err(failed("write", &path.join(to), errno)),
        }
    }
}

/// Says that a writer lost its lock after its commit was made.
pub(crate) fn overtaken(place: &Place) -> Error {
    Error::away(format!(
        "this host was stalled while it wrote to {}, and another has taken over from it",
        place.path.display()
    ))
}
