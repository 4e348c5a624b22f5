//! The trait that a store implements, and the one that its users call.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Batch, Delta, Event, Result, Revision, Snapshot, transact::Retry};

/// A place that holds the endpoint records of a fleet.
///
/// # Contract
///
/// - Two handles on one store are two hosts. Whatever they do at once, no committed record is ever lost: no last writer
///   wins, no forced push.
/// - A store moves bytes. It doesn't parse them, so a corrupt record is data, and never an error.
/// - What lies in the store and can't be a record is reported as a [`Stray`](crate::Stray), and never an error.
/// - Every call ends: a store that doesn't answer becomes [`Remedy::RetryLater`](crate::Remedy::RetryLater) after a
///   time-out of the store's choice.
/// - Calls don't block the async threads.
/// - Dropping a future may leave a write done or not done, never half done.
/// - Neither errors nor `Debug` show a secret.
#[async_trait]
pub trait EndpointStore: Debug + Send + Sync + 'static {
    /// Returns every record, all at one revision, as new as any commit that ended before the call.
    ///
    /// A store that holds nothing, not even a history, returns an empty snapshot with a revision that the first
    /// [`commit`](Self::commit) can build on.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// Applies a whole batch if the store is still at `base`, and returns the store's new revision.
    ///
    /// `base` MUST be a revision that this store gave out. A batch that changes nothing at `base` returns `base` and
    /// MUST NOT make a new revision.
    ///
    /// # Errors
    /// - [`RunAgain`](crate::Remedy::RunAgain): the store is not at `base` any more; nothing was written.
    /// - [`RetryLater`](crate::Remedy::RetryLater): no answer came; the batch MAY have been written.
    /// - [`GiveUp`](crate::Remedy::GiveUp): the store refuses (rights, a hook, a record over
    ///   [`MAX_RECORD_BYTES`](crate::MAX_RECORD_BYTES), a batch over [`MAX_BATCH_CHANGES`](crate::MAX_BATCH_CHANGES) or
    ///   [`MAX_BATCH_BYTES`](crate::MAX_BATCH_BYTES) that it can't take); nothing was written.
    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision>;

    /// Returns what changes in the store after a revision, for as long as the caller reads.
    ///
    /// Deltas start where the one before ended, the first at `after`. One delta MAY merge several commits; none is
    /// skipped, so that a reader who applies them all has the records of [`snapshot`](Self::snapshot).
    ///
    /// An error is an item. After [`RetryLater`](crate::Remedy::RetryLater) the stream MAY go on or end; after
    /// [`StartOver`](crate::Remedy::StartOver) (`after` is not in the store's history any more) or
    /// [`GiveUp`](crate::Remedy::GiveUp) it MUST end. No error loses a change: who watches again from the last revision
    /// seen, sees it.
    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>>;
}

/// What callers do with a store. Never implement this: it is there for every [`EndpointStore`].
#[async_trait]
pub trait StoreExt: EndpointStore {
    /// Reads, edits and commits, again and again while other hosts are first or the store is away.
    ///
    /// See [`transact`](crate::transact::transact).
    async fn transact<F>(&self, retry: Retry, edit: F) -> Result<Revision>
    where
        F: FnMut(&Snapshot) -> Result<Option<Batch>> + Send,
    {
        crate::transact::transact(self, retry, edit).await
    }

    /// Follows the store for ever: a [`Event::Reset`], then [`Event::Delta`]s, with a new reset where history is gone.
    ///
    /// See [`follow`](crate::follow::follow).
    fn follow(self: Arc<Self>, nudge: crate::Nudge) -> BoxStream<'static, Result<Event>> {
        crate::follow::follow(self, nudge)
    }
}

impl<S: EndpointStore + ?Sized> StoreExt for S {}
