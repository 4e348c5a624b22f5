//! What one call learns for the next.

use std::sync::Arc;

use git2::{Oid, Repository};

use crate::{
    remote::{Look, Server},
    tree::Endpoints,
};

/// What was learned by the call before.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The branch that holds the records.
    pub(crate) branch: Option<String>,
    /// Nothing was written since the size of what is on the disk was looked at.
    pub(crate) is_tidy: bool,
    endpoints: Option<(Option<Oid>, Arc<Endpoints>)>,
    told_absent: bool,
}

impl Memory {
    /// Remembers which branch it is, and says once that it isn't there yet.
    pub(crate) fn note(&mut self, look: &Look, server: &Server) {
        if look.tip.is_none() && look.has_others && !self.told_absent {
            tracing::warn!(
                branch = look.branch,
                repo = server.address.shown,
                "the branch is not in the repository yet; the first record makes it"
            );
        }
        self.told_absent = look.tip.is_none();
        if self.branch.as_ref() != Some(&look.branch) {
            tracing::info!(
                branch = look.branch,
                repo = server.address.shown,
                "endpoint records are on this branch"
            );
            self.branch = Some(look.branch.clone());
        }
    }

    /// Forgets what was read from a clone that is no more.
    pub(crate) fn forget(&mut self) {
        self.endpoints = None;
    }

    /// Reads the records' names and ids at a commit, from memory where it was the last one read.
    pub(crate) fn read(
        &mut self,
        repo: &Repository,
        commit: Option<Oid>,
    ) -> Result<Arc<Endpoints>, git2::Error> {
        let empty = Endpoints::default();
        let before = match &self.endpoints {
            Some((at, endpoints)) if *at == commit => return Ok(Arc::clone(endpoints)),
            Some((_, endpoints)) => endpoints,
            None => &empty,
        };
        let endpoints = Arc::new(Endpoints::read(repo, commit, before)?);
        self.endpoints = Some((commit, Arc::clone(&endpoints)));
        Ok(endpoints)
    }
}
