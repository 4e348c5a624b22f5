//! Who logs in at the cluster.

use std::{fmt, fs, path::PathBuf};

use ipvland_store::{Error, Result};

use crate::settings::Settings;

/// A password that neither `Debug` nor `Display` shows.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// Returns the password, for the client alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A user and where the password is.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    password: Password,
}

#[derive(Debug)]
enum Password {
    Given(Secret),
    /// Read anew at each login, so that it may be changed while the daemon runs.
    File(PathBuf),
}

impl Login {
    /// Gathers the login from the settings; `None` where nobody logs in.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when a part is missing or given twice.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>> {
        let password = match (&settings.password, &settings.password_file) {
            (Some(_), Some(_)) => {
                return Err(Error::refused(
                    "store.etcd has both password and password_file: remove one of them",
                ));
            }
            (Some(password), None) => Some(Password::Given(Secret(password.clone()))),
            (None, Some(file)) => Some(Password::File(file.clone())),
            (None, None) => None,
        };
        match (&settings.username, password) {
            (None, None) => Ok(None),
            (Some(username), Some(password)) if !username.is_empty() => {
                Ok(Some(Self { username: username.clone(), password }))
            }
            (Some(_), Some(_)) => {
                Err(Error::refused("store.etcd.username is empty: write the name of an etcd user"))
            }
            (Some(_), None) => Err(Error::refused(
                "store.etcd has a username and no password: set store.etcd.password_file, or remove the username",
            )),
            (None, Some(_)) => {
                Err(Error::refused("store.etcd has a password and no username: set store.etcd.username"))
            }
        }
    }

    /// Returns the password.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the file can't be read or is empty.
    pub(crate) fn password(&self) -> Result<Secret> {
        let file = match &self.password {
            Password::Given(secret) => return Ok(secret.clone()),
            Password::File(file) => file,
        };
        let text = fs::read_to_string(file).map_err(|error| {
            Error::refused(format!("store.etcd.password_file {} can't be read: {error}", file.display()))
        })?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
            _ => Err(Error::refused(format!(
                "store.etcd.password_file {} is empty: write the password into its first line",
                file.display()
            ))),
        }
    }
}
