//! The table `store.etcd` of the config file.

use std::{fmt, path::PathBuf, time::Duration};

use ipvland_store::{Result, Setting, parse_duration};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// The keys of the table, for the registry.
pub const SETTINGS: &[Setting] = &[
    Setting::url(
        "endpoints",
        "the members of the cluster: a list of URLs such as [\"https://10.1.1.2:2379\"], or one text with commas; the \
         next one is asked where one doesn't answer",
    ),
    Setting::plain("prefix", "what the keys start with, one prefix a fleet; default /ipvland"),
    Setting::plain("username", "who logs in; by default nobody does, or the client certificate says it")
        .incidental(),
    Setting::secret("password", "the password; password_file keeps it out of this file"),
    Setting::plain("password_file", "a file whose first line is the password").incidental(),
    Setting::plain(
        "ca_file",
        "a PEM file with the certificate authorities for https; default: those of the system",
    )
    .incidental(),
    Setting::plain(
        "cert_file",
        "a PEM file with this host's client certificate, and those between it and the authority",
    )
    .incidental(),
    Setting::plain("key_file", "a PEM file with the private key of cert_file").incidental(),
    Setting::plain(
        "server_name",
        "the name that the members' certificates are for; default: the host in the URL",
    )
    .incidental(),
    Setting::plain(
        "timeout",
        "how long one member may take to answer: \"500ms\", \"5s\", \"1m\"; default 5s",
    )
    .incidental(),
];

/// What the table holds, as the operator wrote it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The URLs of the members.
    #[serde(deserialize_with = "list")]
    pub endpoints: Vec<String>,
    /// What the keys start with.
    pub prefix: Option<String>,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// The certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The client certificate.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// The name that the members' certificates are for.
    pub server_name: Option<String>,
    /// How long one member may take to answer: `5s`.
    pub timeout: Option<String>,
}

impl fmt::Debug for Settings {
    /// Leaves out `endpoints`, where somebody may have written a password, and `password`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &self.prefix)
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("server_name", &self.server_name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How long a member may take by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

impl Settings {
    pub(crate) fn timeout(&self) -> Result<Duration> {
        let Some(text) = &self.timeout else { return Ok(DEFAULT_TIMEOUT) };
        parse_duration("store.etcd.timeout", text, Duration::from_millis(100)..=Duration::from_secs(600))
    }
}

/// Reads a list of texts, or one text with commas, which is what an environment variable can hold.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of URLs, such as [\"https://10.1.1.2:2379\"]")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            // A list in the form of TOML or JSON is one for whoever reads variables.
            if text.trim_start().starts_with('[') {
                return Err(E::invalid_type(de::Unexpected::Str(text), &self));
            }
            Ok(text.split(',').map(|part| part.trim().to_owned()).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(part) = parts.next_element::<String>()? {
                list.push(part);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(List)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_a_list_or_one_text_with_commas() {
        let read = |value| serde_json::from_value::<Settings>(json!({ "endpoints": value }));
        assert_eq!(read(json!(["a", "b"])).unwrap().endpoints, ["a", "b"]);
        assert_eq!(read(json!("a, b")).unwrap().endpoints, ["a", "b"]);
        for value in [json!(5), json!("[\"a\"]"), json!([5]), json!(null)] {
            assert!(read(value).is_err());
        }
    }

    #[test]
    fn every_field_is_a_known_key() {
        for setting in SETTINGS {
            let mut table = json!({ "endpoints": "x" });
            table[setting.name] = "x".into();
            serde_json::from_value::<Settings>(table).unwrap();
        }
    }
}
