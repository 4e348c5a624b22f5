//! The lock that writers take in turn. The kernel keeps it, and gives it back when its holder ends.
//!
//! On NFS the client turns it into a byte-range lock at the server, which other machines see, and which the server takes
//! from a machine that it has not heard from. So a writer that was stalled for long may go on without its lock; `commit`
//! says why that harms nothing.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    time::{Duration, Instant},
};

use ipvland_store::{Error, Result};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    errors::{failed, no_lock},
    place::{MACHINERY, Place, errno},
};

const LOCK: &str = "lock";
/// The longest note of who holds the lock, in bytes.
const MAX_NOTE: u64 = 200;
/// How long to wait between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(10);

/// The lock, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is held, and closed at the end")] File);

/// The answer to one attempt.
#[derive(Debug)]
pub(crate) enum Turn {
    Mine(Lock),
    /// Another has it; the note says who, as far as it's known.
    Taken(String),
}

impl Lock {
    /// Tries once to keep all others out, and notes who does. The directory of the machinery is made if it isn't there.
    pub(crate) fn try_exclusive(place: &Place, writer: &str) -> Result<Turn> {
        let path = place.machinery_path().join(LOCK);
        let machinery = match place.machinery()? {
            Some(machinery) => machinery,
            None => {
                place.make(MACHINERY)?;
                place.machinery()?.ok_or_else(|| failed("open", &place.machinery_path(), Errno::NOENT))?
            }
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&machinery, LOCK, flags, Mode::from_raw_mode(0o644));
        let mut file = File::from(opened.map_err(|errno| failed("open", &path, errno))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Turn::Taken(note(&mut file))),
            Err(TryLockError::Error(error)) => return Err(no_lock(&path, errno(&error))),
        }
        // Who removes the file leaves others free to lock the next one.
        let own = rustix::fs::fstat(&file).map_err(|errno| failed("look at", &path, errno))?;
        match rustix::fs::statat(&machinery, LOCK, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if there.st_ino == own.st_ino => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(Turn::Taken("somebody who removed the lock".to_owned())),
            Err(errno) => return Err(failed("look at", &path, errno)),
        }
        // For people only, so that it may fail on a full disk.
        let noted = file.set_len(0).and_then(|()| file.write_all(writer.as_bytes()));
        if let Err(error) = noted {
            tracing::debug!(path = %path.display(), %error, "Cannot note who holds the lock");
        }
        Ok(Turn::Mine(Self(file)))
    }

    /// Keeps writers out, once those that write now are done; `None` where nobody has written yet.
    pub(crate) fn shared(place: &Place, patience: Duration) -> Result<Option<Self>> {
        let path = place.machinery_path().join(LOCK);
        let Some(machinery) = place.machinery()? else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = match rustix::fs::openat(machinery, LOCK, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let begun = Instant::now();
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::Error(error)) => return Err(no_lock(&path, errno(&error))),
                Err(TryLockError::WouldBlock) if begun.elapsed() > patience => {
                    return Err(late(place, &note(&mut file), patience));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Tells whether the lock keeps others out at all; some file systems only pretend.
    pub(crate) fn holds(&self, place: &Place) -> Result<bool> {
        let path = place.machinery_path().join(LOCK);
        let Some(machinery) = place.machinery()? else { return Ok(false) };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(machinery, LOCK, flags, Mode::empty());
        let file = File::from(opened.map_err(|errno| failed("open", &path, errno))?);
        Ok(matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

/// Says that another host keeps the lock.
pub(crate) fn late(place: &Place, holder: &str, patience: Duration) -> Error {
    Error::away(format!(
        "{holder} has held {} for {} s: see whether it is stopped, or whether its mount hangs",
        place.machinery_path().join(LOCK).display(),
        patience.as_secs_f32()
    ))
}

/// Reads who holds the lock.
fn note(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(MAX_NOTE).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if read.is_err() || text.is_empty() { "another host".to_owned() } else { text }
}
