//! What `ssh` is answered when it asks for a passphrase or a password.
//!
//! It asks the program that `SSH_ASKPASS` names (`ssh(1)`), by a line that ends up on the program's own command line. Ours
//! is a script of a few words beside the clone, which reads the secret from a file: so the secret itself is neither on a
//! command line nor in an environment.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use ipvland_store::{Error, Result};

use crate::credentials::{Secret, first_line};

const SCRIPT: &str = r#"#!/bin/sh
case $1 in
*assphrase*) exec head -n 1 -- "$IPVLAND_PASSPHRASE_FILE" ;;
*assword*) exec head -n 1 -- "$IPVLAND_PASSWORD_FILE" ;;
esac
exit 1
"#;

/// The answers for one run of the program.
#[derive(Debug)]
pub(super) struct Answers {
    script: PathBuf,
    passphrase: Option<PathBuf>,
    /// Ours alone, and there for as long as the program runs.
    password: Option<PathBuf>,
}

impl Answers {
    /// Gets the answers ready, or returns `None` where there are none.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) where the file with the passphrase can't be read, or nothing can be written
    /// into `directory`.
    pub(super) fn new(
        directory: &Path,
        passphrase: Option<&Path>,
        password: Option<Secret>,
    ) -> Result<Option<Self>> {
        if passphrase.is_none() && password.is_none() {
            return Ok(None);
        }
        if let Some(file) = passphrase {
            first_line("ssh_key_passphrase_file", file).map_err(Error::refused)?;
        }
        let script = directory.join("ssh-askpass");
        if fs::read_to_string(&script).ok().as_deref() != Some(SCRIPT) {
            write(&script, SCRIPT, 0o700)?;
        }
        let mut answers = Self { script, passphrase: passphrase.map(Path::to_owned), password: None };
        if let Some(secret) = password {
            let file = directory.join(format!("ssh-password-{:016x}", fastrand::u64(..)));
            write(&file, secret.reveal(), 0o600)?;
            answers.password = Some(file);
        }
        Ok(Some(answers))
    }

    /// Tells a command of them.
    pub(super) fn hand_to(&self, command: &mut Command) {
        command.env("SSH_ASKPASS", &self.script).env("SSH_ASKPASS_REQUIRE", "force");
        // Before OpenSSH 8.4 nobody is asked without a display.
        command.env("DISPLAY", std::env::var_os("DISPLAY").unwrap_or_else(|| ":0".into()));
        for (name, file) in
            [("IPVLAND_PASSPHRASE_FILE", &self.passphrase), ("IPVLAND_PASSWORD_FILE", &self.password)]
        {
            match file {
                Some(file) => command.env(name, file),
                None => command.env_remove(name),
            };
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(file) = &self.password {
            // What is left of it is in a directory that only we may read.
            let _ = fs::remove_file(file);
        }
    }
}

fn write(file: &Path, text: &str, mode: u32) -> Result<()> {
    let failed = |why| Error::refused(format!("{} can't be written: {why}", file.display()));
    // Under another name first: the file of a run at the same time stays whole.
    let new = file.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut open = OpenOptions::new();
    let written = open.write(true).create_new(true).mode(mode).open(&new).and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        drop(opened);
        fs::rename(&new, file)
    });
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Asks as ssh does.
    fn ask(answers: &Answers, prompt: &str) -> Option<String> {
        let mut command = Command::new(&answers.script);
        answers.hand_to(&mut command);
        let output = command.arg(prompt).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn each_question_has_its_answer_and_others_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        fs::write(&file, "hunter4\nnot this\n").unwrap();
        let secret = Secret::new("hunter2".to_owned());
        let answers = Answers::new(folder.path(), Some(&file), Some(secret)).unwrap().unwrap();
        assert_eq!(ask(&answers, "Enter passphrase for key '/a': ").as_deref(), Some("hunter4\n"));
        assert_eq!(ask(&answers, "git@git.example's password: ").as_deref(), Some("hunter2"));
        assert_eq!(ask(&answers, "Are you sure you want to continue connecting (yes/no)? "), None);
        let password = answers.password.clone().unwrap();
        assert_eq!(fs::metadata(&password).unwrap().permissions().mode() & 0o777, 0o600);
        drop(answers);
        assert!(!password.exists());
    }

    #[test]
    fn what_is_not_set_is_not_answered() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Answers::new(folder.path(), None, None).unwrap().is_none());
        let secret = Secret::new("hunter2".to_owned());
        let answers = Answers::new(folder.path(), None, Some(secret)).unwrap().unwrap();
        assert_eq!(ask(&answers, "Enter passphrase for key '/a': "), None);
    }
}
