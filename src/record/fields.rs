//! Typed fields of a JSON object, each error a clause that names the field.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{MAX_NAME_CHARS, Reason};

/// Says what a value is, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Quotes foreign text for a sentence: short, and without anything that a terminal would obey.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 48;
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("{short:?}{dots}")
}

fn mismatch(field: &str, wanted: &str, value: &Value) -> Reason {
    Reason(format!("{field} is {}, not {wanted}", kind_of(value)))
}

/// Takes a field out of an object that must have it.
pub(super) fn take(fields: &mut Map<String, Value>, name: &str, path: &str) -> Result<Value, Reason> {
    fields.remove(name).ok_or_else(|| Reason(format!("{path} is missing")))
}

/// Reads a string.
pub(super) fn string(value: Value, field: &str) -> Result<String, Reason> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(mismatch(field, "a string", &other)),
    }
}

/// Reads an array.
pub(super) fn array(value: Value, field: &str) -> Result<Vec<Value>, Reason> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(mismatch(field, "an array", &other)),
    }
}

/// Reads an object.
pub(super) fn object(value: Value, field: &str) -> Result<Map<String, Value>, Reason> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(mismatch(field, "an object", &other)),
    }
}

/// Reads text that ends up on terminals and in logs: short and printable.
pub(super) fn label(value: Value, field: &str) -> Result<String, Reason> {
    let text = string(value, field)?;
    if text.chars().nth(MAX_NAME_CHARS).is_some() {
        return Err(Reason(format!("{field} is longer than {MAX_NAME_CHARS} characters")));
    }
    match text.chars().find(|c| !is_printable(*c)) {
        None => Ok(text),
        Some(c) => Err(Reason(format!("{field} has the unprintable character U+{:04X}", u32::from(c)))),
    }
}

/// Says whether text is what [`label`] takes.
pub(super) fn is_label(text: &str) -> bool {
    text.chars().nth(MAX_NAME_CHARS).is_none() && text.chars().all(is_printable)
}

/// Control characters start terminal escapes; the others hide text or turn its direction.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Reads an IP address; one that is mapped into IPv6 counts as IPv4.
pub(super) fn address(value: Value, field: &str) -> Result<IpAddr, Reason> {
    let text = string(value, field)?;
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical()),
        Err(_) => Err(Reason(format!("{field} is {}, not an IP address", quote(&text)))),
    }
}

/// Reads a prefix and drops its host bits.
pub(super) fn prefix(value: Value, field: &str) -> Result<IpNet, Reason> {
    let text = string(value, field)?;
    match text.parse::<IpNet>() {
        Ok(prefix) => Ok(prefix.trunc()),
        Err(_) => Err(Reason(format!("{field} is {}, not a prefix such as 10.1.48.0/24", quote(&text)))),
    }
}

/// Checks that a record is about the host that its file names.
pub(super) fn same_host(found: IpAddr, named: IpAddr, field: &str) -> Result<(), Reason> {
    if found == named {
        return Ok(());
    }
    Err(Reason(format!("{field} is {found}, but the file is named after {named}")))
}
