//! What lies in `endpoints/`: read once, and again only where a file changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipvland_store::{Key, MAX_RECORD_BYTES, Result};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    errors::failed,
    place::{errno, names},
    revision::Digest,
};

/// The raw name of a file.
pub(crate) type Name = Vec<u8>;

/// One thing in the directory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) digest: Digest,
    pub(crate) content: Content,
}

/// What a thing in the directory is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Record(Bytes),
    /// No record, and why not.
    Stray(String),
}

impl Item {
    pub(crate) fn record(bytes: Bytes) -> Self {
        Self { digest: Digest::of(&bytes), content: Content::Record(bytes) }
    }

    fn stray(reason: String) -> Self {
        Self { digest: Digest::of_parts([&b"stray"[..], reason.as_bytes()]), content: Content::Stray(reason) }
    }
}

/// What a file system says of a file without reading it. A change of the content changes it, at the latest a tick of the
/// file system's clock after the change before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    modified: Time,
    changed: Time,
}

/// Seconds and nanoseconds, by the clock of the file system. It's never compared with the clock of a host.
type Time = (i64, u64);

impl Stamp {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between processors")]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mode: stat.st_mode as u32,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Tells whether a change that came at the file system's time `now` or later would show.
    fn is_older_than(&self, now: Time) -> bool {
        self.changed.0.saturating_add(TICK.as_secs() as i64) < now.0
    }
}

/// No file system's clock has longer ticks (FAT has the longest).
const TICK: Duration = Duration::from_secs(2);

/// A stamp, and since when it's known; two changes within a tick have one stamp.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    stamp: Stamp,
    first: Instant,
}

impl Sighting {
    /// Continues a sighting, or starts one where the stamp is new.
    fn go_on(before: Option<Self>, stamp: Stamp, now: Instant) -> Self {
        before.filter(|before| before.stamp == stamp).unwrap_or(Self { stamp, first: now })
    }

    /// Tells whether what is read from now on can't change without another stamp: the tick is over, by our own clock
    /// or by the file system's.
    fn is_settled(&self, now: Instant, newest: Time) -> bool {
        now.duration_since(self.first) > TICK || self.stamp.is_older_than(newest)
    }
}

struct Known {
    sighting: Sighting,
    /// The content counts for as long as the stamp does.
    settled: bool,
    item: Item,
}

/// What was read, by name.
#[derive(Default)]
pub(crate) struct Shelf {
    files: BTreeMap<Name, Known>,
    directory: Option<(Sighting, bool)>,
}

