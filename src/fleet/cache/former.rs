//! The file as earlier versions wrote it: one JSON object, anew at every change. It is read only.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use ipvland_store::{Key, Revision};
use serde::Deserialize;

use super::Saved;
use crate::record::NamesRecord;

#[derive(Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    store: String,
    revision: String,
    records: BTreeMap<String, String>,
    #[serde(default)]
    held: BTreeMap<String, String>,
    #[serde(default)]
    swapped: bool,
}

/// Reads the file.
///
/// # Errors
/// What the file system says, and [`InvalidData`](io::ErrorKind::InvalidData) where it is none.
pub(super) fn read(file: &mut impl io::BufRead) -> io::Result<Saved> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    match serde_json::from_slice::<File>(&bytes) {
        Ok(file) if file.version == 1 => {
            let (names, records): (Vec<_>, Vec<_>) =
                entries(file.records).partition(|(key, _)| NamesRecord::is_key(key));
            Ok(Saved {
                place: file.store,
                revision: Revision::new(file.revision),
                records: records.into_iter().collect(),
                names: names.into_iter().collect(),
                held: entries(file.held).collect(),
                swapped: file.swapped,
            })
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn entries(texts: BTreeMap<String, String>) -> impl Iterator<Item = (Key, Bytes)> {
    texts.into_iter().filter_map(|(name, text)| Some((Key::parse(&name).ok()?, Bytes::from(text))))
}
