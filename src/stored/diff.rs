//! How two stores differ, record by record.

use std::fmt::Write as _;

use ipvland_store::Snapshot;
use serde::Serialize;

use super::{Opened, lines};
use crate::status::clean;

/// How two stores differ.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    from: Side,
    to: Side,
    /// How many records are the same in both.
    same: usize,
    only_in_from: Vec<String>,
    only_in_to: Vec<String>,
    different: Vec<Changed>,
}

#[derive(Debug, Serialize)]
struct Side {
    kind: String,
    location: Option<String>,
    revision: String,
}

#[derive(Debug, Serialize)]
struct Changed {
    file: String,
    /// In the unified format; empty where the two are the same JSON, spelled differently.
    diff: String,
}

/// Compares two stores.
pub(crate) fn differ(from: (&Opened, &Snapshot), to: (&Opened, &Snapshot)) -> Difference {
    let side = |(store, snapshot): (&Opened, &Snapshot)| Side {
        kind: store.kind.clone(),
        location: store.location.clone(),
        revision: snapshot.revision.to_string(),
    };
    let (a, b) = (&from.1.records, &to.1.records);
    let missing = |of: &Snapshot, other: &Snapshot| -> Vec<String> {
        of.records.keys().filter(|key| !other.records.contains_key(*key)).map(ToString::to_string).collect()
    };
    let both = || a.iter().filter_map(|(key, bytes)| Some((key, bytes, b.get(key)?)));
    Difference {
        from: side(from),
        to: side(to),
        same: both().filter(|(_, from, to)| from == to).count(),
        only_in_from: missing(from.1, to.1),
        only_in_to: missing(to.1, from.1),
        different: both()
            .filter(|(_, from, to)| from != to)
            .map(|(key, from, to)| Changed {
                file: key.to_string(),
                diff: lines::unified(&readable(from), &readable(to)),
            })
            .collect(),
    }
}

/// Returns a record as it reads best: JSON pretty-printed with sorted keys, all else as it is, escaped.
fn readable(bytes: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => format!("{value:#}\n"),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl Difference {
    /// Says whether the stores hold the same records.
    pub(crate) fn is_none(&self) -> bool {
        self.only_in_from.is_empty() && self.only_in_to.is_empty() && self.different.is_empty()
    }

    /// Returns the difference for a terminal.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (mark, side) in [("---", &self.from), ("+++", &self.to)] {
            let location =
                side.location.as_ref().map(|location| format!(" ({location})")).unwrap_or_default();
            let _ = writeln!(
                text,
                "{mark} {}",
                clean(&format!("{}{location}, revision {}", side.kind, side.revision))
            );
        }
        for (words, files) in [("only in --from", &self.only_in_from), ("only in --to", &self.only_in_to)] {
            for file in files {
                let _ = writeln!(text, "{words}: {file}");
            }
        }
        for changed in &self.different {
            let _ = writeln!(text, "different: {}", changed.file);
            if changed.diff.is_empty() {
                let _ = writeln!(text, " the same JSON, but for spaces or the order of keys");
            }
            for line in changed.diff.lines() {
                let _ = writeln!(text, "{}", clean(line));
            }
        }
        let counts = (self.same, self.different.len(), self.only_in_from.len(), self.only_in_to.len());
        let (same, different, from, to) = counts;
        let _ = writeln!(
            text,
            "the same: {same}, different: {different}, only in --from: {from}, only in --to: {to}"
        );
        text
    }
}
