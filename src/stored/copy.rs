//! Copies the records of one store into another, in batches, and looks whether they are there.

use std::collections::{BTreeMap, BTreeSet};

use ipvland_store::{Batch, Key, Snapshot, StoreExt as _};

use super::{
    Opened, Trouble,
    alike::Alike,
    open::PATIENCE,
    sync::{self, Change, Plan},
};

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    /// Write nothing, and say what would be.
    pub(crate) dry_run: bool,
    /// Remove from the target what left the source since an earlier copy.
    pub(crate) prune: bool,
    /// The source is right in all that differs.
    pub(crate) force: bool,
}

/// What a copy came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// The closing sentence.
    pub(crate) words: String,
    /// Whether a reading of both after it shows that nothing is left to do.
    pub(crate) complete: bool,
}

/// Copies, and tells each step by `say`, a line each. Where it is broken off, whole batches are in the target, and the
/// next copy goes on.
///
/// # Errors
/// A sentence: a store is away or refuses, or the order would remove every record.
pub(crate) async fn copy(
    from: &Opened,
    to: &Opened,
    order: Order,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Copied, Trouble> {
    let (source, target) = (from.read().await?, to.read().await?);
    if order.prune && !order.force && source.records.is_empty() && !target.records.is_empty() {
        return Err(Trouble::Failed(format!(
            "{from} holds no record, so --prune would remove all {} of {to}: say --force if that is meant",
            target.records.len()
        )));
    }
    let mut alike = Alike::of(from, to);
    let known = alike.read();
    if let Some(warning) = &alike.warning {
        say(&format!("warning: {warning}"));
    }
    let plan = sync::plan(&source.records, &target.records, &known, order);
    for (key, kept) in &plan.kept {
        say(&format!("keep    {key}: {}", kept.words()));
    }
    if order.dry_run {
        for (key, change) in &plan.changes {
            say(&format!("{:<7} {key}", verb(change)));
        }
        return Ok(Copied {
            words: sentence("would be ", from, to, &plan, &source, &BTreeSet::new()),
            complete: true,
        });
    }
    let raced = write(from, to, &plan, say).await?;
    let (source_now, target_now) = (from.read().await?, to.read().await?);
    let written: BTreeMap<_, _> = plan
        .changes
        .iter()
        .filter(|(key, _)| !raced.contains(*key))
        .map(|(k, c)| (k.clone(), c.clone()))
        .collect();
    let after = sync::alike_after(&source_now.records, &target_now.records, &written, &known);
    if let Some(warning) = alike.write(&after) {
        say(&format!("warning: {warning}"));
    }
    let mut complete = true;
    for key in &raced {
        say(&format!("keep    {key}: its host wrote it to the target meanwhile"));
    }
    for (key, change) in &written {
        if target_now.records.get(key) == change.before.as_ref() {
            complete = false;
            say(&format!("missing {key}: {to} took it and does not show it; run this again"));
        }
    }
    for key in changed(&source, &source_now) {
        if source_now.records.get(key) != target_now.records.get(key) {
            complete = false;
            say(&format!("changed {key}: the source's changed meanwhile; run this again"));
        }
    }
    Ok(Copied { words: sentence("", from, to, &plan, &source_now, &raced), complete })
}

/// Writes the changes; returns the keys whose records another wrote first.
async fn write(
    from: &Opened,
    to: &Opened,
    plan: &Plan,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<BTreeSet<Key>, Trouble> {
    let mut raced = BTreeSet::new();
    let mut done = 0;
    for batch in plan.batches() {
        let subject = subject(from, to, &batch);
        let mut first = Vec::new();
        let edit = |now: &Snapshot| {
            first.clear();
            let mut changes = Batch::new(subject.clone());
            for (key, change) in &batch {
                let shown = now.records.get(key);
                if shown == change.after.as_ref() {
                    // There already: an answer was lost.
                } else if shown == change.before.as_ref() {
                    changes.changes.insert(key.clone(), change.after.clone());
                } else {
                    first.push(key.clone());
                }
            }
            Ok(Some(changes))
        };
        to.store.transact(PATIENCE, edit).await.map_err(|error| {
            Trouble::Failed(format!(
                "cannot write to the store {to}: {error}; {done} of {} changes are there, run this again for the others",
                plan.changes.len()
            ))
        })?;
        raced.extend(first);
        done += batch.len();
        if done < plan.changes.len() {
            say(&format!("{done} of {} changes are in {to}", plan.changes.len()));
        }
    }
    Ok(raced)
}

/// Says in words what a batch does, for stores that keep a history: `web-1 copies 37 records from git`.
fn subject(from: &Opened, to: &Opened, batch: &BTreeMap<Key, Change>) -> String {
    let removed = batch.values().filter(|change| change.after.is_none()).count();
    let copied = batch.len() - removed;
    let one = |count: usize| format!("{count} record{}", if count == 1 { "" } else { "s" });
    let (name, kind) = (&to.writer, &from.kind);
    match (copied, removed) {
        (_, 0) => format!("{name} copies {} from {kind}", one(copied)),
        (0, _) => format!("{name} removes {} that {kind} has no more", one(removed)),
        _ => format!("{name} copies {} from {kind} and removes {}", one(copied), one(removed)),
    }
}

fn verb(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (_, None) => "remove",
        (None, _) => "add",
        (Some(_), _) => "change",
    }
}

fn changed<'a>(before: &'a Snapshot, now: &'a Snapshot) -> impl Iterator<Item = &'a Key> {
    let keys: BTreeSet<_> = before.records.keys().chain(now.records.keys()).collect();
    keys.into_iter().filter(|key| before.records.get(*key) != now.records.get(*key))
}

fn sentence(
    would: &str,
    from: &Opened,
    to: &Opened,
    plan: &Plan,
    source: &Snapshot,
    raced: &BTreeSet<Key>,
) -> String {
    let done = plan.changes.iter().filter(|(key, _)| !raced.contains(*key));
    let (copied, removed): (Vec<_>, Vec<_>) = done.partition(|(_, change)| change.after.is_some());
    let mut words = format!(
        "{}from {from} to {to}: {} {would}copied, {} the same already, {} kept, {} {would}removed",
        if plan.changes.is_empty() { "nothing to copy: " } else { "" },
        copied.len(),
        plan.same,
        plan.kept.len() + raced.len(),
        removed.len()
    );
    if plan.extra > 0 {
        words.push_str(&format!(", {} only in the target", plan.extra));
    }
    if !source.strays.is_empty() {
        let names: Vec<_> = source.strays.iter().map(|stray| stray.name.as_str()).collect();
        words.push_str(&format!("; not copied, as no records: {}", names.join(", ")));
    }
    words
}