impl Shelf {
    /// Brings the shelf to what lies in the directory; tells whether anything differs from before.
    ///
    /// `suspects` are read whatever their stamps say.
    pub(crate) fn scan(
        &mut self,
        directory: &OwnedFd,
        path: &Path,
        suspects: &BTreeSet<Key>,
    ) -> Result<bool> {
        let now = Instant::now();
        let at = |name: &[u8]| path.join(String::from_utf8_lossy(name).as_ref());
        let stat = rustix::fs::fstat(directory).map_err(|errno| failed("look at", path, errno))?;
        let own = Stamp::of(&stat);
        let mut newest = own.changed;
        let mut stamps = BTreeMap::new();
        let mut listed = BTreeSet::from_iter(names(directory).map_err(|errno| failed("list", path, errno))?);
        // An NFS client gives this name to a file that was removed while somebody reads it.
        listed.retain(|name| !name.starts_with(b".nfs"));
        // Some file systems leave a name out of a listing while a file is renamed over it: who isn't listed is asked for.
        listed.extend(self.files.keys().cloned());
        listed.extend(suspects.iter().map(|key| key.as_str().as_bytes().to_vec()));
        for name in listed {
            match rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let stamp = Stamp::of(&stat);
                    newest = newest.max(stamp.changed);
                    stamps.insert(name, stamp);
                }
                // Removed in between.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("look at", &at(&name), errno)),
            }
        }
        let count = self.files.len();
        self.files.retain(|name, _| stamps.contains_key(name));
        let mut differs = count != self.files.len();
        let (files, mut read) = (stamps.len(), 0);
        for (name, stamp) in stamps {
            let known = self.files.get(&name);
            let sighting = Sighting::go_on(known.map(|known| known.sighting), stamp, now);
            let is_suspect = std::str::from_utf8(&name).is_ok_and(|name| suspects.contains(name));
            if known.is_some_and(|known| known.settled && known.sighting.stamp == stamp && !is_suspect) {
                continue;
            }
            let item = match refusal(&name, &stamp) {
                Some(reason) => Item::stray(reason),
                None => {
                    read += 1;
                    match read_record(directory, &name) {
                        Ok(Some(item)) => item,
                        Ok(None) => {
                            differs |= self.files.remove(&name).is_some();
                            continue;
                        }
                        Err(errno) => return Err(failed("read", &at(&name), errno)),
                    }
                }
            };
            differs |= known.is_none_or(|known| known.item != item);
            self.files.insert(name, Known { sighting, settled: sighting.is_settled(now, newest), item });
        }
        let sighting = Sighting::go_on(self.directory.map(|(sighting, _)| sighting), own, now);
        self.directory = Some((sighting, sighting.is_settled(now, newest)));
        tracing::trace!(path = %path.display(), files, read, "Looked at every record");
        Ok(differs)
    }

    /// Empties the shelf, for a directory that isn't there; tells whether anything was on it.
    pub(crate) fn clear(&mut self) -> bool {
        self.directory = None;
        let had = !self.files.is_empty();
        self.files.clear();
        had
    }

    /// Tells whether the list of names is the one of the last scan, and can't have changed since, by the directory alone.
    /// An edit in place doesn't show.
    pub(crate) fn lists(&self, directory: impl AsFd) -> Result<bool, Errno> {
        let stamp = Stamp::of(&rustix::fs::fstat(directory)?);
        Ok(self.directory.is_some_and(|(sighting, settled)| settled && sighting.stamp == stamp))
    }

    pub(crate) fn digest(&self, key: &Key) -> Option<Digest> {
        self.files.get(key.as_str().as_bytes()).map(|known| known.item.digest)
    }

    pub(crate) fn items(&self) -> BTreeMap<Name, Item> {
        self.files.iter().map(|(name, known)| (name.clone(), known.item.clone())).collect()
    }
}

/// Says why a thing can't be a record, from what is seen without reading it.
fn refusal(name: &[u8], stamp: &Stamp) -> Option<String> {
    let kind = match FileType::from_raw_mode(stamp.mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Symlink => Some("a symbolic link, which is not followed"),
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    if let Some(kind) = kind {
        return Some(format!("it is {kind}"));
    }
    match std::str::from_utf8(name).map(Key::parse) {
        Ok(Ok(_)) => {}
        Ok(Err(invalid)) => return Some(invalid.to_string()),
        Err(_) => return Some("the name is no text".to_owned()),
    }
    (stamp.size > MAX_RECORD_BYTES as u64).then(|| too_large(stamp.size))
}

fn too_large(bytes: u64) -> String {
    format!("it has {bytes} bytes, and a record has at most {MAX_RECORD_BYTES}")
}

/// Reads a file; `None` where it is gone.
fn read_record(directory: &OwnedFd, name: &[u8]) -> Result<Option<Item>, Errno> {
    // On NFS a file that another machine replaces while it's read is stale, and the next one lies under its name.
    let mut attempts = 3;
    loop {
        attempts -= 1;
        match read_once(directory, name) {
            Err(Errno::STALE) if attempts > 0 => {}
            read => return read,
        }
    }
}

fn read_once(directory: &OwnedFd, name: &[u8]) -> Result<Option<Item>, Errno> {
    // What was a file a moment ago may be a link or a pipe now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Some(Item::stray("it is no plain file".to_owned()))),
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Some(Item::stray("it is no plain file".to_owned())));
    }
    let limit = MAX_RECORD_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    File::from(fd).take(limit).read_to_end(&mut bytes).map_err(|error| errno(&error))?;
    if bytes.len() > MAX_RECORD_BYTES {
        return Ok(Some(Item::stray(too_large(Stamp::of(&stat).size))));
    }
    Ok(Some(Item::record(bytes.into())))
}
