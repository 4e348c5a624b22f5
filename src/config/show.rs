//! The effective config, each value with where it came from.

use std::fmt::Write as _;

use figment::{Figment, value::Value};
use ipvland_store::Registry;
use serde::Serialize;

use super::schema::{TABLES, keys_of};
use crate::secret;

/// One key of the effective config. A secret is hidden in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The full key: `store.git.branch`.
    pub key: String,
    /// The value, if one is set.
    pub value: Option<serde_json::Value>,
    /// Where it came from: `default`, `ipvland.toml`, `IPVLAND_STORE__KIND`, `--mode`. `default` too where none is set.
    pub source: String,
    /// What counts where none is set, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unset: Option<String>,
}

/// Returns where a value came from.
pub(super) fn source_of(merged: &Figment, key: &str) -> Option<String> {
    merged.find_metadata(key).map(|metadata| metadata.name.to_string())
}

/// Lists every key in the order of the tables, and those of the chosen store after `store.kind`.
pub(super) fn entries(merged: &Figment, kind: &str, registry: &Registry) -> Vec<Entry> {
    let mut entries = Vec::new();
    for table in TABLES {
        for key in keys_of(table) {
            let value = merged.find_value(&key.path()).ok();
            entries.push(entry(merged, key.path(), value, key.unset));
        }
        for setting in registry.settings(kind).unwrap_or_default().iter().filter(|_| table == "store") {
            let path = format!("store.{kind}.{}", setting.name);
            let value = merged.find_value(&path).ok().map(|value| secret::shown(setting.sensitivity, value));
            entries.push(entry(merged, path, value, setting.help));
        }
    }
    entries
}

fn entry(merged: &Figment, key: String, value: Option<Value>, unset: &str) -> Entry {
    let source = source_of(merged, &key).unwrap_or_else(|| "default".into());
    let unset = value.is_none().then(|| unset.to_owned());
    let value = value.and_then(|value| serde_json::to_value(value).ok());
    Entry { key, value, source, unset }
}

/// Prints the entries as a TOML file, with their sources as comments; keys that aren't set are comments as a whole.
pub(crate) fn to_toml(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut last = "";
    let width =
        entries.iter().filter_map(|entry| Some(line(entry)?.chars().count())).max().unwrap_or(0).min(60);
    for entry in entries {
        let (table, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
        if table != last {
            let gap = if last.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{table}]");
            last = table;
        }
        let _ = match line(entry) {
            Some(line) => writeln!(text, "{line:width$}  # {}", entry.source),
            None => writeln!(text, "# {name} is not set: {}", entry.unset.as_deref().unwrap_or_default()),
        };
    }
    text
}

fn line(entry: &Entry) -> Option<String> {
    let (_, name) = entry.key.rsplit_once('.')?;
    // JSON's spelling of texts, numbers and lists of them is TOML's too.
    Some(format!("{name} = {}", entry.value.as_ref()?))
}
