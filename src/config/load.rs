//! From layers to a config: each layer is checked by itself, so that a sentence names the place; figment merges them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use figment::{
    Figment,
    value::{Dict, Value},
};
use ipnet::IpNet;
use ipvland_store::{Registry, Setting, parse_duration};
use serde::de::DeserializeOwned;

use super::{
    Config, ConfigError, DaemonConfig, Entry, HostConfig, LogConfig, NamesConfig, NetworkConfig, NudgeConfig,
    StoreConfig,
    layer::{self, Layer},
    schema::{self, KEYS, TABLES},
    show,
};
use crate::secret;

/// A value that a flag gives.
#[derive(Clone, PartialEq)]
pub struct Override {
    /// The flag: `--mode`.
    pub flag: &'static str,
    /// The key: `network.mode`.
    pub key: &'static str,
    /// The value as it was typed.
    pub value: String,
}

/// Where a config comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`; by default the one under `/etc/ipvland`, if there is any.
    pub file: Option<PathBuf>,
    /// The environment, or the part of it that starts with `IPVLAND_`, and `RUST_LOG`.
    pub environment: Vec<(String, String)>,
    /// The flags, the last one of a key counts.
    pub flags: Vec<Override>,
    /// Whether `--git-multihost` was given: the store is Git, and there must be a repository.
    pub git_multihost: bool,
}

/// A config, and what else is to be told about it.
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// Each key in order, with where its value came from, secrets hidden.
    pub entries: Vec<Entry>,
    /// What an operator ought to hear once, a sentence each: a secret lies open somewhere.
    pub warnings: Vec<String>,
}

/// Reads the config: defaults, then the file, then the environment, then flags.
///
/// # Errors
/// One sentence that names the place and the key. It never shows a secret.
pub fn load(sources: &Sources, registry: &Registry) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    for key in &KEYS {
        // A default is written as a variable would be: text, even where the key holds a number or a truth.
        let default = key.default.map(Value::from);
        let value = default.map(|value| key.form.read(&value, true).unwrap_or(value));
        layers.extend(value.map(|value| Layer::one("default", &key.path(), value)));
    }
    if let Some(path) = layer::find(sources.file.as_deref())? {
        let (file, open) = layer::read(&path)?;
        let layer = check(file, false, registry)?;
        warnings.extend(
            secrets_of(&layer, registry).filter(|_| open).map(|key| secret::open_file_warning(&path, &key)),
        );
        layers.push(layer);
    }
    for layer in layer::environment(&sources.environment) {
        layers.push(check(layer, true, registry)?);
    }
    if sources.git_multihost {
        layers.push(check(Layer::one("--git-multihost", "store.kind", Value::from("git")), true, registry)?);
    }
    for flag in &sources.flags {
        let layer = check(Layer::one(flag.flag, flag.key, Value::from(flag.value.as_str())), true, registry)?;
        warnings.extend(secrets_of(&layer, registry).map(|_| secret::command_line_warning(flag.flag)));
        layers.push(layer);
    }
    let merged = layers.into_iter().fold(Figment::new(), Figment::merge);
    let config = build(&merged, registry)?;
    if sources.git_multihost && config.store.kind == "git" && !merged.contains("store.git.repo") {
        return Err(ConfigError::NoRepository);
    }
    let of_store =
        |flag: &&Override| flag.key.strip_prefix("store.").and_then(|key| key.split_once('.')).is_some();
    for flag in sources.flags.iter().filter(of_store) {
        if !flag.key.starts_with(&format!("store.{}.", config.store.kind)) {
            warnings.push(format!(
                "{} sets {}, which store.kind = {:?} does not read",
                flag.flag, flag.key, config.store.kind
            ));
        }
    }
    let entries = show::entries(&merged, &config.store.kind, registry);
    Ok(Loaded { config, entries, warnings })
}

/// Checks the keys and values of one layer, and brings the values into their one form.
fn check(mut layer: Layer, text: bool, registry: &Registry) -> Result<Layer, ConfigError> {
    drop_empty(&mut layer.dict);
    let origin = layer.origin.clone();
    for (name, value) in &mut layer.dict {
        let Some(table) = TABLES.into_iter().find(|table| table == name) else {
            return Err(unknown(&origin, name, TABLES.map(String::from).to_vec()));
        };
        for (key, value) in table_of(&origin, table, value)? {
            let path = format!("{table}.{key}");
            if let Some(known) = schema::keys_of(table).find(|known| known.name == key) {
                let read = known.form.read(value, text).map_err(|problem| wrong(&origin, &path, problem))?;
                *value = read;
            } else if table == "store" && registry.settings(key).is_some() {
                check_store(&origin, key, value, text, registry)?;
            } else if table == "store" && registry.left_out().any(|kind| kind == key) {
                // The hosts of a fleet may share a file and differ in their builds. What the keys of a store that isn't
                // in this one are, nobody can say here.
                table_of(&origin, &path, value)?;
            } else {
                let stores = registry.kinds().chain(registry.left_out()).filter(|_| table == "store");
                let known =
                    schema::keys_of(table).map(|key| key.name).chain(stores).map(String::from).collect();
                return Err(unknown(&origin, &path, known));
            }
        }
    }
    Ok(layer)
}

