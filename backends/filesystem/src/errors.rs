//! Sentences for what the kernel and file servers answer.

use std::path::Path;

use ipvland_store::Error;
use rustix::io::Errno;

/// Says why something could not be done to a file or directory.
pub(crate) fn failed(action: &str, path: &Path, errno: Errno) -> Error {
    let shown = path.display();
    match errno {
        Errno::ACCESS | Errno::PERM => Error::refused(format!(
            "cannot {action} {shown}: permission denied; give the user of the daemon the right (an NFS export takes it \
             from root unless it says no_root_squash, or the directory belongs to nobody)"
        )),
        Errno::ROFS => Error::refused(format!(
            "cannot {action} {shown}: it is mounted read-only; mount it rw on hosts that publish records"
        )),
        Errno::NOSPC | Errno::DQUOT => Error::away(format!(
            "cannot {action} {shown}: no space is left there; make room, or raise the quota"
        )),
        Errno::LOOP | Errno::NOTDIR => Error::refused(format!(
            "cannot {action} {shown}: a link or a file is in the place of a directory; move it away"
        )),
        Errno::STALE | Errno::IO | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::HOSTUNREACH => {
            Error::away(format!(
                "cannot {action} {shown}: {errno}; look at the disk, or at the file server and the mount"
            ))
        }
        Errno::NOENT => {
            Error::away(format!("cannot {action} {shown}: it is gone; is the directory mounted?"))
        }
        _ => Error::away(format!("cannot {action} {shown}: {errno}")),
    }
}

/// Says that the lock can't be used.
pub(crate) fn no_lock(path: &Path, errno: Errno) -> Error {
    let shown = path.display();
    match errno {
        Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => Error::refused(format!(
            "the file system of {shown} has no locks ({errno}), which keep hosts from writing at once: mount it with \
             NFS version 4.1 or later, or start rpc.statd on NFS version 3, or use another store"
        )),
        _ => failed("lock", path, errno),
    }
}

/// Says that hard links, which commits are made with, can't be used.
pub(crate) fn no_link(path: &Path, errno: Errno) -> Error {
    let shown = path.display();
    match errno {
        Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK => Error::refused(format!(
            "the file system of {shown} has no hard links ({errno}), which commits are made with: use ext4, xfs, btrfs or \
             NFS, or another store"
        )),
        _ => failed("link", path, errno),
    }
}

/// Says that a file of the machinery isn't what was written.
pub(crate) fn damaged(path: &Path, how: &str) -> Error {
    Error::refused(format!(
        "{} is damaged ({how}): restore it from a backup, or stop all hosts, remove its directory .ipvland, and the \
         history starts anew",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use ipvland_store::Remedy;

    use super::*;

    #[test]
    fn the_remedy_fits_the_cause() {
        for (errno, remedy) in [
            (Errno::ACCESS, Remedy::GiveUp),
            (Errno::ROFS, Remedy::GiveUp),
            (Errno::NOSPC, Remedy::RetryLater),
            (Errno::DQUOT, Remedy::RetryLater),
            (Errno::STALE, Remedy::RetryLater),
            (Errno::IO, Remedy::RetryLater),
            (Errno::LOOP, Remedy::GiveUp),
        ] {
            let error = failed("read", Path::new("/mnt/x"), errno);
            assert_eq!(error.remedy(), remedy, "{error}");
            assert!(error.to_string().contains("/mnt/x"), "{error}");
        }
        assert_eq!(no_lock(Path::new("/x"), Errno::NOLCK).remedy(), Remedy::GiveUp);
        assert_eq!(no_lock(Path::new("/x"), Errno::STALE).remedy(), Remedy::RetryLater);
        assert_eq!(no_link(Path::new("/x"), Errno::PERM).remedy(), Remedy::GiveUp);
        assert_eq!(no_link(Path::new("/x"), Errno::NOSPC).remedy(), Remedy::RetryLater);
    }
}
