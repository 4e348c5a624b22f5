//! The names of a host's containers: a file of its own beside the record, `endpoints/10.1.1.48.names.json`.
//!
//! It is apart because it changes with every container that starts, and routes must not care.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytes::Bytes;
use ipvland_store::Key;
use serde_json::{Map, Value, json};

use super::{MAX_NAME_CHARS, Reason, fields, json};

const VERSION: u64 = 1;

/// How the keys of names end; those of records are an address and `.json`.
const ENDING: &str = ".names.json";

/// The most names of a host, over all its networks.
pub const MAX_HOST_NAMES: usize = 500;

/// The most addresses of one name on one host.
pub const MAX_ADDRESSES: usize = 64;

/// Addresses by the names of containers by the names of their networks, all in lower case.
pub type Names = BTreeMap<String, BTreeMap<String, BTreeSet<IpAddr>>>;

/// The names that one host tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesRecord {
    /// The address that names the host.
    pub host: IpAddr,
    /// The stable id of the machine.
    pub id: String,
    /// The names.
    pub names: Names,
}

impl NamesRecord {
    /// Returns the key of the names of a host: `10.1.1.48.names.json`.
    pub fn key(host: IpAddr) -> Key {
        let name = format!("{}{ENDING}", host.to_canonical());
        #[allow(clippy::expect_used, reason = "an address has digits, dots and colons, and at most 39 bytes")]
        Key::parse(&name).expect("an address makes a key")
    }

    /// Says whether a key is one of names, and so of no record.
    pub fn is_key(key: &Key) -> bool {
        key.as_str().ends_with(ENDING)
    }

    /// Returns the host that a key of names is about.
    pub fn host_of(key: &Key) -> Option<IpAddr> {
        let address: IpAddr = key.as_str().strip_suffix(ENDING)?.parse().ok()?;
        Some(address.to_canonical())
    }

    /// Parses names as they lie in the store under a key.
    ///
    /// # Errors
    /// A [`Reason`] when the file is malformed, of an unknown version, not about the host that its key names, or holds a
    /// name that DNS can't have.
    pub fn parse(key: &Key, bytes: &[u8]) -> Result<Self, Reason> {
        let Some(host) = Self::host_of(key) else {
            return Err(Reason(
                "the file is not named after a host's address, as 10.1.1.48.names.json is".into(),
            ));
        };
        let mut all = fields::object(json::parse(bytes)?, "the file")?;
        match fields::take(&mut all, "version", "version")? {
            Value::Number(version) if version.as_u64() == Some(VERSION) => {}
            other => {
                return Err(Reason(format!(
                    "version is {}, which this ipvland doesn't understand",
                    fields::quote(&other.to_string())
                )));
            }
        }
        fields::same_host(fields::address(fields::take(&mut all, "host", "host")?, "host")?, host, "host")?;
        let id = fields::label(fields::take(&mut all, "id", "id")?, "id")?;
        let names = parse_networks(fields::object(fields::take(&mut all, "names", "names")?, "names")?)?;
        Ok(Self { host, id, names })
    }

    /// Returns the file as it is written: pretty-printed with sorted keys and a line feed at the end.
    pub fn to_bytes(&self) -> Bytes {
        let all = json!({ "version": VERSION, "host": self.host, "id": self.id, "names": self.names });
        Bytes::from(format!("{all:#}\n"))
    }

    /// Returns how many bytes a file without names may take.
    pub fn bytes_of_an_empty_one() -> usize {
        // An id is at most `MAX_NAME_CHARS` characters of at most 6 bytes, escaped; the rest is an address and words.
        MAX_NAME_CHARS * 6 + 256
    }

    /// Returns how many bytes an address may add to a file, as [`NamesRecord::to_bytes`] writes it, with its name and its
    /// network where those are new.
    pub fn bytes_of_an_entry(network: Option<&str>, name: Option<&str>, address: IpAddr) -> usize {
        // Indentation, quotes, colon, brackets, commas and line feeds of the three levels.
        let level = |text: Option<&str>| text.map_or(0, |text| text.len() + 24);
        level(network) + level(name) + address.to_string().len() + 12
    }

    /// Returns how many names it holds.
    pub fn count(&self) -> usize {
        self.names.values().map(BTreeMap::len).sum()
    }
}

/// Says whether DNS can have this as one label: 1 to 63 letters, digits, hyphens and, as Docker's names do, underscores.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
        && ends.into_iter().all(|end| end.is_some_and(|b| *b != b'-'))
}

