//! Records as files, or as one JSON document.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use ipvland_store::Snapshot;
use serde_json::{Map, Value, json};

use super::{Opened, Trouble};

/// Writes every record into a new or empty directory, a file each, its bytes as they are; returns what was done, in a
/// sentence.
///
/// # Errors
/// A sentence: the directory holds something, or can't be written.
pub(crate) fn to_directory(store: &Opened, snapshot: &Snapshot, dir: &Path) -> Result<String, Trouble> {
    let shown = dir.display();
    let failed = |error: io::Error| Trouble::Failed(format!("cannot write {shown}: {error}"));
    fs::create_dir_all(dir).map_err(failed)?;
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Trouble::Usage(format!("the directory {shown} is not empty: name a new one")));
    }
    for (key, bytes) in &snapshot.records {
        let file = OpenOptions::new().write(true).create_new(true).open(dir.join(key.as_str()));
        file.and_then(|mut file| file.write_all(bytes)).map_err(failed)?;
    }
    let mut words = format!(
        "all of {store} at revision {} is in {shown}, records: {}",
        snapshot.revision,
        snapshot.records.len()
    );
    for stray in &snapshot.strays {
        words.push_str(&format!("\nnot a record: {} ({})", stray.name, stray.reason));
    }
    Ok(words)
}

/// Returns all records as one JSON document. Records that are JSON stand in it as values, by file, under `records`; others
/// as text under `escaped`, each byte that is not printable ASCII as `\x1b`.
pub(crate) fn to_json(store: &Opened, snapshot: &Snapshot) -> Value {
    let (mut records, mut escaped) = (Map::new(), Map::new());
    for (key, bytes) in &snapshot.records {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => records.insert(key.to_string(), value),
            Err(_) => escaped.insert(key.to_string(), bytes.escape_ascii().to_string().into()),
        };
    }
    let strays = snapshot.strays.iter();
    let strays: Vec<_> = strays.map(|stray| json!({ "name": stray.name, "reason": stray.reason })).collect();
    json!({
        "kind": store.kind,
        "location": store.location,
        "revision": snapshot.revision.as_str(),
        "records": records,
        "escaped": escaped,
        "strays": strays,
    })
}
