//! The program with a config file that names the store.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A directory with the config file, and with all that the daemon writes.
pub struct Setup {
    dir: TempDir,
}

impl Setup {
    /// Writes the config file, with the password that the server wants.
    pub fn new(server: SocketAddr, password: &str) -> Self {
        let setup = Self { dir: tempfile::tempdir().unwrap() };
        let root = setup.dir.path().display();
        setup.config(&format!(
            r#"
[host]
interface = "eth2"
name = "web-1"

[network]
mode = "l3"
subnet = "10.1.48.0/24"

[store]
kind = "redis"

[store.redis]
address = "{server}"
password = "{password}"

[daemon]
state_dir = "{root}/state"
socket = "{root}/ipvland.sock"
"#
        ));
        setup
    }

    /// Writes another config file in place of the one that is there.
    pub fn config(&self, text: &str) {
        let path = self.dir.path().join("ipvland.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Makes a call of the program, without any variable of the tests' own environment.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipvland-redis"));
        command.env_clear().args(arguments).arg("--config").arg(self.dir.path().join("ipvland.toml"));
        command
    }
}

/// Splits what a run left: exit code, stdout, stderr.
pub fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
