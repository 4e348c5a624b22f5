//! The state directory, and the lock that keeps a second daemon out of it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::durable;

/// The state directory, ours for as long as this lives.
#[derive(Debug)]
pub(super) struct Instance {
    dir: PathBuf,
    /// The lock goes with the file, also when the process is killed.
    _lock: File,
}

impl Instance {
    /// Makes the state directory where it is missing, and takes its lock.
    pub(super) fn take(dir: &Path) -> Result<Self, String> {
        let shown = dir.display();
        durable::create_dir(dir).map_err(|error| {
            format!("cannot make the state directory {shown}: {error}; run as root, or choose another with daemon.state_dir")
        })?;
        let metadata = std::fs::metadata(dir).map_err(|error| format!("cannot look at {shown}: {error}"))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "the state directory {shown} belongs to another user (uid {}), who could put routes into it; change its \
                 owner, or choose another with daemon.state_dir",
                metadata.uid()
            ));
        }
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err(format!(
                "the state directory {shown} can be written by others, who could put routes into it; run `chmod go-w \
                 {shown}`"
            ));
        }
        let path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "another ipvland uses the state directory {shown}; stop it, or choose another with daemon.state_dir"
            )),
            Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display())),
        }
    }

    /// Returns the state directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes a file of the state directory.
    pub(super) fn forget(&self, name: &str) {
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), %error, "cannot remove the file");
            }
            _ => {}
        }
    }
}
