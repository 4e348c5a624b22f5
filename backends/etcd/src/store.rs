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
    commit::{self, Scope, Swapped},
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

/// From so many records on a question beforehand costs less than what etcd reads to compare all of them.
const MANY: i64 = 500;

/// The most changes of a batch for which that is done: each is two operations then, of which etcd takes 128.
const FEW: usize = 32;

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
        let swapped = inner.swap(&mark, &batch).await.map_err(|failure| inner.error(failure))?;
        match swapped {
            Swapped::Done(mark) => Ok(mark.revision()),
            Swapped::NoEffect => Ok(base.clone()),
            Swapped::Raced => Err(inner.raced(base)),
        }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        watch::watch(Arc::clone(&self.inner), after)
    }
}

impl Inner {
    /// Applies a batch if the store is at a mark.
    async fn swap(&self, base: &Mark, batch: &Batch) -> Result<Swapped, Failure> {
        let is_worth_asking = base.count >= MANY && batch.changes.len() <= FEW;
        let is_quiet = is_worth_asking && read::revision(&self.members, &self.layout).await? == base.newest;
        let scope = if is_quiet { Scope::Batch } else { Scope::All };
        let nonce = Nonce::draw();
        let transaction = commit::transaction(&self.layout, base, batch, &nonce, scope);
        let called = self.members.call(Repeat::IfUnsent, |client| {
            let transaction = transaction.clone();
            async move { client.kv_client().txn(transaction).await }
        });
        let (_, response) = called.await?;
        let swapped = commit::outcome(&response, base, &nonce, scope).ok_or_else(|| {
            Error::away(format!(
                "etcd at {} answered a transaction with something else: is every member an etcd?",
                self.members.shown()
            ))
        })?;
        if scope == Scope::All {
            return Ok(swapped);
        }
        match swapped {
            Swapped::Done(mark) if mark.newest > base.newest + 1 => self.check_between(base, mark).await,
            // Somebody wrote just before, and it may be one of the keys.
            Swapped::NoEffect if response.header().map(|header| header.revision()) != Some(base.newest) => {
                Ok(Swapped::Raced)
            }
            swapped => Ok(swapped),
        }
    }

    /// Finds out whether what was written between a base and a batch on it was of others, or an operator's.
    async fn check_between(&self, base: &Mark, mark: Mark) -> Result<Swapped, Failure> {
        let Self { members, layout, .. } = self;
        let put = read::is_written_between(members, layout, base.newest, mark.newest).await?;
        if !put && read::count(members, layout, mark.newest).await? == mark.count {
            return Ok(Swapped::Done(mark));
        }
        Err(Failure::Store(Error::away(format!(
            "somebody changed keys below {} in etcd at {} by hand at the very moment of a commit, which was done: it is \
             worked out again",
            layout.prefix(),
            members.shown()
        ))))
    }

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
