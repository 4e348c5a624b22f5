//! The store itself: the three methods of the contract over a cluster.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{Batch, Delta, EndpointStore, Error, Result, Revision, Snapshot};

use crate::{
    commit::{self, Swapped},
    contents::Contents,
    endpoints,
    errors::Failure,
    layout::Layout,
    login::Login,
    members::{Members, Repeat},
    read,
    revision::{Mark, Nonce},
    settings::Settings,
    tls::Tls,
    watch,
};

/// Endpoint records below a prefix of an etcd cluster.
pub struct EtcdStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) members: Members,
    pub(crate) layout: Layout,
    /// What was read last, so that a watch from there needs no reading.
    read: Mutex<VecDeque<(Revision, Contents)>>,
}

/// How many contents are kept: the last snapshot's, and what two watches that ended had come to.
const KEPT: usize = 3;

impl EtcdStore {
    /// Opens the store. No member is asked yet.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for settings that can't be, and for certificate files that can't be read.
    pub fn open(settings: &Settings) -> Result<Self> {
        let endpoints = endpoints::parse(&settings.endpoints)?;
        let layout = Layout::new(settings.prefix.as_deref())?;
        let login = Login::new(settings)?;
        let tls = Tls::new(settings, &endpoints)?;
        let members = Members::new(endpoints, login, tls, layout.prefix(), settings.timeout()?);
        Ok(Self { inner: Arc::new(Inner { members, layout, read: Mutex::default() }) })
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("endpoints", &self.inner.members.shown())
            .field("prefix", &self.inner.layout.prefix())
            .field("timeout", &self.inner.members.timeout())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl EndpointStore for EtcdStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        let inner = &self.inner;
        let found = read::now(&inner.members, &inner.layout).await.map_err(|failure| inner.error(failure))?;
        let (revision, strays) = (found.contents.mark().revision(), found.contents.strays());
        inner.remember(found.contents);
        Ok(Snapshot { revision, records: found.records, strays })
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        commit::check(&batch)?;
        let inner = &self.inner;
        let Some(mark) = Mark::parse(base) else { return Err(inner.raced(base)) };
        let nonce = Nonce::draw();
        let transaction = commit::transaction(&inner.layout, &mark, &batch, &nonce);
        let called = inner.members.call(Repeat::IfUnsent, |client| {
            let transaction = transaction.clone();
            async move { client.kv_client().txn(transaction).await }
        });
        let (_, response) = called.await.map_err(|failure| inner.error(failure))?;
        match commit::outcome(&response, &nonce) {
            Some(Swapped::Done(mark)) => Ok(mark.revision()),
            Some(Swapped::NoEffect) => Ok(base.clone()),
            Some(Swapped::Raced) => Err(inner.raced(base)),
            None => Err(Error::away(format!(
                "etcd at {} answered a transaction with something else: is every member an etcd?",
                inner.members.shown()
            ))),
        }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        watch::watch(Arc::clone(&self.inner), after)
    }
}

impl Inner {
    fn raced(&self, base: &Revision) -> Error {
        Error::conflict(format!(
            "etcd at {} is not at {base} any more: another host was first",
            self.members.shown()
        ))
    }

    /// Returns the store's answer to the caller.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Store(error) | Failure::Member { error, .. } => error,
            Failure::HistoryGone => {
                Error::away(format!("etcd at {} was compacted while it was read", self.members.shown()))
            }
        }
    }

    /// Keeps what was read or watched up to a revision.
    pub(crate) fn remember(&self, contents: Contents) {
        let revision = contents.mark().revision();
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != revision);
        kept.push_front((revision, contents));
        kept.truncate(KEPT);
    }

    /// Returns the contents at a revision, if they are kept.
    pub(crate) fn recall(&self, revision: &Revision) -> Option<Contents> {
        let kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == revision).map(|(_, contents)| contents.clone())
    }
}
