//! Mounts whose locks other hosts don't see.

use std::fmt;

/// Why a mount can't be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalLocks {
    mount_point: String,
    kind: String,
    option: Option<String>,
}

impl fmt::Display for LocalLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mount_point, kind, option } = self;
        match option {
            Some(option) => write!(
                f,
                "{mount_point} ({kind}) is mounted with {option}, so that other hosts do not see its locks: mount it \
                 without that option"
            ),
            None => write!(f, "{mount_point} is {kind}, whose locks other hosts do not see: mount it by NFS"),
        }
    }
}

/// Finds, in the text of `/proc/self/mountinfo`, why the locks on a device don't reach other hosts.
///
/// The form of a line is that of proc_pid_mountinfo(5): `36 35 98:0 /root /mnt rw - nfs server:/x rw,nolock`.
pub(crate) fn local_locks(mountinfo: &str, major: u32, minor: u32) -> Option<LocalLocks> {
    let device = format!("{major}:{minor}");
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        if mount.next()? != device {
            return None;
        }
        let mount_point = mount.nth(1)?.to_owned();
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
        let local = |options: &[&str]| options.iter().map(|option| Some((*option).to_owned())).collect();
        let bad: Vec<Option<String>> = match kind {
            "nfs" | "nfs4" => local(&["nolock", "local_lock=flock", "local_lock=all"]),
            "cifs" | "smb3" => local(&["nobrl"]),
            "fuse.sshfs" => vec![None],
            _ => return None,
        };
        let is_set = |option: &Option<String>| {
            option.as_ref().is_none_or(|option| options.split(',').any(|set| set == option))
        };
        let option = bad.into_iter().find(is_set)?;
        Some(LocalLocks { mount_point, kind: kind.to_owned(), option })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/good rw,relatime shared:7 master:2 - nfs4 server:/x rw,vers=4.2,local_lock=none,addr=10.1.1.2
41 27 0:51 / /mnt/nolock rw - nfs server:/x rw,vers=3,nolock,local_lock=all
42 27 0:52 / /mnt/flock rw - nfs server:/x rw,vers=3,local_lock=flock,addr=10.1.1.2
43 27 0:53 / /mnt/posix rw - nfs server:/x rw,vers=3,local_lock=posix
44 27 0:54 / /mnt/smb rw - cifs //server/x rw,nobrl
45 27 0:55 / /mnt/ssh rw - fuse.sshfs server:/x rw,user_id=0
46 27 0:5 / /mnt/with\\040blank rw - nfs server:/x rw,nolock
nonsense
";

    #[test]
    fn mounts_with_local_locks_are_told_with_the_option() {
        let of = |minor| local_locks(MOUNTS, 0, minor).map(|found| found.to_string());
        for minor in [21, 50, 53, 99] {
            assert_eq!(of(minor), None, "0:{minor}");
        }
        assert_eq!(local_locks(MOUNTS, 254, 0), None);
        for (minor, words) in [
            (51, "/mnt/nolock (nfs) is mounted with nolock"),
            (52, "/mnt/flock (nfs) is mounted with local_lock=flock"),
            (54, "/mnt/smb (cifs) is mounted with nobrl"),
            (55, "/mnt/ssh is fuse.sshfs"),
            (5, "/mnt/with\\040blank (nfs)"),
        ] {
            assert!(of(minor).is_some_and(|said| said.starts_with(words)), "{:?}", of(minor));
        }
    }

    #[test]
    fn the_kernels_own_table_is_read() {
        let own = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let stat = rustix::fs::stat("/proc").unwrap();
        assert_eq!(local_locks(&own, rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev)), None);
    }
}
