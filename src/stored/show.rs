//! Lists the records of a store, each with what every host thinks of it.

use std::collections::BTreeMap;

use ipvland_store::{Key, Snapshot};
use serde::Serialize;

use super::{Opened, Trouble};
use crate::{
    fleet::{self, parse_all},
    names, policy,
    publisher::list,
    record::{NamesRecord, Record},
    status::{clean, table},
};

/// The records of a store.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    kind: String,
    location: Option<String>,
    revision: String,
    records: Vec<Line>,
    names: Vec<NamesLine>,
    strays: Vec<Stray>,
}

#[derive(Debug, Serialize)]
struct Line {
    file: String,
    host: Option<String>,
    name: Option<String>,
    next_hops: Vec<String>,
    prefixes: Vec<String>,
    /// The blocks that it leases of subnets shared with others.
    blocks: Vec<String>,
    /// Why hosts refuse the record, or prefixes of it.
    refused: Vec<String>,
}

/// The names of a host's containers.
#[derive(Debug, Serialize)]
struct NamesLine {
    file: String,
    host: Option<String>,
    /// How many there are by network.
    networks: BTreeMap<String, usize>,
    /// Why hosts refuse the file, or names of it.
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct Stray {
    name: String,
    reason: String,
}

impl Listing {
    /// Judges and lists a snapshot.
    pub(crate) fn new(store: &Opened, snapshot: &Snapshot) -> Self {
        let records = parse_all(&snapshot.records);
        let refused = policy::refused_everywhere(&records);
        let lines = records.iter().map(|(key, record)| {
            let record = record.as_ref().ok();
            let refused = refused.iter().filter(|refused| refused.file == key.as_str());
            Line {
                file: key.to_string(),
                host: Record::host_of(key).map(|host| host.to_string()),
                name: record.map(|record| record.name.clone()).filter(|name| !name.is_empty()),
                next_hops: record.map_or_else(Vec::new, |record| texts(&record.next_hops)),
                prefixes: record.map_or_else(Vec::new, |record| {
                    record.prefixes().map(|(_, net)| net.to_string()).collect()
                }),
                blocks: record.map_or_else(Vec::new, |record| texts(&record.blocks)),
                refused: refused
                    .map(|refused| match refused.prefix {
                        Some(prefix) => format!("{prefix}: {}", refused.reason),
                        None => refused.reason.clone(),
                    })
                    .collect(),
            }
        });
        let strays = snapshot.strays.iter();
        let names = fleet::names_of(&snapshot.records);
        let wrong = names::refused(&names, &records);
        let names = names.iter().map(|(key, file)| NamesLine {
            file: key.to_string(),
            host: NamesRecord::host_of(key).map(|host| host.to_string()),
            networks: file.as_ref().map_or_else(
                |_| BTreeMap::new(),
                |file| file.names.iter().map(|(network, names)| (network.clone(), names.len())).collect(),
            ),
            refused: wrong.iter().find(|wrong| wrong.file == key.as_str()).map(|wrong| wrong.reason.clone()),
        });
        Self {
            kind: store.kind.clone(),
            location: store.location.clone(),
            revision: snapshot.revision.to_string(),
            records: lines.collect(),
            names: names.collect(),
            strays: strays
                .map(|stray| Stray { name: stray.name.clone(), reason: stray.reason.clone() })
                .collect(),
        }
    }

    /// Returns the listing for a terminal, a line each.
    pub(crate) fn to_text(&self) -> String {
        let location = self.location.as_ref().map(|location| format!(" ({location})")).unwrap_or_default();
        let mut text = clean(&format!("store {}{location}, revision {}", self.kind, self.revision));
        text.push('\n');
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let rows = self.records.iter().map(|line| {
            let refused = line.refused.join("; ");
            vec![
                line.file.clone(),
                line.host.clone().unwrap_or_else(|| "-".to_owned()),
                line.name.clone().unwrap_or_else(|| "-".to_owned()),
                or_dash(line.next_hops.join(",")),
                or_dash(line.prefixes.join(",")),
                if line.blocks.is_empty() { "-".to_owned() } else { list(&line.blocks) },
                if refused.is_empty() { String::new() } else { format!("refused: {refused}") },
            ]
        });
        table(
            &mut text,
            "records",
            &["FILE", "HOST", "NAME", "NEXT HOPS", "PREFIXES", "BLOCKS", "JUDGEMENT"],
            rows.collect(),
        );
        if !self.names.is_empty() {
            let rows = self.names.iter().map(|line| {
                let counts: Vec<_> =
                    line.networks.iter().map(|(network, count)| format!("{network}: {count}")).collect();
                vec![
                    line.file.clone(),
                    line.host.clone().unwrap_or_else(|| "-".to_owned()),
                    or_dash(counts.join(", ")),
                    line.refused.as_ref().map(|why| format!("refused: {why}")).unwrap_or_default(),
                ]
            });
            table(&mut text, "names", &["FILE", "HOST", "NAMES BY NETWORK", "JUDGEMENT"], rows.collect());
        }
        if !self.strays.is_empty() {
            let rows = self.strays.iter().map(|stray| vec![stray.name.clone(), stray.reason.clone()]);
            table(&mut text, "strays", &["NAME", "REASON"], rows.collect());
        }
        text
    }
}

fn texts(things: &[impl ToString]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}

/// Returns the bytes of a record by its file, by the same without `.json`, or by its host's address in any spelling.
///
/// # Errors
/// A sentence where there is no such record.
pub(crate) fn find<'a>(store: &Opened, snapshot: &'a Snapshot, wanted: &str) -> Result<&'a [u8], Trouble> {
    let by_address = wanted.parse().ok().map(Record::key);
    let keys = [Key::parse(wanted).ok(), Key::parse(&format!("{wanted}.json")).ok(), by_address];
    let found = keys.into_iter().flatten().find_map(|key| snapshot.records.get(&key));
    found.map(AsRef::as_ref).ok_or_else(|| {
        Trouble::Failed(format!(
            "the store {store} has no record {wanted:?} among its {}: ipvland store show lists them",
            snapshot.records.len()
        ))
    })
}
