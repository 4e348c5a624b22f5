//! The table `store.git` of the config file.

use std::{fmt, path::PathBuf, time::Duration};

use ipvland_store::{Error, Interval, Result, Setting, parse_duration};
use serde::Deserialize;

/// The keys of the table, for the registry.
pub const SETTINGS: &[Setting] = &[
    Setting::url(
        "repo",
        "where the records live: an http, https, ssh or file URL, user@host:path, or an absolute path; default: a bare \
         repository of its own on this host",
    ),
    Setting::plain("branch", "the branch that holds them; default: the remote's HEAD, main in an empty one"),
    Setting::plain(
        "interval",
        "how often to look without being told: \"500ms\", \"10s\", \"2m\"; default: 10s at first, longer in a large fleet and \
         while hosts tell each other",
    ).incidental(),
    Setting::plain("timeout", "how long the server may be silent; default 10s").incidental(),
    Setting::plain("username", "who logs in, where the URL doesn't say it").incidental(),
    Setting::secret("password", "the password or token; password_file keeps it out of this file"),
    Setting::plain("password_file", "a file whose first line is the password or token").incidental(),
    Setting::plain("ssh_key", "the private key file; default: those that ssh takes by itself").incidental(),
    Setting::plain("ssh_key_passphrase_file", "a file whose first line is the passphrase of ssh_key").incidental(),
    Setting::plain(
        "known_hosts",
        "the file with the ssh servers' host keys; default: ~/.ssh/known_hosts, then /etc/ssh/ssh_known_hosts",
    ).incidental(),
    Setting::plain("ca_file", "a PEM file with further certificate authorities for https").incidental(),
    Setting::plain("client_cert", "a PEM file with this host's certificate for https").incidental(),
    Setting::plain("client_key", "a PEM file with the private key of client_cert; default: client_cert holds it too")
        .incidental(),
    Setting::url(
        "proxy",
        "the proxy for http and https, http://HOST:PORT, or \"direct\"; default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, \
         NO_PROXY in the environment",
    ).incidental(),
];

/// What the table holds, as the operator wrote it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the records live.
    pub repo: Option<String>,
    /// The branch that holds them.
    pub branch: Option<String>,
    /// How often to look: `10s`.
    pub interval: Option<String>,
    /// How long the server may be silent: `10s`.
    pub timeout: Option<String>,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// The private key.
    pub ssh_key: Option<PathBuf>,
    /// A file with the passphrase of the private key.
    pub ssh_key_passphrase_file: Option<PathBuf>,
    /// The file with host keys.
    pub known_hosts: Option<PathBuf>,
    /// Further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// This host's certificate.
    pub client_cert: Option<PathBuf>,
    /// The private key of the certificate.
    pub client_key: Option<PathBuf>,
    /// The proxy, or `direct`.
    pub proxy: Option<String>,
}

impl fmt::Debug for Settings {
    /// Leaves out `repo`, `password` and `proxy`, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("branch", &self.branch)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("password_file", &self.password_file)
            .field("ssh_key", &self.ssh_key)
            .field("known_hosts", &self.known_hosts)
            .field("ca_file", &self.ca_file)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Returns how often to look. Hosts tell each other of what they push, so it may grow unless it is set.
    pub(crate) fn interval(&self) -> Result<Interval> {
        let interval = duration("interval", self.interval.as_deref())?;
        Ok(if self.interval.is_some() { Interval::Pinned(interval) } else { Interval::Adaptive(interval) })
    }

    pub(crate) fn timeout(&self) -> Result<Duration> {
        duration("timeout", self.timeout.as_deref())
    }

    /// Returns the branch's name, checked, if one is set.
    pub(crate) fn branch(&self) -> Result<Option<String>> {
        let Some(branch) = &self.branch else { return Ok(None) };
        // A star would make a pattern of the refspec that the name becomes a part of.
        if branch.contains('*') || !git2::Reference::is_valid_name(&format!("refs/heads/{branch}")) {
            return Err(Error::refused(format!(
                "store.git.branch {:?} is no valid name of a branch: write it as git branch shows it",
                branch
            )));
        }
        Ok(Some(branch.clone()))
    }
}

const DEFAULT_SECONDS: u64 = 10;

fn duration(key: &str, text: Option<&str>) -> Result<Duration> {
    let Some(text) = text else { return Ok(Duration::from_secs(DEFAULT_SECONDS)) };
    parse_duration(&format!("store.git.{key}"), text, Duration::from_millis(10)..=Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_branch_is_a_sentence() {
        for branch in ["", "a b", "*", "../x", "x.lock", "-"] {
            let settings = Settings { branch: Some(branch.into()), ..Settings::default() };
            let answer = settings.branch();
            assert_eq!(answer.is_err(), branch != "-", "{branch}");
        }
    }

    #[test]
    fn every_field_is_a_known_key() {
        for setting in SETTINGS {
            let table = serde_json::json!({ setting.name: "x" });
            serde_json::from_value::<Settings>(table).unwrap();
        }
    }
}
