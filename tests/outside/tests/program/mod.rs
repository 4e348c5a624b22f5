//! The program with a config file that names the store.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

/// The store's token.
pub(crate) const SECRET: &str = "geheim";

/// A directory with the config file, and with all that the daemon writes.
pub(crate) struct Setup {
    dir: TempDir,
}

impl Setup {
    /// Writes the config file.
    pub(crate) fn new() -> Self {
        let setup = Self { dir: tempfile::tempdir().unwrap() };
        let (root, file) = (setup.dir.path().display(), setup.file());
        setup.config(&format!(
            r#"
[host]
interface = "eth2"
name = "web-1"

[network]
mode = "l3"
subnet = "10.1.48.0/24"

[store]
kind = "onefile"

[store.onefile]
path = "{}"
token = "{SECRET}"
interval_ms = 100

[daemon]
state_dir = "{root}/state"
socket = "{root}/ipvland.sock"
"#,
            file.display()
        ));
        setup
    }

    /// Writes another config file in place of the one that is there.
    pub(crate) fn config(&self, text: &str) {
        let path = self.dir.path().join("ipvland.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Returns the file that the store keeps its records in.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("records.json")
    }

    /// Makes a call of the program, without any variable of the tests' own environment.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipvland-onefile"));
        command.env_clear().args(arguments).arg("--config").arg(self.dir.path().join("ipvland.toml"));
        command
    }
}

/// Splits what a run left: exit code, stdout, stderr.
pub(crate) fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
