//! A commit: written into the clone, pushed, and told from one that another host was faster than.

use git2::{Oid, Repository};
use ipvland_store::{Batch, Error, Result, Revision};

use crate::{
    errors::Failure,
    memory::Memory,
    push,
    push::Pushed,
    revision::{revision, short},
    store::Inner,
};

impl Inner {
    /// Writes a batch on a base and pushes it, if the branch is there.
    pub(crate) fn commit(
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
}
