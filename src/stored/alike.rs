//! What two stores held alike when they were last copied, in either direction: a file in the state directory.
//!
//! Without it a copy works as well, and leaves more of the target as it is.

use std::{collections::BTreeMap, io, path::PathBuf};

use bytes::Bytes;
use ipvland_store::Key;
use serde::{Deserialize, Serialize};

use super::{Opened, open::usable, sync::Records};
use crate::durable;

/// The file for a pair of stores.
#[derive(Debug)]
pub(super) struct Alike {
    /// `None` where there is no state directory to keep it in.
    path: Option<PathBuf>,
    pair: [String; 2],
    /// Why it isn't kept, or was not read.
    pub(super) warning: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    stores: [String; 2],
    records: BTreeMap<String, String>,
}

impl Alike {
    /// Finds the file of two stores; it is the same in both directions.
    pub(super) fn of(a: &Opened, b: &Opened) -> Self {
        let mut pair = [a.place.clone(), b.place.clone()];
        pair.sort();
        let state_dir = (&a.state_dir).min(&b.state_dir);
        let dir = state_dir.join("copies");
        match usable(state_dir, &dir) {
            Ok(()) => {
                let path = dir.join(format!("{:016x}.json", hash(&pair.join("\n"))));
                Self { path: Some(path), pair, warning: None }
            }
            Err(why) => {
                let warning = format!(
                    "{why}; what is alike is not remembered, so a later copy leaves every record that differs as it is"
                );
                Self { path: None, pair, warning: Some(warning) }
            }
        }
    }

    /// Reads what was alike: nothing where nobody knows.
    pub(super) fn read(&mut self) -> Records {
        let Some(path) = &self.path else { return Records::new() };
        let file: File = match std::fs::read(path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(file)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Records::new(),
            _ => {
                self.warning = Some(format!("{} can't be read, going on without it", path.display()));
                return Records::new();
            }
        };
        if file.stores != self.pair {
            return Records::new();
        }
        let records = file.records.into_iter();
        records.filter_map(|(name, text)| Some((Key::parse(&name).ok()?, Bytes::from(text)))).collect()
    }

    /// Writes what is alike now; returns why it can't, if so.
    pub(super) fn write(&self, records: &Records) -> Option<String> {
        let path = self.path.as_ref()?;
        // Records that are no text are left out: no host can read them.
        let texts = records.iter();
        let records = texts
            .filter_map(|(key, bytes)| Some((key.to_string(), String::from_utf8(bytes.to_vec()).ok()?)))
            .collect();
        let file = File { stores: self.pair.clone(), records };
        let written = serde_json::to_vec(&file).map_err(io::Error::other);
        let written = written.and_then(|bytes| durable::write(path, &bytes));
        written.err().map(|error| format!("cannot remember in {} what is alike: {error}", path.display()))
    }
}

/// FNV-1a of 64 bits: the same in every version, for a name that says nothing of the stores.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