/// Checks the table of a store, of the chosen one and of others alike, so that swapping them is one line.
fn check_store(
    origin: &str,
    kind: &str,
    value: &mut Value,
    text: bool,
    registry: &Registry,
) -> Result<(), ConfigError> {
    let settings = registry.settings(kind).unwrap_or_default();
    for (key, value) in table_of(origin, &format!("store.{kind}"), value)? {
        if !settings.iter().any(|setting| setting.name == key) {
            let known = settings.iter().map(|setting| setting.name.to_owned()).collect();
            return Err(unknown(origin, &format!("store.{kind}.{key}"), known));
        }
        if text {
            type_text(kind, key, value, registry);
        }
    }
    Ok(())
}

/// Makes a number, a truth or a list of a text, where the store takes that and not the text. So a password of digits
/// stays a text, and `IPVLAND_STORE__ETCD__ENDPOINTS=["https://10.1.1.2:2379"]` is a list.
fn type_text(kind: &str, key: &str, value: &mut Value, registry: &Registry) {
    let Some(typed) = value.as_str().and_then(|text| text.parse::<Value>().ok()) else { return };
    let answer = |table: serde_json::Value| registry.check(kind, &table).map_err(|error| error.to_string());
    let with = |value: &Value| answer(serde_json::json!({ key: value }));
    // A store may miss other keys in a table of one; what counts is whether this key changes its answer.
    let without = answer(serde_json::json!({}));
    let fits = |answer: Result<(), String>| answer.is_ok() || answer == without;
    if !fits(with(value)) && fits(with(&typed)) {
        *value = typed;
    }
}

/// Merged layers to the typed config.
fn build(merged: &Figment, registry: &Registry) -> Result<Config, ConfigError> {
    let kind: String = required(merged, "store.kind")?;
    if let Some(why_not) = registry.why_not(&kind) {
        let problem = format!("{kind:?} {why_not}");
        return Err(wrong(&origin_of(merged, "store.kind"), "store.kind", problem));
    }
    let table = match merged.find_value(&format!("store.{kind}")) {
        Ok(value) => serde_json::to_value(value).unwrap_or_default(),
        Err(_) => serde_json::json!({}),
    };
    registry
        .check(&kind, &table)
        .map_err(|error| store_error(merged, &kind, registry, &error.to_string()))?;
    let network = NetworkConfig {
        mode: required(merged, "network.mode")?,
        flag: required(merged, "network.flag")?,
        subnet: optional::<Vec<IpNet>>(merged, "network.subnet")?.unwrap_or_default(),
        gateway: optional::<IpAddr>(merged, "network.gateway")?,
        mtu: optional(merged, "network.mtu")?,
        host_access: required(merged, "network.host_access")?,
        pool: optional::<Vec<IpNet>>(merged, "network.pool")?.unwrap_or_default(),
        prefix_length: required(merged, "network.prefix_length")?,
        prefix_length6: required(merged, "network.prefix_length6")?,
        block_length: required(merged, "network.block_length")?,
        block_length6: required(merged, "network.block_length6")?,
        reserved: optional::<Vec<IpNet>>(merged, "network.reserved")?.unwrap_or_default(),
    };
    check_pools(merged, &network)?;
    let nudge = NudgeConfig {
        enabled: required(merged, "nudge.enabled")?,
        port: required(merged, "nudge.port")?,
        listen: optional(merged, "nudge.listen")?,
        webhook: optional(merged, "nudge.webhook")?,
        webhook_secret_file: optional(merged, "nudge.webhook_secret_file")?,
    };
    if nudge.webhook.is_some() && nudge.webhook_secret_file.is_none() {
        let problem = "needs nudge.webhook_secret_file: a file whose first line is the secret of the Git server's webhook";
        return Err(wrong(&origin_of(merged, "nudge.webhook"), "nudge.webhook", problem.into()));
    }
    Ok(Config {
        host: HostConfig {
            interface: optional(merged, "host.interface")?,
            address: optional::<IpAddr>(merged, "host.address")?,
            name: optional(merged, "host.name")?,
        },
        network,
        names: NamesConfig {
            enabled: required(merged, "names.enabled")?,
            listen: optional::<Vec<SocketAddr>>(merged, "names.listen")?.unwrap_or_default(),
            upstream: optional::<Vec<SocketAddr>>(merged, "names.upstream")?.unwrap_or_default(),
            docker: required(merged, "names.docker")?,
            interval: interval(merged, "names.interval")?,
        },
        nudge,
        store: StoreConfig { kind, table },
        daemon: DaemonConfig {
            state_dir: required(merged, "daemon.state_dir")?,
            socket: required(merged, "daemon.socket")?,
        },
        log: LogConfig {
            filter: required(merged, "log.level")?,
            json: required::<String>(merged, "log.format")? == "json",
        },
    })
}

