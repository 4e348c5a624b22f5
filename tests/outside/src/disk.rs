//! The file on disk: read as a whole, and replaced as a whole under a lock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ipvland_store::{Error, Result};

use crate::document::Document;

/// How long to wait for another host that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(2);

/// Where the file is.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) token: Option<String>,
}

impl Disk {
    /// Reads the file; one that isn't there is empty. It is replaced by a rename, so that no reader sees a half of it.
    pub(crate) fn read(&self) -> Result<Document> {
        let shown = self.path.display();
        let document: Document = match std::fs::read(&self.path) {
            // The parser's own words quote what they stumble over, which may be the token.
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::refused(format!(
                    "{shown} is damaged in line {}, column {}; repair it, or move it away",
                    error.line(),
                    error.column()
                ))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound && self.directory().is_dir() => {
                return Ok(Document::default());
            }
            Err(error) => return Err(Error::away(format!("cannot read {shown}: {error}"))),
        };
        if document.token != self.token {
            return Err(Error::refused(format!(
                "store.onefile.token is not that of {shown}; copy it from another host"
            )));
        }
        Ok(document)
    }

    /// Changes the file while no other host can.
    pub(crate) fn change<T>(&self, edit: impl FnOnce(&mut Document) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut document = before.clone();
        let answer = edit(&mut document)?;
        if document != before {
            document.token.clone_from(&self.token);
            self.replace(&document)
                .map_err(|error| Error::away(format!("cannot write {}: {error}", self.path.display())))?;
        }
        Ok(answer)
    }

    fn replace(&self, document: &Document) -> std::io::Result<()> {
        // Made with mode 0600, and removed again where a step fails.
        let mut file = tempfile::NamedTempFile::new_in(self.directory())?;
        serde_json::to_writer_pretty(&mut file, document)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(self.directory())?.sync_all()
    }

    /// Takes the lock, which ends with the file that is returned.
    fn lock(&self) -> Result<File> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let shown = path.display();
        let away = |error| Error::away(format!("cannot lock {shown}: {error}"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(away)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(away(error)),
                Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => {
                    let patience = PATIENCE.as_secs();
                    return Err(Error::away(format!("another host has held {shown} for {patience} seconds")));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}
