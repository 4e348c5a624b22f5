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
use tokio::sync::{Mutex, oneshot};

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
    push::Pushed,
    remote::{Look, Server},
    revision::{parse, revision, short},
    settings::Settings,
    ssh::Ssh,
    talk::Call,
    transport::Line,
    upkeep,
};

/// Endpoint records in the folder `endpoints/` of a branch of a Git repository.
pub struct GitStore {
    inner: Arc<Inner>,
    interval: Interval,
    nudge: Nudge,
}

struct Inner {
    server: Server,
    clone: PathBuf,
    writer: Writer,
    /// The repository, where it is this host's own.
    own: Option<PathBuf>,
    /// How long a call may last.
    limit: Duration,
    /// How long the server may be silent.
    silence: Duration,
    /// One call at a time works on the clone.
    memory: Arc<Mutex<Memory>>,
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
    /// Runs work on the clone off the async threads, one call at a time, and bounds how long the caller waits.
    ///
    /// Work that is late goes on by itself and keeps the clone locked until libgit2's own time-outs end it.
    async fn run<T, F>(inner: &Arc<Self>, name: &'static str, work: F) -> Result<T>
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

    /// Looks where the branch is, and downloads it if that is new.
    fn sync(&self, memory: &mut Memory, repo: &Repository) -> Result<Look, Failure> {
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

    fn commit(
        &self,
        memory: &mut Memory,
        repo: &Repository,
        base: Option<Oid>,
        batch: &Batch,
    ) -> Result<Revision, Failure> {
        let is_here = base.is_none_or(|base| repo.find_commit(base).is_ok());
        let branch = match memory.branch.clone() {
            Some(branch) if is_here => branch,
            _ => {
                let look = self.sync(memory, repo)?;
                if look.tip != base {
                    return Err(self.raced(base));
                }
                look.branch
            }
        };
        let endpoints = memory.read(repo, base)?;
        memory.wrote();
        let shown = &self.server.address.shown;
        let Some(written) = push::write(repo, base, &endpoints, batch, &self.writer, shown)? else {
            let look = self.server.connect(repo, |connection| self.server.look(connection))?;
            return if look.tip == base { Ok(revision(base)) } else { Err(self.raced(base)) };
        };
        match push::push(&self.server, repo, &branch, base, &written)? {
            Pushed::Done => {
                memory.moved_to = Some(written.commit);
                memory.pushed = Some((base, written.commit));
                if let Some(folder) = written.folder {
                    memory.folders.keep(folder.id, folder.new.into());
                }
                Ok(revision(Some(written.commit)))
            }
            Pushed::Raced => Err(self.raced(base)),
            Pushed::Refused { status, words } => Err(self.refused(repo, base, &status, &words)?),
        }
    }

    fn raced(&self, base: Option<Oid>) -> Failure {
        Error::conflict(format!(
            "the git repository {} is not at {} any more: another host was first",
            self.server.address.shown,
            short(base)
        ))
        .into()
    }

    /// Says why the server refused the branch. A server that couldn't lock or move it may have been moving it for another
    /// host, so the branch is looked at once more.
    fn refused(
        &self,
        repo: &Repository,
        base: Option<Oid>,
        status: &str,
        words: &str,
    ) -> Result<Failure, Failure> {
        let shown = &self.server.address.shown;
        let said = if words.is_empty() { status.to_owned() } else { format!("{status}: {words}") };
        if push::is_race(status, words) {
            return Ok(self.raced(base));
        }
        // A hook may have looked at a branch that went on meanwhile, too.
        let look = self.server.connect(repo, |connection| self.server.look(connection))?;
        if look.tip != base {
            return Ok(self.raced(base));
        }
        if push::is_hook(status) {
            return Ok(Error::refused(format!(
                "a hook of the git repository {shown} refused the commit ({said}): do what it says, or ask who runs it"
            ))
            .into());
        }
        let passing =
            ["failed to update ref", "lock", "unpack", "unable to migrate", "temporary object directory"];
        Ok(if passing.iter().any(|sign| status.contains(sign)) {
            Error::away(format!(
                "the git repository {shown} could not take the commit ({said}): check the space, \
                 the owner of its files, and for a .lock file that a crash left"
            ))
        } else {
            Error::refused(format!("the git repository {shown} refused the commit ({said})"))
        }
        .into())
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
