//! Reads a store's table of the config file into its type, with errors that name the key and never show the value.

use std::{cell::RefCell, fmt};

use serde::de::{
    DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
    value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
};
use serde_json::Value;

use crate::{Sensitivity, Setting};

/// Reads a table. The error is what follows "store.KIND" in the sentence for the operator.
pub(crate) fn read<T: DeserializeOwned>(
    table: serde_json::Map<String, Value>,
    settings: &[Setting],
) -> Result<T, String> {
    let current = RefCell::new(None);
    let entries = table.into_iter().inspect(|(key, _)| {
        current.replace(Some(key.clone()));
    });
    let entries = entries.map(|(key, value)| (key, Typed(value)));
    T::deserialize(MapDeserializer::new(entries)).map_err(|fault| match fault {
        Fault::Missing(key) => format!(" has no {key}, which it needs"),
        Fault::Expected { expected, found } => at(&current, format!(" must be {expected}, and is {found}")),
        Fault::Custom(words) => {
            let key = current.borrow();
            let setting = settings.iter().find(|setting| Some(setting.name) == key.as_deref());
            match setting.map(|setting| setting.sensitivity) {
                Some(Sensitivity::Plain) => at(&current, format!(": {words}")),
                // The words are the store author's, and may quote the value.
                _ => at(&current, " has a value that the store can't use".to_owned()),
            }
        }
    })
}

fn at(key: &RefCell<Option<String>>, words: String) -> String {
    key.borrow().as_ref().map_or_else(|| words.clone(), |key| format!(".{key}{words}"))
}

/// What is wrong with a value, without the value.
#[derive(Debug)]
enum Fault {
    Missing(&'static str),
    Expected { expected: String, found: &'static str },
    Custom(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "no {key}"),
            Self::Expected { expected, found } => write!(f, "must be {expected}, and is {found}"),
            Self::Custom(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::Custom(words.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected { expected: expected.to_string(), found: name(found) }
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected { expected: expected.to_string(), found: "not" }
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::Expected { expected: format!("one of {}", known.join(", ")), found: "not" }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::Missing(key)
    }
}

fn name(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}

/// A value whose errors are [`Fault`]s; serde_json's own quote it.
struct Typed(Value);

impl<'de> IntoDeserializer<'de, Fault> for Typed {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Typed {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => visitor.visit_string(value),
            Value::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Typed))),
            Value::Object(table) => visitor
                .visit_map(MapDeserializer::new(table.into_iter().map(|(key, value)| (key, Typed(value))))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Object(table) => visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(
                table.into_iter().map(|(key, value)| (key, Typed(value))),
            ))),
            _ => Err(Fault::Expected { expected: "a name".to_owned(), found: "something else" }),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
