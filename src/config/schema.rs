//! The keys of the config in their order, and what each may hold. The tables of the stores are the stores' own.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use figment::value::{Num, Value};
use ipnet::IpNet;
use ipvland_store::parse_duration;

use super::subnet;
use crate::{logging, parent::Parent};

/// Where DNS servers listen (RFC 1035).
const DNS_PORT: u16 = 53;

/// How long an interval may be.
pub(super) const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// One key of one of our tables.
pub(super) struct Key {
    /// The table.
    pub(super) table: &'static str,
    /// The key.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) form: Form,
    /// What counts where it isn't set, if that is a value.
    pub(super) default: Option<&'static str>,
    /// What counts where it isn't set, in words.
    pub(super) unset: &'static str,
}

impl Key {
    /// Returns the full key: `host.name`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }
}

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A network interface of this host: its name, a pattern, or the subnet of its address.
    Interface,
    /// A host's name.
    HostName,
    /// The address of a host or a gateway.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A subnet, or a list of them.
    Subnets,
    /// An MTU in bytes.
    Mtu,
    /// A number of bits from the first to the last: the length of a prefix.
    Length(u8, u8),
    /// An address or a subnet, or a list of them.
    Addresses,
    /// Yes or no.
    Truth,
    /// The kind of a store; which ones there are is the registry's to say.
    StoreKind,
    /// An absolute path.
    Directory,
    /// A name under `/run/docker/plugins`, or an absolute path.
    Socket,
    /// A level, or a filter in the syntax of tracing's `EnvFilter`.
    Filter,
    /// Addresses with a port each, DNS's where none is said; one, or a list of them.
    Servers,
    /// A duration of 1 s to 1 h.
    Interval,
    /// A port.
    Port,
    /// An address of this host to listen on, or the unspecified one for all.
    Listen,
    /// An address of this host with a port.
    Endpoint,
}

const fn key(table: &'static str, name: &'static str, form: Form, unset: &'static str) -> Key {
    Key { table, name, form, default: None, unset }
}

const fn with_default(table: &'static str, name: &'static str, form: Form, default: &'static str) -> Key {
    Key { table, name, form, default: Some(default), unset: "" }
}

/// The tables, in order.
pub(super) const TABLES: [&str; 7] = ["host", "network", "names", "nudge", "store", "daemon", "log"];

/// The keys, in order.
pub(super) const KEYS: [Key; 30] = [
    key("host", "interface", Form::Interface, "the interface that the default route leaves by"),
    key("host", "address", Form::Address, "the interface's first global address"),
    key("host", "name", Form::HostName, "the hostname"),
    with_default("network", "mode", Form::Choice(&["l2", "l3", "l3s"]), "l2"),
    with_default("network", "flag", Form::Choice(&["bridge", "private", "vepa"]), "bridge"),
    key("network", "subnet", Form::Subnets, "nothing is published at start"),
    key("network", "gateway", Form::Address, "the first address of a subnet, as Docker picks it"),
    key("network", "mtu", Form::Mtu, "the parent's"),
    with_default("network", "host_access", Form::Truth, "false"),
    key("network", "pool", Form::Subnets, "nothing is leased"),
    with_default("network", "prefix_length", Form::Length(8, 31), "24"),
    with_default("network", "prefix_length6", Form::Length(16, 127), "64"),
    with_default("network", "block_length", Form::Length(8, 32), "28"),
    with_default("network", "block_length6", Form::Length(64, 128), "112"),
    key("network", "reserved", Form::Addresses, "nothing but gateways and the hosts' own addresses"),
    with_default("names", "enabled", Form::Truth, "false"),
    key("names", "listen", Form::Servers, "this host's address, port 53"),
    key("names", "upstream", Form::Servers, "those of /etc/resolv.conf"),
    with_default("names", "docker", Form::Directory, "/run/docker.sock"),
    with_default("names", "interval", Form::Interval, "10s"),
    with_default("nudge", "enabled", Form::Truth, "true"),
    with_default("nudge", "port", Form::Port, "4214"),
    key("nudge", "listen", Form::Listen, "this host's address"),
    key("nudge", "webhook", Form::Endpoint, "no webhooks are heard"),
    key("nudge", "webhook_secret_file", Form::Directory, "no webhooks are heard"),
    with_default("store", "kind", Form::StoreKind, "git"),
    with_default("daemon", "state_dir", Form::Directory, "/var/lib/ipvland"),
    with_default("daemon", "socket", Form::Socket, "/run/docker/plugins/ipvland.sock"),
    with_default("log", "level", Form::Filter, "info"),
    with_default("log", "format", Form::Choice(&["human", "json"]), "human"),
];

