//! What is held, on disk: a JSON object from what was leased to its kind.

use std::{collections::BTreeMap, io, path::Path};

use ipnet::IpNet;

use super::Kind;
use crate::durable;

/// Reads the file; one that is not there holds nothing.
pub(super) fn read(path: &Path) -> Result<BTreeMap<IpNet, Kind>, String> {
    let file = path.display();
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "cannot read what this host leases from {file}: {error}; put back the \"blocks\" and the \"host\" \
                 prefixes of its record in the store, or, if none of its containers runs, remove the file"
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(format!("cannot read {file}: {error}")),
    }
}

/// Writes the file.
pub(super) fn write(path: &Path, held: &BTreeMap<IpNet, Kind>) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(held).map_err(io::Error::other);
    text.and_then(|text| durable::write(path, &text)).map_err(|error| {
        format!("cannot write {}: {error}: check that the disk has room and is writable", path.display())
    })
}
