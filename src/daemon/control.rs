//! What the command line can order a running daemon to do.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use ipnet::IpNet;
use ipvland_store::{EndpointStore, Nudge, Revision};
use tokio::sync::watch;

use super::{LEAVE_PATIENCE, View, left_words, take_out};
use crate::{
    driver::{Announce, Announcement, Control},
    fleet::Source,
    host::Identity,
    kernel::Kernel,
    publisher::{Announcer, State},
    syncer,
};

/// How long `ipvland sync` waits for the store.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// The daemon, as the socket sees it.
pub(super) struct Orders {
    pub(super) identity: Identity,
    pub(super) announcer: Announcer,
    pub(super) store: Arc<dyn EndpointStore>,
    pub(super) kernel: Arc<dyn Kernel>,
    /// Stops the publisher.
    pub(super) leaving: watch::Sender<bool>,
    /// Says when the publisher of names has stopped.
    pub(super) names_stopped: watch::Receiver<bool>,
    /// Makes the syncer withdraw every route.
    pub(super) left: watch::Sender<bool>,
    pub(super) nudge: Nudge,
    pub(super) views: watch::Receiver<Arc<View>>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Orders {
    /// Looks at the store, and waits until what it shows is in use.
    async fn look(&self) -> Result<String, String> {
        let mut views = self.views.clone();
        let before = views.borrow_and_update().clone();
        if let Some(left) = self.nudge.resting() {
            let why = before.away.as_deref().unwrap_or("it has too much to do");
            return Err(format!(
                "the store asks to be left alone for {} s more, routes stay as they are: {why}",
                left.as_secs() + 1
            ));
        }
        let shown = self.store.snapshot().await;
        let shown = shown.map_err(|error| format!("the store is away, routes stay as they are: {error}"))?;
        // Also where nothing is new: who waits for a store that was away need not wait any longer.
        self.nudge.wake();
        let old = before.revision.clone();
        let is_in_use = |view: &Arc<View>| {
            let newer = view.revision.as_ref() == Some(&shown.revision) || view.revision != old;
            newer && view.source == Source::Store && view.away.is_none()
        };
        let view = views.wait_for(is_in_use).await.map_err(|_| "the daemon ends".to_owned())?.clone();
        let [old, new] =
            [&before, &view].map(|view| view.revision.as_ref().map_or("nothing", Revision::as_str));
        Ok(if old == new {
            format!("looked: nothing new, at {new}")
        } else {
            format!("looked: from {old} to {new}")
        })
    }

    /// Takes the host out, once the publisher has stopped to put it in.
    async fn withdraw(&self, force: bool) -> Result<String, String> {
        let mut names = self.names_stopped.clone();
        let names = async move { names.wait_for(|stopped| *stopped).await.is_ok() };
        let names = tokio::time::timeout(LEAVE_PATIENCE, names);
        let (stopped, names) = tokio::join!(self.announcer.clone().stopped(LEAVE_PATIENCE), names);
        if !stopped || names != Ok(true) {
            return Err(
                "the publisher is still waiting for the store; try again when the store answers".to_owned()
            );
        }
        let host = self.announcer.source.claims().map(|claims| claims.host);
        let revision = take_out(self.store.as_ref(), &self.identity, host, force).await?;
        self.announcer.source.leases.forget().await?;
        // Only now: as long as the others route to this host, it routes to them.
        self.left.send_replace(true);
        self.nudge.committed(revision);
        let routes = syncer::withdraw(self.kernel.as_ref()).await.map_err(|error| error.to_string())?;
        Ok(left_words(&self.identity, routes))
    }
}

#[async_trait]
impl Control for Orders {
    async fn leave(&self, force: bool) -> Result<String, String> {
        self.leaving.send_replace(true);
        let done = self.withdraw(force).await;
        match &done {
            Ok(words) => tracing::info!("{words}"),
            // The host stays what it was, unless it is out of the store already.
            Err(_) => _ = self.leaving.send_replace(*self.left.borrow()),
        }
        done
    }

    async fn sync(&self) -> Result<String, String> {
        let late = |_| {
            format!(
                "the store has shown nothing within {} s, routes stay as they are: see ipvland status",
                SYNC_PATIENCE.as_secs()
            )
        };
        tokio::time::timeout(SYNC_PATIENCE, self.look()).await.map_err(late)?
    }
}

#[async_trait]
impl Announce for Announcer {
    async fn check(&self, prefixes: &[IpNet]) -> Result<(), String> {
        Announcer::check(self, prefixes)
    }

    async fn announce(&self, patience: Duration) -> Announcement {
        match self.clone().settle(patience).await {
            State::Published => Announcement::Published,
            State::Nothing => Announcement::Nothing,
            State::Left => {
                Announcement::Pending("this host has left; restart ipvland to publish again".to_owned())
            }
            State::Pending(reason) | State::Edited(reason) => Announcement::Pending(reason),
            State::Refused(reason) => Announcement::Refused(reason),
        }
    }
}
