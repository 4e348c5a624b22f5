//! The first plugin's record: `[{"Endpoint": "10.1.1.51", "Network": "10.1.51.0/24", "Meta": "", "SegID": 0}]`.
//!
//! An array of one or more objects, keys in any letter case, one prefix each. What it has no use for is ignored.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{LEGACY_NETWORK, MAX_PREFIXES, Reason, Record, RecordNetwork, Underlay, fields};

pub(super) fn parse(host: IpAddr, items: Vec<Value>) -> Result<Record, Reason> {
    if items.is_empty() {
        return Err(Reason("the array has no entry".into()));
    }
    if items.len() > MAX_PREFIXES {
        return Err(Reason(format!("the array has more than {MAX_PREFIXES} entries")));
    }
    let mut prefixes = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = |field: &str| format!("[{index}].{field}");
        let mut entry = lower_case(fields::object(item, &format!("[{index}]"))?, index)?;
        let endpoint = path("Endpoint");
        let found = fields::address(fields::take(&mut entry, "endpoint", &endpoint)?, &endpoint)?;
        fields::same_host(found, host, &endpoint)?;
        let network = path("Network");
        prefixes.push(fields::prefix(fields::take(&mut entry, "network", &network)?, &network)?);
    }
    Ok(Record {
        host,
        id: None,
        name: String::new(),
        next_hops: vec![host],
        networks: vec![RecordNetwork { name: LEGACY_NETWORK.into(), prefixes, unknown: Map::new() }],
        blocks: Vec::new(),
        underlay: Underlay::Direct,
        meta: Map::new(),
        unknown: Map::new(),
    })
}

/// Go's JSON decoder matched keys in any case, so files in any case exist.
fn lower_case(entry: Map<String, Value>, index: usize) -> Result<Map<String, Value>, Reason> {
    let mut lower = Map::new();
    for (key, value) in entry {
        let key = key.to_ascii_lowercase();
        if lower.contains_key(&key) {
            return Err(Reason(format!("[{index}] has the key {} twice", fields::quote(&key))));
        }
        lower.insert(key, value);
    }
    Ok(lower)
}
