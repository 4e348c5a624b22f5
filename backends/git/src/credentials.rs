//! Who logs in at the Git server, and how often it is tried.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use git2::{Cred, CredentialType, ErrorClass, ErrorCode};
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
    keys: Vec<PathBuf>,
    passphrase_file: Option<PathBuf>,
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
        let keys = match &settings.ssh_key {
            Some(key) => vec![key.clone()],
            None => default_keys(),
        };
        Ok(Self {
            username: settings.username.clone().or(user.username),
            password,
            keys,
            passphrase_file: settings.ssh_key_passphrase_file.clone(),
        })
    }

    /// Returns user and password for HTTP, if there is a password.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the password's file can't be read.
    pub(crate) fn basic(&self) -> Result<Option<(&str, Secret)>> {
        let password = self.password().map_err(Error::refused)?;
        Ok(password.map(|password| (self.username.as_deref().unwrap_or(DEFAULT_USER), password)))
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
                self.username.as_deref().unwrap_or(DEFAULT_USER)
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

    /// Starts a login at an ssh server. libgit2 asks again and again while the server says no, so each thing is shown once.
    pub(crate) fn attempt(&self, address: &Address) -> Attempt {
        Attempt {
            login: self.clone(),
            address: address.clone(),
            keys: self.keys.clone().into_iter(),
            showed_password: false,
            showed: Vec::new(),
        }
    }
}

fn default_keys() -> Vec<PathBuf> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) else {
        return Vec::new();
    };
    ["id_ed25519", "id_ecdsa", "id_rsa"]
        .iter()
        .map(|name| home.join(".ssh").join(name))
        .filter(|key| key.is_file())
        .collect()
}

/// One login at one server.
pub(crate) struct Attempt {
    login: Login,
    address: Address,
    keys: std::vec::IntoIter<PathBuf>,
    showed_password: bool,
    showed: Vec<String>,
}

impl Attempt {
    /// Answers libgit2's question for credentials.
    ///
    /// # Errors
    /// The sentence for the operator when there is nothing left to show.
    pub(crate) fn answer(
        &mut self,
        url_user: Option<&str>,
        allowed: CredentialType,
    ) -> std::result::Result<Cred, String> {
        let user = self.login.username.as_deref().or(url_user).unwrap_or(DEFAULT_USER).to_owned();
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(&user).map_err(|error| error.message().to_owned());
        }
        if allowed.contains(CredentialType::SSH_KEY)
            && let Some(key) = self.keys.next()
        {
            self.showed.push(format!("the key {}", key.display()));
            return self.key(&user, &key);
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) && !self.showed_password {
            self.showed_password = true;
            if let Some(password) = self.login.password()? {
                self.showed.push("the password".to_owned());
                return Cred::userpass_plaintext(&user, password.reveal())
                    .map_err(|error| error.message().to_owned());
            }
        }
        Err(self.refusal(&user))
    }

    fn key(&self, user: &str, key: &Path) -> std::result::Result<Cred, String> {
        fs::File::open(key)
            .map_err(|error| format!("store.git.ssh_key {} can't be read: {error}", key.display()))?;
        let passphrase = match &self.login.passphrase_file {
            Some(file) => Some(first_line("ssh_key_passphrase_file", file)?),
            None => None,
        };
        Cred::ssh_key(user, None, key, passphrase.as_ref().map(Secret::reveal))
            .map_err(|error| error.message().to_owned())
    }

    fn refusal(&self, user: &str) -> String {
        let host = self.address.host();
        let shown = &self.address.shown;
        match self.showed.as_slice() {
            [] => format!(
                "the git server {host} wants an ssh key for {shown}, and there is none: set store.git.ssh_key"
            ),
            showed => format!(
                "the git server {host} refused {} of user {user:?} for {shown}: add the public key to the server's \
                 authorized_keys, or set another store.git.ssh_key (a key with a passphrase needs \
                 store.git.ssh_key_passphrase_file)",
                showed.join(" and ")
            ),
        }
    }
}

/// Turns a sentence into the error that stops libgit2 from asking.
pub(crate) fn stop(why: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, why)
}

fn first_line(key: &str, file: &Path) -> std::result::Result<Secret, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("store.git.{key} {} can't be read: {error}", file.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => {
            Err(format!("store.git.{key} {} is empty: write the secret into its first line", file.display()))
        }
    }
}
