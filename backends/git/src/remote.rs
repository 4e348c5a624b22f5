//! Talking to the server: connect, list, fetch; and what the server says meanwhile.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use git2::{AutotagOption, Direction, FetchOptions, Oid, RemoteConnection, RemoteRedirect, Repository};
use ipvland_store::Error;

use crate::{
    address::{Address, Route},
    credentials::Login,
    errors::{Failure, from_server, while_talking},
    http_fetch::{self, Kept},
    memory::Folders,
    talk::Talk,
    transport::{self, Line},
};

/// All that is needed to talk to the server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) login: Login,
    pub(crate) line: Arc<Line>,
    /// The branch that the operator set.
    pub(crate) branch: Option<String>,
}

/// What the server shows without any download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// The branch that holds the records.
    pub(crate) branch: String,
    /// Its commit; `None` where the branch isn't there yet.
    pub(crate) tip: Option<Oid>,
    /// Whether there are other branches.
    pub(crate) has_others: bool,
}

impl Server {
    /// Returns the URL that libgit2 is given.
    pub(crate) fn url(&self) -> &str {
        match &*self.line {
            Line::LibGit2 => &self.address.url,
            Line::Http(_) | Line::Ssh(_) => transport::URL,
        }
    }

    /// Connects, and runs `talk` with the connection.
    pub(crate) fn connect<T>(
        &self,
        repo: &Repository,
        talk: impl FnOnce(&mut RemoteConnection<'_, '_, '_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut remote = repo.remote_anonymous(self.url()).map_err(|why| from_server(&self.address, why))?;
        let mut connection = remote
            .connect_auth(Direction::Fetch, None, None)
            .map_err(|why| from_server(&self.address, why))?;
        talk(&mut connection)
    }

    /// Lists the server's branches and finds the one that holds the records.
    pub(crate) fn look(&self, connection: &RemoteConnection<'_, '_, '_>) -> Result<Look, Failure> {
        let heads = connection.list().map_err(|why| from_server(&self.address, why))?;
        let branches: Vec<(String, Oid)> = heads
            .iter()
            .filter_map(|head| {
                // git2 panics on a name that is not UTF-8. Such a branch isn't ours, and takes nothing else down.
                let name = catch_unwind(AssertUnwindSafe(|| head.name().to_owned())).ok()?;
                Some((name.strip_prefix("refs/heads/")?.to_owned(), head.oid()))
            })
            .collect();
        let branch = match &self.branch {
            Some(branch) => branch.clone(),
            None => self.default_branch(connection, &branches)?,
        };
        let tip = branches.iter().find(|(name, _)| *name == branch).map(|(_, id)| *id);
        Ok(Look { branch, tip, has_others: branches.len() > usize::from(tip.is_some()) })
    }

    /// Follows the remote's HEAD. It says nothing where it names a branch that isn't there yet: an empty repository, or
    /// one whose first branch has another name than its HEAD.
    fn default_branch(
        &self,
        connection: &RemoteConnection<'_, '_, '_>,
        branches: &[(String, Oid)],
    ) -> Result<String, Failure> {
        if let Ok(name) = connection.default_branch()
            && let Some(branch) = name.as_str().ok().and_then(|name| name.strip_prefix("refs/heads/"))
        {
            return Ok(branch.to_owned());
        }
        match branches {
            [] => Ok("main".to_owned()),
            [(only, _)] => Ok(only.clone()),
            several if several.iter().any(|(name, _)| name == "main") => Ok("main".to_owned()),
            _ => Err(Error::refused(format!(
                "the repository {} has several branches and its HEAD names none of them: set store.git.branch",
                self.address.shown
            ))
            .into()),
        }
    }

    /// Downloads what the clone lacks of the branch. Returns how that is kept, or `None` where nothing was lacking.
    pub(crate) fn fetch(
        &self,
        repo: &Repository,
        connection: &mut RemoteConnection<'_, '_, '_>,
        folders: &mut Folders,
        look: &Look,
    ) -> Result<Option<Kept>, Failure> {
        let Some(tip) = look.tip else { return Ok(None) };
        if repo.find_commit(tip).is_ok() {
            return Ok(None);
        }
        // A new clone begins with the newest commit, and what came before it is the server's to keep. Later the commits in
        // between are wanted: they tell that the branch went on and was not rewritten.
        let before = repo.refname_to_id(&tracking(&look.branch)).ok();
        let is_new = before.is_none();
        if let Line::Http(client) = &*self.line
            && let (Some(have), Some(talk)) = (before, Talk::current())
            && let Some(kept) = http_fetch::fetch(client, &talk, repo, folders, have, tip)?
        {
            tracing::debug!(branch = look.branch, %tip, "fetched what is new on the branch");
            return Ok(Some(kept));
        }
        let depth = i32::from(is_new && !matches!(self.address.route, Route::Path(_)));
        match self.download(connection, look, depth) {
            Err(Failure::Store(why)) if depth > 0 && why.to_string().contains(NO_SHALLOW) => {
                self.download(connection, look, 0)?;
            }
            ended => ended?,
        }
        tracing::debug!(branch = look.branch, %tip, "fetched the branch");
        Ok(Some(Kept::Pack))
    }

    /// Downloads all commits of the branch that a new clone left out.
    pub(crate) fn fetch_history(
        &self,
        connection: &mut RemoteConnection<'_, '_, '_>,
        look: &Look,
    ) -> Result<(), Failure> {
        // libgit2's and git's own number for "to the first commit" (`GIT_FETCH_DEPTH_UNSHALLOW`, `INFINITE_DEPTH`).
        self.download(connection, look, i32::MAX)
    }

    /// Fetches the branch, with so many commits of its history; 0 fetches what the clone lacks.
    fn download(
        &self,
        connection: &mut RemoteConnection<'_, '_, '_>,
        look: &Look,
        depth: i32,
    ) -> Result<(), Failure> {
        let mut options = FetchOptions::new();
        options
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            .depth(depth);
        let refspec = format!("+refs/heads/{0}:{1}", look.branch, tracking(&look.branch));
        let ended = connection.remote().fetch(&[refspec], Some(&mut options), None);
        ended.map_err(|why| while_talking(&self.address, why))
    }
}

/// What libgit2 says where a server can't leave history out.
const NO_SHALLOW: &str = "server doesn't support shallow";

/// Keeps a commit of the branch from being forgotten, and tells the next fetch what is here.
pub(crate) fn remember(repo: &Repository, branch: &str, tip: Oid) -> Result<(), git2::Error> {
    let name = tracking(branch);
    if repo.refname_to_id(&name).ok() != Some(tip) {
        repo.reference(&name, tip, true, "")?;
    }
    Ok(())
}

fn tracking(branch: &str) -> String {
    format!("refs/remotes/origin/{branch}")
}