/// Returns the keys of a table, in order.
pub(super) fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

impl Form {
    /// Checks a value and brings it into its one form: an MTU is a number, subnets are a list, a socket is a path.
    ///
    /// Text that came from a variable or a flag (`text`) may stand for a number or a list.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key.
    pub(super) fn read(self, value: &Value, text: bool) -> Result<Value, String> {
        match self {
            Self::Mtu => {
                // An IPv4 link carries at least 68 bytes (RFC 791); the length field of IP ends at 65535.
                self.read_number(value, text, 68, 65_535)
            }
            Self::Port => self.read_number(value, text, 1, 65_535),
            Self::Length(least, most) => self.read_number(value, text, least.into(), most.into()),
            Self::Subnets => read_subnets(self, value, text, subnet::parse),
            Self::Addresses => read_subnets(self, value, text, subnet::parse_part),
            Self::Servers => self.read_servers(value, text),
            Self::Truth => read_truth(value, text),
            _ => {
                let wanted = self.wanted();
                let Some(word) = value.as_str() else {
                    return Err(format!("must be {wanted}, in quotes, not {}", spell(value)));
                };
                self.check_word(word).map(Value::from)
            }
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::Interface => {
                "the name of an interface such as \"eth2\", a pattern such as \"en*\", or the subnet of its address".into()
            }
            Self::HostName => "a name, such as \"web-1\"".into(),
            Self::Address => "an address, such as \"10.1.1.48\"".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Subnets => "a subnet such as \"10.1.48.0/24\", or a list of them".into(),
            Self::Mtu => "a whole number of bytes from 68 to 65535".into(),
            Self::Length(least, most) => format!("a whole number of bits from {least} to {most}"),
            Self::Addresses => "an address such as \"10.1.1.1\", a subnet, or a list of them".into(),
            Self::Servers => {
                "an address such as \"10.1.1.1\" or \"127.0.0.5:53\", or a list of them".into()
            }
            Self::Interval => "a duration from 1s to 1h, such as \"10s\"".into(),
            Self::Port => "a port, a whole number from 1 to 65535".into(),
            Self::Listen => "an address of this host, such as \"10.1.1.48\", or \"0.0.0.0\" for all".into(),
            Self::Endpoint => "an address of this host with a port, such as \"10.1.1.48:4215\"".into(),
            Self::Truth => "true or false".into(),
            Self::StoreKind => "the kind of a store, such as \"git\"".into(),
            Self::Directory => "an absolute path".into(),
            Self::Socket => "a name under /run/docker/plugins, or an absolute path".into(),
            Self::Filter => {
                "a level (error, warn, info, debug, trace) or a filter such as \"info,ipvland=debug\"".into()
            }
        }
    }

    fn check_word(self, word: &str) -> Result<String, String> {
        let printable = !word.is_empty() && !word.contains(|c: char| c.is_control() || c.is_whitespace());
        let fits = match self {
            Self::Interface => word.parse::<Parent>().is_ok(),
            Self::HostName => printable && word.len() <= 253,
            Self::Address => return read_address(word).ok_or_else(|| self.refuse(word)),
            Self::Choice(words) => words.contains(&word),
            Self::Directory => word.starts_with('/'),
            Self::Socket if word.contains('/') => word.starts_with('/'),
            Self::Socket if printable => {
                let name = word.strip_suffix(".sock").unwrap_or(word);
                return Ok(format!("/run/docker/plugins/{name}.sock"));
            }
            Self::Socket => false,
            Self::Filter => logging::parse_filter(word).is_some(),
            Self::Interval => parse_duration("", word, INTERVALS).is_ok(),
            Self::Listen => word.parse::<IpAddr>().is_ok_and(|address| !address.is_multicast()),
            Self::Endpoint => {
                word.parse::<SocketAddr>().is_ok_and(|at| at.port() != 0 && !at.ip().is_multicast())
            }
            Self::StoreKind
            | Self::Subnets
            | Self::Addresses
            | Self::Mtu
            | Self::Length(..)
            | Self::Port
            | Self::Servers
            | Self::Truth => true,
        };
        if fits { Ok(word.to_owned()) } else { Err(self.refuse(word)) }
    }

