//! The store itself: the three methods of the contract over a clone and its server.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use git2::{Oid, RemoteConnection, Repository};
use ipvland_store::{
    Batch, Delta, EndpointStore, Error, Interval, Nudge, OpenContext, Result, Revision, Snapshot, Writer,
};
use tokio::sync::Mutex;

use crate::{
    address::{Address, Route, UserInfo},
    clone,
    credentials::Login,
    errors::Failure,
    http::{Client, Proxies, Tls},
    http_fetch::Kept,
    libgit2,
    memory::Memory,
    own, push,
    remote::{Look, Server},
    revision::{parse, revision, short},
    settings::Settings,
    ssh::Ssh,
    transport::Line,
};

/// Endpoint records in the folder `endpoints/` of a branch of a Git repository.
pub struct GitStore {
    inner: Arc<Inner>,
    interval: Interval,
    nudge: Nudge,
}

pub(crate) struct Inner {
    pub(crate) server: Server,
    pub(crate) clone: PathBuf,
    pub(crate) writer: Writer,
    /// The repository, where it is this host's own.
    pub(crate) own: Option<PathBuf>,
    /// How long a call may last.
    pub(crate) limit: Duration,
    /// How long the server may be silent.
    pub(crate) silence: Duration,
    /// One call at a time works on the clone.
    pub(crate) memory: Arc<Mutex<Memory>>,
}

impl GitStore {
    /// Opens the store. The server is not asked yet.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for settings that can't be, and for a state directory of another user's.
    pub fn open(settings: &Settings, context: OpenContext) -> Result<Self> {
        let timeout = settings.timeout()?;
        let interval = settings.interval()?;
        let branch = settings.branch()?;
        libgit2::set_up()?;
        clone::own_directory(&context.state_dir)?;
        let (address, user, own) = match &settings.repo {
            Some(repo) => {
                let (address, user) = Address::parse(repo)?;
                (address, user, None)
            }
            None => {
                let path = context.state_dir.join("repository.git");
                own::open(&path)?;
                (Address::path(path.clone())?, UserInfo::default(), Some(path))
            }
        };
        let login = Login::new(settings, user)?;
        let line = Arc::new(line(&address, settings, &context.state_dir)?);
        let clone = context.state_dir.join(clone::directory_name(&address.url));
        let inner = Inner {
            server: Server { address, login, line, branch },
            clone,
            own,
            writer: context.writer,
            // A call is a few exchanges, each bounded by the time-out of the socket.
            limit: timeout * 6,
            silence: timeout,
            memory: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner), interval, nudge: context.nudge })
    }
}

/// Makes what leads to the repository.
fn line(address: &Address, settings: &Settings, state_dir: &Path) -> Result<Line> {
    match address.route {
        Route::Path(_) => Ok(Line::LibGit2),
        Route::Ssh(..) => Ok(Line::Ssh(Arc::new(Ssh::new(address, settings, state_dir)))),
        Route::Http(_) => {
            let proxies = Proxies::new(settings.proxy.as_deref())?;
            Ok(Line::Http(Arc::new(Client::new(address, Tls::new(settings)?, proxies)?)))
        }
    }
}

impl fmt::Debug for GitStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitStore")
            .field("repo", &self.inner.server.address.shown)
            .field("branch", &self.inner.server.branch)
            .field("clone", &self.inner.clone)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl EndpointStore for GitStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        Inner::run(&self.inner, "snapshot", |inner, memory, repo| {
            let look = inner.sync(memory, repo)?;
            let endpoints = memory.read(repo, look.tip)?;
            Ok(endpoints.snapshot(repo, revision(look.tip))?)
        })
        .await
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        push::check(&batch)?;
        let base = parse(base)
            .ok_or_else(|| Error::conflict(format!("{base} is no commit of a git repository: read again")))?;
        Inner::run(&self.inner, "commit", move |inner, memory, repo| inner.commit(memory, repo, base, &batch))
            .await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        let (inner, nudge) = (Arc::clone(&self.inner), self.nudge.clone());
        ipvland_store::poll::poll(after, self.interval, self.nudge.clone(), move |after| {
            let (inner, own) = (Arc::clone(&inner), nudge.last_commit());
            async move {
                Inner::run(&inner, "watch", move |inner, memory, repo| {
                    inner.changes(memory, repo, &after, own.as_ref())
                })
                .await
            }
        })
    }
}

