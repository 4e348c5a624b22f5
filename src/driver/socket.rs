//! The socket file: root's own door, from its first instant.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;
use tracing::warn;

/// A listening socket, with the file that leads to it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    door: Door,
}

/// The file of a socket.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens on a socket file, mode 0600, and makes the directories above it.
///
/// The socket is bound inside a directory of its own that only its owner enters, and moved to its place when its mode is
/// set: a changed umask would do the same, but for every thread of the process. A file that a daemon left behind is
/// replaced; Docker sees the old one or the new one, never none.
///
/// # Errors
/// When another daemon answers on the file, when the file is no socket, or what the file system says; each a sentence.
pub fn bind(path: &Path) -> io::Result<Socket> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|error| say(error, &format!("cannot make {}", parent.display())))?;
    check_place(path)?;
    let hidden = parent.join(format!(".ipvl-{:04x}", fastrand::u16(..)));
    DirBuilder::new()
        .mode(0o700)
        .create(&hidden)
        .map_err(|error| say(error, &format!("cannot make {}", hidden.display())))?;
    let bound = bind_inside(&hidden, path);
    let _ = fs::remove_file(hidden.join("s"));
    if let Err(error) = fs::remove_dir(&hidden) {
        warn!(dir = %hidden.display(), "cannot remove the empty directory: {error}");
    }
    bound.map_err(|error| say(error, &format!("cannot listen on {}", path.display())))
}

fn bind_inside(hidden: &Path, path: &Path) -> io::Result<Socket> {
    let inside = hidden.join("s");
    let listener = UnixListener::bind(&inside)?;
    fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
    let metadata = fs::symlink_metadata(&inside)?;
    fs::rename(&inside, path)?;
    let door = Door { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
    Ok(Socket { listener, door })
}

fn check_place(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(say(error, &format!("cannot look at {}", path.display()))),
    };
    let shown = path.display();
    if !metadata.file_type().is_socket() {
        let sentence =
            format!("{shown} is there and is not a socket: move it away, or choose another with --socket");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, sentence));
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            let sentence =
                format!("another ipvland answers on {shown}: stop it, or choose another with --socket");
            Err(io::Error::new(io::ErrorKind::AddrInUse, sentence))
        }
        // Nobody listens: a daemon was killed and left the file.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(say(error, &format!("cannot tell whether somebody answers on {shown}"))),
    }
}

fn say(error: io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl Socket {
    pub(super) fn into_parts(self) -> (UnixListener, Door) {
        (self.listener, self.door)
    }
}

impl Door {
    /// Removes the file, unless another daemon has put its own there.
    pub(super) fn close(self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|is| (is.dev(), is.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(file = %self.path.display(), "cannot remove the socket: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_private_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/docker/plugins/ipvland.sock");
        let socket = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
        socket.door.close();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        drop(bind(&path).unwrap().listener);
        assert!(path.exists());
        let live = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("another ipvland answers on "), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(live);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        fs::write(&path, b"mine").unwrap();
        assert!(bind(&path).unwrap_err().to_string().contains("is not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn anothers_socket_in_our_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let (listener, door) = bind(&path).unwrap().into_parts();
        drop(listener);
        let successor = bind(&path).unwrap();
        door.close();
        UnixStream::connect(&path).unwrap();
        drop(successor);
    }

    #[tokio::test]
    async fn a_path_too_long_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        assert!(bind(&deep.join("x.sock")).unwrap_err().to_string().starts_with("cannot listen on "));
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }
}
