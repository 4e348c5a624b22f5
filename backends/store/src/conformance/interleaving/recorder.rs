//! A store around a store that tells the model of every call and its answer.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use tokio::time::timeout;

use super::{
    ledger::Ledger,
    operation::{LOG, names},
};
use crate::{Batch, Delta, EndpointStore, Error, Remedy, Result, Revision, Snapshot};

/// A handle on a store, watched by the [`Ledger`].
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) inner: Arc<dyn EndpointStore>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) host: char,
    pub(super) patience: Duration,
}

impl Recorder {
    /// Waits for a call, and fails the seed if it doesn't end in time.
    async fn within<T>(&self, call: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let Ok(answer) = timeout(self.patience, answer).await else {
            self.ledger.fail(format!("{call} of host {} does not end within {:?}", self.host, self.patience));
            return Err(Error::away("the call was given up"));
        };
        if let Err(error) = &answer {
            judge(&self.ledger, self.host, call, error);
        }
        answer
    }
}

/// Fails the seed where the store sends for an operator. A bad network is none of his business: it passes.
fn judge(ledger: &Ledger, host: char, call: &str, error: &Error) {
    ledger.note(format!("{host}: {call}: {error:?}"));
    if error.remedy() == Remedy::GiveUp {
        ledger.fail(format!("{call} of host {host} gave up, where only the network was bad: {error:?}"));
    }
}

#[async_trait]
impl EndpointStore for Recorder {
    async fn snapshot(&self) -> Result<Snapshot> {
        let at_least = self.ledger.acknowledged();
        let snapshot = self.within("a snapshot", self.inner.snapshot()).await?;
        self.ledger.observe(&format!("a snapshot of host {}", self.host), &snapshot, at_least);
        Ok(snapshot)
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        let log = batch.changes.get(LOG).and_then(Option::as_ref).map(|log| names(log));
        let id = log.and_then(|mut log| log.pop()).expect("every operation is in the log");
        let attempt = self.ledger.begin(&id);
        let answer = self.within(&format!("the commit {id}"), self.inner.commit(base, batch.clone())).await;
        self.ledger.answer(&id, attempt, &batch, &answer);
        answer
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let (ledger, host) = (self.ledger.clone(), self.host);
        self.inner
            .watch(after)
            .inspect(move |item| {
                if let Err(error) = item {
                    judge(&ledger, host, "a watch", error);
                }
            })
            .boxed()
    }
}