impl Inner {
    /// Looks where the branch is, and downloads it if that is new.
    pub(crate) fn sync(&self, memory: &mut Memory, repo: &Repository) -> Result<Look, Failure> {
        self.server.connect(repo, |connection| {
            let look = self.server.look(connection)?;
            self.fetch(memory, repo, connection, &look)?;
            memory.note(&look, &self.server);
            Ok(look)
        })
    }

    fn fetch(
        &self,
        memory: &mut Memory,
        repo: &Repository,
        connection: &mut RemoteConnection<'_, '_, '_>,
        look: &Look,
    ) -> Result<(), Failure> {
        match self.server.fetch(repo, connection, &mut memory.folders, look) {
            Ok(None) => return Ok(()),
            Ok(Some(Kept::Files)) => memory.wrote(),
            Ok(Some(Kept::Pack)) => memory.wrote_much(),
            // What is broken off may leave much.
            Err(why) => {
                memory.wrote_much();
                return Err(why);
            }
        }
        Ok(())
    }

    /// Returns what changed after a revision, or `None`. Where that is `own`, which this host has just pushed on it, and
    /// nobody has looked since, the server is not asked: it has other hosts to answer at that moment.
    fn changes(
        &self,
        memory: &mut Memory,
        repo: &Repository,
        after: &Revision,
        own: Option<&Revision>,
    ) -> Result<Option<Delta>, Failure> {
        let Some(before) = parse(after) else {
            return Err(Error::history_gone(format!("{after} is no commit of a git repository")).into());
        };
        if let Some((base, pushed)) = memory.pushed.take() {
            let pushed = Some(pushed);
            if base == before && own == Some(&revision(pushed)) {
                return Ok(Some(difference(memory, repo, before, pushed)?));
            }
        }
        let look = self.server.connect(repo, |connection| {
            let look = self.server.look(connection)?;
            if look.tip != before {
                self.fetch(memory, repo, connection, &look)?;
                // A clone begins with the newest commit, and another's revision may be from before it.
                if before.is_some_and(|before| repo.find_commit(before).is_err()) && repo.is_shallow() {
                    memory.wrote_much();
                    self.server.fetch_history(connection, &look)?;
                }
            }
            memory.note(&look, &self.server);
            Ok(look)
        })?;
        if look.tip == before {
            return Ok(None);
        }
        self.check_history(repo, &look, before)?;
        Ok(Some(difference(memory, repo, before, look.tip)?))
    }

    /// Checks that a branch went on from a commit, and was not rewritten.
    fn check_history(&self, repo: &Repository, look: &Look, before: Option<Oid>) -> Result<(), Failure> {
        let Some(from) = before else { return Ok(()) };
        let goes_on = match look.tip {
            Some(tip) if repo.find_commit(from).is_ok() => repo.graph_descendant_of(tip, from)?,
            _ => false,
        };
        if goes_on {
            return Ok(());
        }
        Err(Error::history_gone(format!(
            "the history of branch {} in the git repository {} was rewritten: {} is not a part of {}",
            look.branch,
            self.server.address.shown,
            short(before),
            short(look.tip)
        ))
        .into())
    }
}

/// Returns what changed from one commit to another.
fn difference(
    memory: &mut Memory,
    repo: &Repository,
    before: Option<Oid>,
    after: Option<Oid>,
) -> Result<Delta, git2::Error> {
    let old = memory.read(repo, before)?;
    let new = memory.read(repo, after)?;
    new.since(&old, repo, revision(after))
}