/// Checks that a prefix of the wanted length fits into each pool.
fn check_pools(merged: &Figment, network: &NetworkConfig) -> Result<(), ConfigError> {
    let small = network.pool.iter().find(|pool| pool.prefix_len() > network.prefix_length_in(**pool));
    let Some(pool) = small else { return Ok(()) };
    let length = network.prefix_length_in(*pool);
    let key = if pool.addr().is_ipv4() { "network.prefix_length" } else { "network.prefix_length6" };
    let problem = format!(
        "holds {pool}, which is smaller than one prefix of length {length}: name a larger pool, or raise {key}"
    );
    Err(wrong(&origin_of(merged, "network.pool"), "network.pool", problem))
}

fn optional<T: DeserializeOwned>(merged: &Figment, key: &str) -> Result<Option<T>, ConfigError> {
    let Ok(value) = merged.find_value(key) else { return Ok(None) };
    // The layers were checked, so this fails only where a form and its type disagree.
    value.deserialize().map(Some).map_err(|_| wrong(&origin_of(merged, key), key, "has a wrong type".into()))
}

fn required<T: DeserializeOwned>(merged: &Figment, key: &str) -> Result<T, ConfigError> {
    optional(merged, key)?.ok_or_else(|| wrong("default", key, "has no value".into()))
}

fn interval(merged: &Figment, key: &str) -> Result<Duration, ConfigError> {
    let text: String = required(merged, key)?;
    parse_duration(key, &text, schema::INTERVALS)
        .map_err(|_| wrong(&origin_of(merged, key), key, "has a wrong type".into()))
}

/// Puts the place of the key that the store's sentence names in front of it.
fn store_error(merged: &Figment, kind: &str, registry: &Registry, problem: &str) -> ConfigError {
    let named = registry.settings(kind).unwrap_or_default().iter().find_map(|setting| {
        let key = format!("store.{kind}.{}", setting.name);
        let mut words =
            problem.split(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '`' | '"' | '\''));
        (merged.contains(&key) && words.any(|word| word == key)).then_some(key)
    });
    let origin = origin_of(merged, named.as_deref().unwrap_or("store.kind"));
    ConfigError::Store { origin, problem: problem.to_owned() }
}

/// Returns the place of a value as a sentence begins with it.
fn origin_of(merged: &Figment, key: &str) -> String {
    match show::source_of(merged, key) {
        Some(name) if name.starts_with("IPVLAND_") => format!("environment: {name}"),
        Some(name) => name,
        None => "default".into(),
    }
}

fn secrets_of<'a>(layer: &'a Layer, registry: &'a Registry) -> impl Iterator<Item = String> + 'a {
    let store = layer.dict.get("store").and_then(Value::as_dict);
    let tables = store.into_iter().flatten().filter_map(|(kind, table)| Some((kind, table.as_dict()?)));
    tables.flat_map(move |(kind, table)| {
        let settings: &[Setting] = registry.settings(kind).unwrap_or_default();
        let set = settings.iter().filter_map(|setting| Some((setting, table.get(setting.name)?)));
        set.filter(|(setting, value)| secret::is_in(setting.sensitivity, value))
            .map(move |(setting, _)| format!("store.{kind}.{}", setting.name))
    })
}

/// YAML writes an empty table as a null, which says nothing.
fn drop_empty(dict: &mut Dict) {
    dict.retain(|_, value| !matches!(value, Value::Empty(..)));
    for value in dict.values_mut() {
        if let Value::Dict(_, inner) = value {
            drop_empty(inner);
        }
    }
}

fn table_of<'a>(origin: &str, path: &str, value: &'a mut Value) -> Result<&'a mut Dict, ConfigError> {
    match value {
        Value::Dict(_, dict) => Ok(dict),
        _ => Err(wrong(origin, path, "must be a table".into())),
    }
}

fn unknown(origin: &str, key: &str, known: Vec<String>) -> ConfigError {
    ConfigError::UnknownKey { origin: origin.to_owned(), key: key.to_owned(), known }
}

fn wrong(origin: &str, key: &str, problem: String) -> ConfigError {
    ConfigError::Value { origin: origin.to_owned(), key: key.to_owned(), problem }
}