    fn read_servers(self, value: &Value, text: bool) -> Result<Value, String> {
        let words = words_of(value, text)
            .ok_or_else(|| format!("must be {}, not {}", self.wanted(), spell(value)))?;
        let servers = words.into_iter().map(|word| {
            let server = word.parse::<SocketAddr>().ok();
            let server = server.or_else(|| Some(SocketAddr::new(word.parse().ok()?, DNS_PORT)));
            let usable = |server: &SocketAddr| {
                server.port() != 0 && !(server.ip().is_unspecified() || server.ip().is_multicast())
            };
            server
                .filter(usable)
                .map(|server| Value::from(server.to_string()))
                .ok_or_else(|| self.refuse(word))
        });
        servers.collect::<Result<Vec<_>, _>>().map(Value::from)
    }

    fn read_number(self, value: &Value, text: bool, least: i128, most: i128) -> Result<Value, String> {
        let number = match value {
            Value::String(_, word) if text => word.trim().parse::<i128>().ok(),
            value => whole(value),
        };
        match number.filter(|number| (least..=most).contains(number)).map(u32::try_from) {
            Some(Ok(number)) => Ok(Value::from(number)),
            _ => Err(format!("must be {}, not {}", self.wanted(), spell(value))),
        }
    }

    fn refuse(self, word: &str) -> String {
        format!("must be {}, not {word:?}", self.wanted())
    }
}

fn read_address(word: &str) -> Option<String> {
    let address: IpAddr = word.parse().ok()?;
    let usable = !(address.is_unspecified() || address.is_loopback() || address.is_multicast());
    usable.then(|| address.to_string())
}

fn read_truth(value: &Value, text: bool) -> Result<Value, String> {
    let truth = match value {
        Value::Bool(_, truth) => Some(*truth),
        Value::String(_, word) if text => word.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    };
    let wrong = || format!("must be {}, not {}", Form::Truth.wanted(), spell(value));
    truth.map(Value::from).ok_or_else(wrong)
}

fn read_subnets(
    form: Form,
    value: &Value,
    text: bool,
    parse: fn(&str) -> Result<IpNet, String>,
) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {}", form.wanted(), spell(value));
    let words = words_of(value, text).ok_or_else(wrong)?;
    let mut subnets: Vec<IpNet> = Vec::new();
    for word in words {
        let subnet = parse(word)?;
        if let Some(other) = subnets.iter().find(|other| other.contains(&subnet) || subnet.contains(*other)) {
            return Err(format!("names {subnet}, which overlaps {other}: name each address once"));
        }
        subnets.push(subnet);
    }
    Ok(Value::from(subnets.iter().map(|subnet| Value::from(subnet.to_string())).collect::<Vec<_>>()))
}

/// Returns the words of a list, or of a text that stands for one.
fn words_of(value: &Value, text: bool) -> Option<Vec<&str>> {
    match value {
        Value::String(_, word) if text => {
            Some(word.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
        }
        Value::String(_, word) => Some(vec![word]),
        Value::Array(_, items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Returns a whole number, whichever width the parser gave it.
fn whole(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| i128::try_from(value.to_u128()?).ok())
}

/// Spells a value for a sentence. None of our own keys holds a secret.
fn spell(value: &Value) -> String {
    match value {
        Value::String(_, word) => format!("{word:?}"),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, Num::F32(number)) => number.to_string(),
        Value::Num(_, Num::F64(number)) => number.to_string(),
        Value::Num(..) => whole(value).map_or_else(|| "a number".into(), |number| number.to_string()),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        _ => "nothing".into(),
    }
}
