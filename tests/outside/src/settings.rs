//! The table `store.redis` of the config file.

use std::{path::PathBuf, time::Duration};

use ipvland_store::{Error, Result, Setting};
use serde::Deserialize;

/// The keys of the table, for the registry.
pub const SETTINGS: &[Setting] = &[
    Setting::plain(
        "address",
        "where the server listens: \"10.1.1.2:6379\", \"redis.example:6379\", \"[2001:db8::2]:6379\"",
    ),
    Setting::plain("username", "who logs in; default: the server's default user").incidental(),
    Setting::secret("password", "the password; password_file keeps it out of this file"),
    Setting::plain("password_file", "a file whose first line is the password, read at each login")
        .incidental(),
    Setting::plain("database", "the number of the database; default 0"),
    Setting::plain("prefix", "what the store's two keys begin with; default \"ipvland\""),
    Setting::plain("timeout_ms", "how long the server may be silent, in milliseconds; default 5000")
        .incidental(),
];

/// What the table holds, as the operator wrote it. It has no `Debug`, since it may hold the password.
#[derive(Clone, Deserialize)]
pub struct Settings {
    /// Where the server listens.
    pub address: String,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// The number of the database.
    pub database: Option<i64>,
    /// What the store's keys begin with.
    pub prefix: Option<String>,
    /// How long the server may be silent, in milliseconds.
    pub timeout_ms: Option<u64>,
}

impl Settings {
    /// Returns the server's host and port.
    pub(crate) fn host_and_port(&self) -> Result<(String, u16)> {
        let address = &self.address;
        let split =
            address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@']));
        let split = split.and_then(|(host, port)| Some((host, port.parse().ok().filter(|port| *port != 0)?)));
        match split {
            Some((host, port)) => Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)),
            // It isn't shown: somebody may have put a URL with a password here.
            None => Err(Error::refused(
                "store.redis.address is no HOST:PORT: write \"10.1.1.2:6379\", and the password into password_file",
            )),
        }
    }

    pub(crate) fn timeout(&self) -> Result<Duration> {
        match self.timeout_ms.unwrap_or(5000) {
            milliseconds @ 10..=600_000 => Ok(Duration::from_millis(milliseconds)),
            _ => Err(Error::refused("store.redis.timeout_ms must be from 10 to 600000")),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("ipvland")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str) -> Settings {
        serde_json::from_value(serde_json::json!({ "address": address })).unwrap()
    }

    #[test]
    fn addresses_are_split_and_urls_are_not_shown() {
        for (address, host, port) in [
            ("10.1.1.2:6379", "10.1.1.2", 6379),
            ("[2001:db8::2]:7", "2001:db8::2", 7),
            ("r.example:1", "r.example", 1),
        ] {
            assert_eq!(settings(address).host_and_port().unwrap(), (host.to_owned(), port));
        }
        for address in
            ["", "10.1.1.2", ":6379", "h:0", "h:65536", "redis://:geheim@h:6379", "u:geheim@h:6379"]
        {
            let error = settings(address).host_and_port().unwrap_err();
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn every_field_is_a_known_key() {
        let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let known = ["address", "username", "password", "password_file", "database", "prefix", "timeout_ms"];
        assert_eq!(names, known);
        for milliseconds in [0, 9, 600_001] {
            assert!(Settings { timeout_ms: Some(milliseconds), ..settings("h:1") }.timeout().is_err());
        }
    }
}
