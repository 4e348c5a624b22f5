//! Version 1 of the record, read and written.

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{
    MAX_BLOCKS, MAX_NETWORKS, MAX_NEXT_HOPS, MAX_PREFIXES, Reason, Record, RecordNetwork, Underlay, fields,
};

const VERSION: u64 = 1;

pub(super) fn parse(host: IpAddr, mut all: Map<String, Value>) -> Result<Record, Reason> {
    // The version comes first: what another version means by its fields is not for us to judge.
    match fields::take(&mut all, "version", "version")? {
        Value::Number(version) if version.as_u64() == Some(VERSION) => {}
        Value::Number(version) => {
            return Err(Reason(format!("version {version} is not understood by this ipvland; upgrade it")));
        }
        other => return Err(Reason(format!("version is {}, not a number", fields::kind_of(&other)))),
    }
    fields::same_host(fields::address(fields::take(&mut all, "host", "host")?, "host")?, host, "host")?;
    let id = all.remove("id").map(|id| fields::label(id, "id")).transpose()?;
    let name = all.remove("name").map(|name| fields::label(name, "name")).transpose()?.unwrap_or_default();
    let next_hops = parse_next_hops(fields::take(&mut all, "next_hops", "next_hops")?)?;
    let networks = parse_networks(fields::take(&mut all, "networks", "networks")?)?;
    let blocks = all.remove("blocks").map(parse_blocks).transpose()?.unwrap_or_default();
    let (underlay, underlay_unknown) = parse_underlay(all.remove("underlay"))?;
    let meta = all.remove("meta").map(|meta| fields::object(meta, "meta")).transpose()?.unwrap_or_default();
    if !underlay_unknown.is_empty() {
        all.insert("underlay".into(), Value::Object(underlay_unknown));
    }
    Ok(Record { host, id, name, next_hops, networks, blocks, underlay, meta, unknown: all })
}

fn parse_next_hops(value: Value) -> Result<Vec<IpAddr>, Reason> {
    let items = fields::array(value, "next_hops")?;
    if items.is_empty() || items.len() > MAX_NEXT_HOPS {
        return Err(Reason(format!("next_hops has {} addresses, not 1 to {MAX_NEXT_HOPS}", items.len())));
    }
    let numbered = items.into_iter().enumerate();
    numbered.map(|(index, item)| fields::address(item, &format!("next_hops[{index}]"))).collect()
}

fn parse_networks(value: Value) -> Result<Vec<RecordNetwork>, Reason> {
    let items = fields::array(value, "networks")?;
    if items.len() > MAX_NETWORKS {
        return Err(Reason(format!("networks has {} entries, more than {MAX_NETWORKS}", items.len())));
    }
    let mut networks = Vec::with_capacity(items.len());
    let mut count = 0;
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("networks[{index}]");
        let mut unknown = fields::object(item, &path)?;
        let field = format!("{path}.name");
        let name = fields::label(fields::take(&mut unknown, "name", &field)?, &field)?;
        let field = format!("{path}.prefixes");
        let items = fields::array(fields::take(&mut unknown, "prefixes", &field)?, &field)?;
        count += items.len();
        if count > MAX_PREFIXES {
            return Err(Reason(format!("the record has more than {MAX_PREFIXES} prefixes")));
        }
        let numbered = items.into_iter().enumerate();
        let prefixes = numbered
            .map(|(position, item)| fields::prefix(item, &format!("{field}[{position}]")))
            .collect::<Result<_, _>>()?;
        networks.push(RecordNetwork { name, prefixes, unknown });
    }
    Ok(networks)
}

fn parse_blocks(value: Value) -> Result<Vec<IpNet>, Reason> {
    let items = fields::array(value, "blocks")?;
    if items.len() > MAX_BLOCKS {
        return Err(Reason(format!("blocks has {} entries, more than {MAX_BLOCKS}", items.len())));
    }
    let numbered = items.into_iter().enumerate();
    numbered.map(|(index, item)| fields::prefix(item, &format!("blocks[{index}]"))).collect()
}

/// Returns the underlay, and the unknown fields of a direct one.
fn parse_underlay(value: Option<Value>) -> Result<(Underlay, Map<String, Value>), Reason> {
    let Some(value) = value else { return Ok((Underlay::Direct, Map::new())) };
    let mut rest = fields::object(value, "underlay")?;
    let kind = fields::label(fields::take(&mut rest, "kind", "underlay.kind")?, "underlay.kind")?;
    Ok(match kind.as_str() {
        "direct" => (Underlay::Direct, rest),
        _ => (Underlay::Unknown(kind, rest), Map::new()),
    })
}

pub(super) fn write(record: &Record) -> Bytes {
    let mut all = record.unknown.clone();
    let (kind, mut underlay) = match (&record.underlay, all.remove("underlay")) {
        (Underlay::Direct, Some(Value::Object(unknown))) => ("direct", unknown),
        (Underlay::Direct, _) => ("direct", Map::new()),
        (Underlay::Unknown(kind, rest), _) => (kind.as_str(), rest.clone()),
    };
    underlay.insert("kind".into(), kind.into());
    let networks = record.networks.iter().map(|network| {
        let mut fields = network.unknown.clone();
        fields.insert("name".into(), network.name.clone().into());
        fields.insert("prefixes".into(), json!(network.prefixes));
        Value::Object(fields)
    });
    all.insert("networks".into(), networks.collect());
    all.insert("version".into(), VERSION.into());
    all.insert("host".into(), json!(record.host));
    if let Some(id) = &record.id {
        all.insert("id".into(), id.clone().into());
    }
    all.insert("name".into(), record.name.clone().into());
    all.insert("next_hops".into(), json!(record.next_hops));
    if !record.blocks.is_empty() {
        all.insert("blocks".into(), json!(record.blocks));
    }
    all.insert("underlay".into(), Value::Object(underlay));
    all.insert("meta".into(), Value::Object(record.meta.clone()));
    // `{:#}` is the pretty printer of serde_json, which can't fail on a value; its maps are sorted by key.
    Bytes::from(format!("{:#}\n", Value::Object(all)))
}
