//! sshd with a key, as the user who runs the tests.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use tempfile::TempDir;

use super::repository::Repositories;
use crate::process::{Running, free_port, program, run, wait_for};

/// The passphrase of the key `locked`.
pub const PASSPHRASE: &str = "hunter4";

/// A Git server over ssh.
#[derive(Debug)]
pub struct SshServer {
    /// The repositories that it serves.
    pub repositories: Repositories,
    /// The port that it listens on.
    pub port: u16,
    folder: TempDir,
    user: String,
    sshd: Mutex<Option<Running>>,
}

impl SshServer {
    /// Starts a server with a new host key that lets two new keys in.
    pub fn start() -> Self {
        let repositories = Repositories::default();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for (key, passphrase) in [("host_key", ""), ("key", ""), ("stranger", ""), ("locked", PASSPHRASE)] {
            make_key(&dir.join(key), passphrase);
        }
        let public = |key: &str| fs::read_to_string(dir.join(key).with_extension("pub")).unwrap();
        fs::write(dir.join("authorized_keys"), public("key") + &public("locked")).unwrap();
        let port = free_port();
        let shown = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nLogLevel ERROR\nMaxStartups 100\n"
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            // sshd as root wants this folder, which only a running system has.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let user = run(Command::new("id").arg("-un")).trim().to_owned();
        let server = Self { repositories, port, folder, user, sshd: Mutex::default() };
        server.set_away(false);
        server
    }

    /// Stops the server, or starts it again on the same port.
    pub fn set_away(&self, away: bool) {
        let mut sshd = self.sshd.lock().unwrap();
        // An old one must let go of the port first.
        *sshd = None;
        if !away {
            let mut command = Command::new(program("sshd", "openssh-server"));
            command
                .args(["-D", "-e", "-f"])
                .arg(self.folder.path().join("sshd_config"))
                .stderr(Stdio::null());
            *sshd = Some(Running::start(&mut command));
            wait_for(self.port);
        }
    }

    /// Returns the URL of a repository.
    pub fn url(&self, name: &str) -> String {
        let path = self.repositories.folder().join(name);
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, path.display())
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns a private key that the server lets in, without and with a passphrase (`key`, `locked`), or one that it
    /// does not (`stranger`).
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a known_hosts file with the key of that name for this server: `host_key`, or a wrong one.
    pub fn known_hosts(&self, key: &str) -> PathBuf {
        self.known_hosts_at(key, self.port)
    }

    /// Writes a known_hosts file as [`known_hosts`](Self::known_hosts) does, for the server as it's reached on another port
    /// of 127.0.0.1.
    pub fn known_hosts_at(&self, key: &str, port: u16) -> PathBuf {
        let file = self.folder.path().join(format!("known_hosts-{key}-{port}"));
        let public = fs::read_to_string(self.folder.path().join(format!("{key}.pub"))).unwrap();
        fs::write(&file, format!("[127.0.0.1]:{port} {public}")).unwrap();
        file
    }

    /// Hashes the names in a known_hosts file, as OpenSSH does by default on Debian.
    pub fn hash_names(&self, file: &Path) {
        run(Command::new(program("ssh-keygen", "openssh-client")).arg("-H").arg("-f").arg(file));
    }

    /// Returns the host key's fingerprint as OpenSSH shows it.
    pub fn fingerprint(&self) -> String {
        let public = self.folder.path().join("host_key.pub");
        let line = run(Command::new(program("ssh-keygen", "openssh-client")).arg("-lf").arg(public));
        line.split_whitespace().nth(1).unwrap().to_owned()
    }
}

fn make_key(file: &Path, passphrase: &str) {
    run(Command::new(program("ssh-keygen", "openssh-client"))
        .args(["-q", "-t", "ed25519", "-C", "a test", "-N", passphrase, "-f"])
        .arg(file));
}
