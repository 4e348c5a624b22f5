//! Runs the store's work on the clone: one call at a time, off the async threads, and again on a new clone if it is broken.

use std::{path::Path, sync::Arc};

use git2::Repository;
use ipvland_store::{Error, Result};
use tokio::sync::oneshot;

use crate::{clone, errors::Failure, memory::Memory, store::Inner, talk::Call, upkeep};

impl Inner {
    /// Runs work on the clone off the async threads, one call at a time, and bounds how long the caller waits.
    ///
    /// Work that is late goes on by itself and keeps the clone locked until libgit2's own time-outs end it.
    pub(crate) async fn run<T, F>(inner: &Arc<Self>, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Self, &mut Memory, &Repository) -> Result<T, Failure> + Send + 'static,
    {
        let shown = inner.server.address.shown.clone();
        let limit = inner.limit;
        let inner = Arc::clone(inner);
        let ended = tokio::time::timeout(limit, async move {
            let mut memory = Arc::clone(&inner.memory).lock_owned().await;
            let (tell, answer) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                inner.attempt(name, &mut memory, work, |answer| _ = tell.send(answer));
            });
            answer.await
        })
        .await;
        match ended {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panicked)) => Err(Error::away(format!(
                "the work on the git repository {shown} was broken off: see the log"
            ))),
            Err(_late) => Err(Error::away(format!(
                "the git repository {shown} did not answer within {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    /// Runs work on the clone, tells what came of it, and leaves the clone in order for the next call.
    fn attempt<T>(
        &self,
        name: &'static str,
        memory: &mut Memory,
        work: impl Fn(&Self, &mut Memory, &Repository) -> Result<T, Failure>,
        tell: impl FnOnce(Result<T>),
    ) {
        let opened = clone::lock(&self.clone).and_then(|lock| Ok((lock, self.open_clone(clone::open)?)));
        let (_lock, mut repo) = match opened {
            Ok(opened) => opened,
            Err(error) => return tell(Err(error)),
        };
        let call = Call::begin(name, &self.server, self.silence, self.limit);
        let answer = self.on_clone(memory, &mut repo, work);
        drop(call);
        tell(answer);
        let address = &self.server.address;
        let settled = match upkeep::settle(&self.clone, address, self.own.as_deref(), memory, repo) {
            Err(Failure::Clone(why)) => {
                self.warn_of(why.message());
                memory.forget();
                clone::remake(&self.clone).map(drop)
            }
            Err(Failure::Store(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        if let Err(error) = settled {
            tracing::warn!("{error}");
        }
    }

    fn open_clone(&self, open: impl FnOnce(&Path) -> Result<Repository>) -> Result<Repository> {
        let repo = open(&self.clone)?;
        upkeep::reach(&self.server.address, &repo)?;
        Ok(repo)
    }

    /// Runs work on the clone; and once more on a new clone when this one turns out to be broken.
    fn on_clone<T>(
        &self,
        memory: &mut Memory,
        repo: &mut Repository,
        work: impl Fn(&Self, &mut Memory, &Repository) -> Result<T, Failure>,
    ) -> Result<T> {
        let why = match work(self, memory, repo) {
            Ok(answer) => return Ok(answer),
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Clone(why)) => why,
        };
        self.warn_of(why.message());
        memory.forget();
        *repo = self.open_clone(clone::remake)?;
        work(self, memory, repo).map_err(|failure| match failure {
            Failure::Store(error) => error,
            Failure::Clone(why) => Error::away(format!(
                "the clone {} of {} can't be used: {} (check the disk's space, and the repository with git fsck)",
                self.clone.display(),
                self.server.address.shown,
                why.message()
            )),
        })
    }

    fn warn_of(&self, error: &str) {
        tracing::warn!(clone = %self.clone.display(), error, "the clone is broken and is made again");
    }
}
