//! The endpoint record: what one host tells the others.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | `json` | JSON without repeated keys, and why a file is no JSON |
//! | `fields` | typed fields of a JSON object, with clauses that name the field |
//! | `current` | version 1, read and written |
//! | `fast` | version 1 as `ipvland` writes it, read without a detour |
//! | `plain` | version 1 without anything unknown, written without a detour |
//! | `legacy` | the first plugin's array, read only |
//! | `names` | the names of a host's containers, a file of their own |

mod current;
mod fast;
mod fields;
mod json;
mod legacy;
mod names;
mod plain;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use ipvland_store::Key;
use serde_json::{Map, Value};

pub use names::{MAX_ADDRESSES, MAX_HOST_NAMES, Names, NamesRecord, is_label};

/// What one host tells the others: who it is, how it is reached, and the prefixes behind it.
///
/// One JSON file a host, `endpoints/ADDRESS.json`. The first plugin's array of objects is read too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The address on the parent interface that names the host.
    pub host: IpAddr,
    /// The stable id of the machine; the first plugin's records have none.
    pub id: Option<String>,
    /// The host's name; empty where the record has none.
    pub name: String,
    /// The addresses that packets for the prefixes are sent to, at most one of each family is used.
    pub next_hops: Vec<IpAddr>,
    /// The networks and their prefixes.
    pub networks: Vec<RecordNetwork>,
    /// The blocks of subnets shared with other hosts that this host alone gives addresses from. Nothing is routed for them.
    pub blocks: Vec<IpNet>,
    /// How packets get to the host.
    pub underlay: Underlay,
    /// What operators add; never interpreted.
    pub meta: Map<String, Value>,
    /// Fields of the record that this version does not know, kept when a host writes its own record anew.
    ///
    /// Unknown fields of a direct underlay are kept here too, in an object under `underlay`.
    pub unknown: Map<String, Value>,
}

/// A network in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordNetwork {
    /// Its name.
    pub name: String,
    /// Its prefixes, without host bits.
    pub prefixes: Vec<IpNet>,
    /// Fields that this version does not know.
    pub unknown: Map<String, Value>,
}

/// How packets get from host to host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Underlay {
    /// The next hop is on the same segment.
    Direct,
    /// A kind that this version does not know, with its fields.
    Unknown(String, Map<String, Value>),
}

/// Why a record, or one prefix of it, is refused: one lower-case clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub String);

/// The most networks in a record.
pub const MAX_NETWORKS: usize = 256;

/// The most prefixes in a record, over all its networks.
pub const MAX_PREFIXES: usize = 1024;

/// The most blocks in a record.
pub const MAX_BLOCKS: usize = 1024;

/// The longest name, id or kind in a record, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// The most next hops in a record.
pub const MAX_NEXT_HOPS: usize = 16;

/// The name of the network that the prefixes of a record of the first plugin belong to.
pub const LEGACY_NETWORK: &str = "legacy";

impl Record {
    /// Returns the key of the record of a host: `10.1.1.48.json`, `2001:db8:1::48.json`.
    ///
    /// An IPv4 address that is mapped into IPv6 counts as IPv4, and IPv6 is written as RFC 5952 says.
    pub fn key(host: IpAddr) -> Key {
        let name = format!("{}.json", host.to_canonical());
        #[allow(clippy::expect_used, reason = "an address has digits, dots and colons, and at most 39 bytes")]
        Key::parse(&name).expect("an address makes a key")
    }

    /// Returns the host that a key names, with or without `.json`: `10.1.1.48.json`, `10.1.1.48`.
    pub fn host_of(key: &Key) -> Option<IpAddr> {
        let name = key.as_str();
        let address: IpAddr = name.strip_suffix(".json").unwrap_or(name).parse().ok()?;
        Some(address.to_canonical())
    }

    /// Parses a record as it lies in the store under a key.
    ///
    /// Host bits of a prefix are dropped: `10.1.100.10/24` means 10.1.100.0/24, as it did for the first plugin.
    ///
    /// # Errors
    /// A [`Reason`] when it is malformed, of an unknown version, or not about the host that its key names.
    pub fn parse(key: &Key, bytes: &[u8]) -> Result<Self, Reason> {
        let Some(host) = Self::host_of(key) else {
            return Err(Reason("the file is not named after a host's address, as 10.1.1.48.json is".into()));
        };
        if let Some(record) = fast::parse(host, bytes) {
            return Ok(record);
        }
        Self::parse_any(host, bytes)
    }

    /// Parses a record that may be anything.
    fn parse_any(host: IpAddr, bytes: &[u8]) -> Result<Self, Reason> {
        match json::parse(bytes)? {
            Value::Object(fields) => current::parse(host, fields),
            Value::Array(items) => legacy::parse(host, items),
            other => Err(Reason(format!("the record is {}, not a JSON object", fields::kind_of(&other)))),
        }
    }

    /// Returns the record as it is written: pretty-printed with sorted keys and a line feed at the end.
    pub fn to_bytes(&self) -> Bytes {
        plain::write(self).map_or_else(|| current::write(self), Bytes::from)
    }

    /// Returns every prefix with the name of its network.
    pub fn prefixes(&self) -> impl Iterator<Item = (&str, IpNet)> {
        self.networks.iter().flat_map(|n| n.prefixes.iter().map(move |p| (n.name.as_str(), *p)))
    }
}
