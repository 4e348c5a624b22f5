//! Who logs in at the Git server, and how often it is tried.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use ipvland_store::{Error, Result};

use crate::{
    address::{Address, UserInfo},
    settings::Settings,
};

/// A password that neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the password, for the server alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What may be shown to a server to log in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    username: Option<String>,
    password: Password,
    has_passphrase: bool,
}

#[derive(Debug, Clone)]
enum Password {
    None,
    Given(Secret),
    /// Read anew at each login, so that a token may be changed while the daemon runs.
    File(PathBuf),
}

/// The user that Git servers expect over ssh, and that HTTP servers which look at the token alone take as well.
const DEFAULT_USER: &str = "git";

impl Login {
    /// Gathers the login from the URL's own part and the settings, which come first.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the password is given twice.
    pub(crate) fn new(settings: &Settings, user: UserInfo) -> Result<Self> {
        let password = match (&settings.password, &settings.password_file, user.password) {
            (Some(_), Some(_), _) => {
                return Err(Error::refused(
                    "store.git has both password and password_file: remove one of them",
                ));
            }
            (Some(password), None, _) => Password::Given(Secret::new(password.clone())),
            (None, Some(file), _) => Password::File(file.clone()),
            (None, None, Some(password)) => Password::Given(password),
            (None, None, None) => Password::None,
        };
        Ok(Self {
            username: settings.username.clone().or(user.username),
            password,
            has_passphrase: settings.ssh_key_passphrase_file.is_some(),
        })
    }

    /// Returns who logs in.
    pub(crate) fn user(&self) -> &str {
        self.username.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// Says whether the ssh key has a passphrase, by the settings.
    pub(crate) fn has_passphrase(&self) -> bool {
        self.has_passphrase
    }

    /// Returns the password, if there is one.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when its file can't be read.
    pub(crate) fn secret(&self) -> Result<Option<Secret>> {
        self.password().map_err(Error::refused)
    }

    /// Returns user and password for HTTP, if there is a password.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the password's file can't be read.
    pub(crate) fn basic(&self) -> Result<Option<(&str, Secret)>> {
        Ok(self.secret()?.map(|password| (self.user(), password)))
    }

    /// Says that an HTTP server let nobody in.
    pub(crate) fn http_refusal(&self, address: &Address) -> Error {
        let (host, shown) = (address.host(), &address.shown);
        Error::refused(match self.password {
            Password::None => format!(
                "the git server {host} wants a user and a password for {shown}: set store.git.username and \
                 store.git.password_file"
            ),
            _ => format!(
                "the git server {host} refused the password of user {:?} for {shown}: correct store.git.username and \
                 store.git.password_file, or what stands in the URL",
                self.user()
            ),
        })
    }

    fn password(&self) -> std::result::Result<Option<Secret>, String> {
        match &self.password {
            Password::None => Ok(None),
            Password::Given(secret) => Ok(Some(secret.clone())),
            Password::File(file) => first_line("password_file", file).map(Some),
        }
    }
}

/// Reads a secret from the first line of a file.
///
/// # Errors
/// The sentence for the operator.
pub(crate) fn first_line(key: &str, file: &Path) -> std::result::Result<Secret, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("store.git.{key} {} can't be read: {error}", file.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => {
            Err(format!("store.git.{key} {} is empty: write the secret into its first line", file.display()))
        }
    }
}
