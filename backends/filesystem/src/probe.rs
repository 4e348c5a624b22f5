//! What a file system must have so that commits are safe on it; asked once by each handle, before its first commit.

use ipvland_store::{Error, Result};
use rustix::{
    fs::{AtFlags, OFlags},
    io::Errno,
};

use crate::{
    errors::{failed, no_link},
    lock::Lock,
    mounts::local_locks,
    place::{Place, STAGING},
};

/// A name such as records have; what SMB and FAT forbid is in it.
const LOWER: &str = "probe:a";
const UPPER: &str = "PROBE:A";

/// Checks the file system under the lock.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) with a sentence that says what is missing.
pub(crate) fn check(place: &Place, lock: &Lock) -> Result<()> {
    let shown = place.path.display();
    let stat = rustix::fs::fstat(place.root()).map_err(|errno| failed("look at", &place.path, errno))?;
    // Without /proc nothing is known, and nothing is refused.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    if let Some(why) = local_locks(&mounts, major, minor) {
        return Err(Error::refused(format!("cannot write to {shown}: {why}")));
    }
    if !lock.holds(place)? {
        return Err(Error::refused(format!(
            "the file system of {shown} lets two lock one file, so hosts could write at once: use ext4, xfs, btrfs or NFS, \
             or another store"
        )));
    }
    names_and_links(place)
}

fn names_and_links(place: &Place) -> Result<()> {
    let path = place.machinery_path().join(STAGING);
    let staging = place.needed(STAGING)?;
    let remove = |name: &str| match rustix::fs::unlinkat(&staging, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed("remove", &path.join(name), errno)),
    };
    remove(LOWER)?;
    remove(UPPER)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(&staging, LOWER, flags, rustix::fs::Mode::from_raw_mode(0o644)) {
        Ok(_) => {}
        Err(Errno::INVAL | Errno::ILSEQ) => {
            return Err(Error::refused(format!(
                "the file system of {} takes no ':' in a name, and records of IPv6 hosts have one: use another file \
                 system, or another store",
                place.path.display()
            )));
        }
        Err(errno) => return Err(failed("create", &path.join(LOWER), errno)),
    }
    let linked = rustix::fs::linkat(&staging, LOWER, &staging, UPPER, AtFlags::empty());
    remove(LOWER)?;
    remove(UPPER)?;
    match linked {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Error::refused(format!(
            "the file system of {} takes upper and lower case for one, and records' names differ in it: use another file \
             system, or another store",
            place.path.display()
        ))),
        Err(errno) => Err(no_link(&path, errno)),
    }
}
