//! JSON without repeated keys, and a clause for each way in which a file is no JSON.

use std::fmt;

use ipvland_store::MAX_RECORD_BYTES;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Reason, fields::quote};

/// Parses a whole file. Depth is bounded by serde_json (128 levels), size by the longest record.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Reason> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(Reason(format!("the file is larger than {MAX_RECORD_BYTES} bytes")));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Reason("the file is empty".into()));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Reason(format!("byte {} of the file is not UTF-8", error.valid_up_to() + 1)))?;
    serde_json::from_str::<Unique>(text).map(|unique| unique.0).map_err(|error| {
        // In JSON that parses, no line can start so: a string holds no raw line feed.
        if text.lines().any(|line| line.starts_with("<<<<<<<")) {
            return Reason("the file has the marks of an unresolved merge (\"<<<<<<<\"): resolve it".into());
        }
        Reason(format!("the file is not valid JSON: {error}"))
    })
}

/// A JSON value whose objects repeat no key. `serde_json::Value` would keep the last of them in silence, and a reader
/// of the file may well look at the first.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {} stands twice in one object", quote(&key))));
            }
            let Unique(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
