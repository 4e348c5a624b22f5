//! One round of bringing what a host has to say into the store.

use std::collections::BTreeMap;

use ipvland_store::{Batch, Remedy, Result, Revision, StoreExt as _};

use super::{Claims, Edit, Grant, Granted, Publisher, ROUND};
use crate::{
    fleet::{View, parse_all},
    lease::Wishes,
    policy::Records,
    record::Record,
};

/// Grants what is free by the records, and makes the batch that says all of it.
///
/// # Errors
/// As [`Edit::on`].
fn work_out(grant: &Grant<'_>, records: &Records) -> Result<(Batch, Granted)> {
    let granted = grant.on(records);
    let batch = Edit { id: grant.id, claims: &granted.claims, local: grant.local }.on(records)?;
    Ok((batch, granted))
}

/// What came of a commit on what was known.
enum AtOnce {
    Done(Revision, Granted),
    /// It was not done, or its answer was lost.
    Tried,
    /// Too little is known for a commit, or there is nothing to write.
    NothingToGoBy,
}

impl Publisher {
    /// Writes the claims, and what is granted of the wishes.
    ///
    /// # Errors
    /// The store's, and those of [`Edit::on`].
    pub(super) async fn write(&self, wanted: &Claims, wishes: &Wishes, view: &View) -> Result<Granted> {
        let local = self.local.borrow().clone();
        let grant = Grant { id: &self.id, claims: wanted, wishes, local: &local };
        // Whether there was something to write, and whether there is after the last look.
        let mut tried = match self.write_at_once(&grant, view).await? {
            AtOnce::Done(revision, granted) => {
                self.written(&revision, &granted);
                return Ok(granted);
            }
            AtOnce::Tried => true,
            AtOnce::NothingToGoBy => false,
        };
        let mut last = (false, Granted { claims: wanted.clone(), answers: BTreeMap::new() });
        let revision = self
            .store
            .transact(ROUND, |snapshot| {
                let (batch, granted) = work_out(&grant, &parse_all(&snapshot.records))?;
                let batch = (!batch.is_noop_on(snapshot)).then_some(batch);
                tried |= batch.is_some();
                last = (batch.is_some(), granted);
                Ok(batch)
            })
            .await?;
        let (written, granted) = last;
        if written {
            self.written(&revision, &granted);
            return Ok(granted);
        }
        // Also where the answer to the commit was lost: the others wait for it.
        if tried {
            self.nudge.committed(revision.clone());
        } else {
            self.nudge.wake();
        }
        tracing::debug!(%revision, "this host's record is in the store already: {}", granted.claims.words());
        Ok(granted)
    }

    /// Commits on what the store showed last, without reading all of it anew: most of the time nobody wrote since, and
    /// where somebody did, the store says so.
    async fn write_at_once(&self, grant: &Grant<'_>, view: &View) -> Result<AtOnce> {
        let Some(base) = view.as_the_store_is() else { return Ok(AtOnce::NothingToGoBy) };
        let records = self.bearing_on(grant, view);
        // What is refused or denied may be so by what is there no more.
        let Ok((batch, granted)) = work_out(grant, &records) else { return Ok(AtOnce::NothingToGoBy) };
        if granted.answers.values().any(Result::is_err) || is_there(&batch, &records) {
            return Ok(AtOnce::NothingToGoBy);
        }
        match self.store.commit(base, batch).await {
            Ok(revision) => Ok(AtOnce::Done(revision, granted)),
            // A store that asks to be left alone is.
            Err(error) if error.remedy() == Remedy::GiveUp || error.pause().is_some() => Err(error),
            Err(error) => {
                tracing::debug!(%base, %error, "reading the store before writing to it");
                Ok(AtOnce::Tried)
            }
        }
    }

    /// Returns the records that what is asked for depends on: for a lease any of them, as it takes what is free.
    fn bearing_on(&self, grant: &Grant<'_>, view: &View) -> Records {
        if !grant.wishes.is_empty() {
            return (*view.records).clone();
        }
        let Claims { host, blocks, .. } = grant.claims;
        let prefixes = grant.claims.prefixes();
        self.source.fleet.around(&view.records, Some(&Record::key(*host)), prefixes.iter().chain(blocks))
    }

    fn written(&self, revision: &Revision, granted: &Granted) {
        // At once: the others wait for it.
        self.nudge.committed(revision.clone());
        tracing::info!(%revision, "this host's record is in the store: {}", granted.claims.words());
    }
}

/// Says whether all that a batch writes is among the records, and nothing that it removes.
fn is_there(batch: &Batch, records: &Records) -> bool {
    batch.changes.iter().all(|(key, change)| match change {
        Some(bytes) => matches!(records.get(key), Some(Ok(record)) if record.to_bytes() == *bytes),
        None => !records.contains_key(key),
    })
}
