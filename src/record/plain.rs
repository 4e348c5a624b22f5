//! Writes a record that has nothing unknown in it, without a detour: what is kept in memory is compared with what lies in
//! the store, for all of a fleet's records.

use std::fmt::Write as _;

use super::{Record, Underlay};

/// Returns what [`current::write`](super::current::write) does, or nothing for a record with fields that are not known.
pub(super) fn write(record: &Record) -> Option<String> {
    let is_plain = record.underlay == Underlay::Direct
        && record.meta.is_empty()
        && record.unknown.is_empty()
        && record.networks.iter().all(|network| network.unknown.is_empty());
    if !is_plain {
        return None;
    }
    let mut text = String::with_capacity(512);
    text.push('{');
    if !record.blocks.is_empty() {
        text.push_str("\n  \"blocks\": ");
        list(&mut text, 4, &record.blocks)?;
        text.push(',');
    }
    write!(text, "\n  \"host\": \"{}\"", record.host).ok()?;
    if let Some(id) = &record.id {
        text.push_str(",\n  \"id\": ");
        quote(&mut text, id)?;
    }
    text.push_str(",\n  \"meta\": {},\n  \"name\": ");
    quote(&mut text, &record.name)?;
    text.push_str(",\n  \"networks\": [");
    for (index, network) in record.networks.iter().enumerate() {
        text.push_str(if index == 0 { "\n    {\n      \"name\": " } else { ",\n    {\n      \"name\": " });
        quote(&mut text, &network.name)?;
        text.push_str(",\n      \"prefixes\": ");
        list(&mut text, 8, &network.prefixes)?;
        text.push_str("\n    }");
    }
    text.push_str(if record.networks.is_empty() { "]" } else { "\n  ]" });
    text.push_str(",\n  \"next_hops\": ");
    list(&mut text, 4, &record.next_hops)?;
    text.push_str(",\n  \"underlay\": {\n    \"kind\": \"direct\"\n  },\n  \"version\": 1\n}\n");
    Some(text)
}

/// Writes addresses or prefixes, which need no escapes.
fn list<T: std::fmt::Display>(text: &mut String, indent: usize, items: &[T]) -> Option<()> {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\n{:indent$}\"{item}\"", "").ok()?;
    }
    if items.is_empty() {
        text.push(']');
    } else {
        let outer = indent - 2;
        write!(text, "\n{:outer$}]", "").ok()?;
    }
    Some(())
}

fn quote(text: &mut String, value: &str) -> Option<()> {
    if value.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        write!(text, "\"{value}\"").ok()
    } else {
        text.push_str(&serde_json::to_string(value).ok()?);
        Some(())
    }
}