fn parse_networks(networks: Map<String, Value>) -> Result<Names, Reason> {
    let mut all = Names::new();
    let mut count = 0;
    for (network, names) in networks {
        let network = label(&network, "names has the network")?;
        let names = fields::object(names, &format!("names.{network}"))?;
        count += names.len();
        if count > MAX_HOST_NAMES {
            return Err(Reason(format!("the file has more than {MAX_HOST_NAMES} names")));
        }
        for (name, addresses) in names {
            let name = label(&name, &format!("names.{network} has the name"))?;
            let field = format!("names.{network}.{name}");
            let items = fields::array(addresses, &field)?;
            if items.is_empty() || items.len() > MAX_ADDRESSES {
                return Err(Reason(format!(
                    "{field} has {} addresses, not 1 to {MAX_ADDRESSES}",
                    items.len()
                )));
            }
            let numbered = items.into_iter().enumerate();
            let addresses: BTreeSet<IpAddr> = numbered
                .map(|(index, item)| fields::address(item, &format!("{field}[{index}]")))
                .collect::<Result<_, _>>()?;
            all.entry(network.clone()).or_default().entry(name).or_default().extend(addresses);
        }
    }
    Ok(all)
}

fn label(text: &str, what: &str) -> Result<String, Reason> {
    const { assert!(63 < MAX_NAME_CHARS) };
    if is_label(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Reason(format!("{what} {}, which is no label of DNS", fields::quote(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NamesRecord, Reason> {
        NamesRecord::parse(&NamesRecord::key("10.1.1.51".parse().unwrap()), text.as_bytes())
    }

    fn with(names: &str) -> String {
        format!("{{\"version\": 1, \"host\": \"10.1.1.51\", \"id\": \"a\", \"names\": {names}}}")
    }

    #[test]
    fn what_is_written_is_read() {
        let text = "\
{
  \"host\": \"10.1.1.51\",
  \"id\": \"a\",
  \"names\": {
    \"net1\": {
      \"db\": [
        \"10.1.51.7\",
        \"2001:db8:51::7\"
      ]
    }
  },
  \"version\": 1
}
";
        let names = parse(text).unwrap();
        assert_eq!(names.count(), 1);
        assert_eq!(names.to_bytes(), text);
        assert_eq!(parse(&with("{\"NET1\": {\"Db\": [\"10.1.51.7\", \"2001:db8:51::7\"]}}")), Ok(names));
    }

    #[test]
    fn keys_of_names_are_none_of_records() {
        let key = NamesRecord::key("2001:db8:1::48".parse().unwrap());
        assert_eq!(key.as_str(), "2001:db8:1::48.names.json");
        assert!(NamesRecord::is_key(&key));
        assert_eq!(super::super::Record::host_of(&key), None);
        assert!(!NamesRecord::is_key(&super::super::Record::key("10.1.1.48".parse().unwrap())));
    }

    #[test]
    fn a_hostile_file_is_refused_with_a_clause() {
        for (names, clause) in [
            (
                "{\"net1\": {\"\\u001b[2J\": [\"10.1.51.7\"]}}",
                "names.net1 has the name \"\\u{1b}[2J\", which is no label of DNS",
            ),
            ("{\"a.b\": {}}", "names has the network \"a.b\", which is no label of DNS"),
            (
                "{\"net1\": {\"-\": [\"10.1.51.7\"]}}",
                "names.net1 has the name \"-\", which is no label of DNS",
            ),
            ("{\"net1\": {\"\": [\"10.1.51.7\"]}}", "names.net1 has the name \"\", which is no label of DNS"),
            ("{\"net1\": {\"db\": []}}", "names.net1.db has 0 addresses, not 1 to 64"),
            ("{\"net1\": {\"db\": [\"x\\n\"]}}", "names.net1.db[0] is \"x\\n\", not an IP address"),
            ("{\"net1\": {\"db\": \"10.1.51.7\"}}", "names.net1.db is a string, not an array"),
            ("[]", "names is an array, not an object"),
        ] {
            assert_eq!(parse(&with(names)).unwrap_err().0, clause);
        }
        let many: Vec<_> = (0..501).map(|n| format!("\"n{n}\": [\"10.1.51.7\"]")).collect();
        let many = with(&format!("{{\"net1\": {{{}}}}}", many.join(",")));
        assert_eq!(parse(&many).unwrap_err().0, "the file has more than 500 names");
        let other = with("{}").replace("10.1.1.51", "10.1.1.52");
        assert_eq!(parse(&other).unwrap_err().0, "host is 10.1.1.52, but the file is named after 10.1.1.51");
        assert_eq!(
            parse("{\"version\": \"x\"}").unwrap_err().0,
            "version is \"\\\"x\\\"\", which this ipvland doesn't understand"
        );
    }

    #[test]
    fn labels() {
        for good in ["db", "DB-1", "proj_db_1", "_x", "9", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "ä", "a b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
