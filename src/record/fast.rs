//! Records as `ipvland` writes them, read without a detour: a start reads all of a fleet's.
//!
//! What is in any way unusual, an unknown field or an escaped letter, is none of these, and is left to the readers that know
//! all cases and say what is wrong.

use std::{fmt, marker::PhantomData, net::IpAddr};

use ipnet::IpNet;
use ipvland_store::MAX_RECORD_BYTES;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Map;

use super::{MAX_BLOCKS, MAX_NETWORKS, MAX_NEXT_HOPS, MAX_PREFIXES, Record, RecordNetwork, Underlay, fields};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<'a> {
    version: u64,
    host: &'a str,
    #[serde(borrow, default, deserialize_with = "there")]
    id: Option<&'a str>,
    #[serde(borrow, default)]
    name: &'a str,
    #[serde(borrow)]
    next_hops: Vec<&'a str>,
    #[serde(borrow)]
    networks: Vec<Object<Network<'a>>>,
    #[serde(borrow, default)]
    blocks: Vec<&'a str>,
    #[serde(borrow, default, deserialize_with = "there")]
    underlay: Option<Object<Kind<'a>>>,
    #[serde(default, deserialize_with = "there")]
    #[expect(dead_code, reason = "it is empty")]
    meta: Option<Object<Empty>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network<'a> {
    name: &'a str,
    #[serde(borrow)]
    prefixes: Vec<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind<'a> {
    kind: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// Reads a field that may be missing, but not null.
fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What is a JSON object and nothing else: serde takes an array for a struct as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
    }
}

/// Reads a record, or nothing where it is not one of these.
pub(super) fn parse(host: IpAddr, bytes: &[u8]) -> Option<Record> {
    if bytes.len() > MAX_RECORD_BYTES {
        return None;
    }
    let Object(whole) = serde_json::from_slice::<Object<Whole<'_>>>(bytes).ok()?;
    let underlay = whole.underlay.map_or("direct", |Object(underlay)| underlay.kind);
    let labels = whole.id.into_iter().chain([whole.name]);
    let sizes = [(whole.networks.len(), MAX_NETWORKS), (whole.blocks.len(), MAX_BLOCKS)];
    let is_sound = whole.version == 1
        && address(whole.host)? == host
        && underlay == "direct"
        && (1..=MAX_NEXT_HOPS).contains(&whole.next_hops.len())
        && sizes.into_iter().all(|(size, most)| size <= most)
        && labels.into_iter().all(fields::is_label);
    if !is_sound {
        return None;
    }
    let mut networks = Vec::with_capacity(whole.networks.len());
    let mut count = 0;
    for Object(network) in whole.networks {
        count += network.prefixes.len();
        if count > MAX_PREFIXES || !fields::is_label(network.name) {
            return None;
        }
        let prefixes = prefixes(&network.prefixes)?;
        networks.push(RecordNetwork { name: network.name.to_owned(), prefixes, unknown: Map::new() });
    }
    Some(Record {
        host,
        id: whole.id.map(str::to_owned),
        name: whole.name.to_owned(),
        next_hops: exactly(whole.next_hops.iter().map(|text| address(text)))?,
        networks,
        blocks: prefixes(&whole.blocks)?,
        underlay: Underlay::Direct,
        meta: Map::new(),
        unknown: Map::new(),
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn prefixes(texts: &[&str]) -> Option<Vec<IpNet>> {
    exactly(texts.iter().map(|text| text.parse::<IpNet>().ok().map(|prefix| prefix.trunc())))
}

/// Gathers values without room for more: a record stays as it is, and there are many.
fn exactly<T>(values: impl ExactSizeIterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut all = Vec::with_capacity(values.len());
    for value in values {
        all.push(value?);
    }
    Some(all)
}
