//! What one call learns for the next.

use std::sync::Arc;

use bytes::Bytes;
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
    /// How many calls wrote a little since the size of what is on the disk was looked at; `None` where it's time to look.
    writes: Option<u32>,
    pub(crate) folders: Folders,
    /// The last commit that was pushed with what it was based on, if nobody has looked at the branch since.
    pub(crate) pushed: Option<(Option<Oid>, Oid)>,
    /// Where the branch is, if the clone doesn't say so yet.
    pub(crate) moved_to: Option<Oid>,
    endpoints: Option<(Option<Oid>, Arc<Endpoints>)>,
    told_absent: bool,
}

/// The folders that were written last, from memory. With thousands of records it takes a while to read one from the disk and
/// to see that it's the one that was written.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    kept: Vec<(Oid, Bytes)>,
}

impl Folders {
    /// What is there now, and what comes next.
    const KEPT: usize = 2;

    /// Keeps a folder.
    pub(crate) fn keep(&mut self, id: Oid, raw: Bytes) {
        self.kept.retain(|(kept, _)| *kept != id);
        self.kept.truncate(Self::KEPT - 1);
        self.kept.insert(0, (id, raw));
    }

    /// Returns a folder, if it was kept.
    pub(crate) fn get(&self, id: Oid) -> Option<Bytes> {
        self.kept.iter().find(|(kept, _)| *kept == id).map(|(_, raw)| raw.clone())
    }
}

/// So many calls may write a little until the size of what is on the disk is looked at, which reads all folders of the clone.
const WRITES_UNSEEN: u32 = 16;

impl Memory {
    /// Counts a call that wrote a few objects into the clone.
    pub(crate) fn wrote(&mut self) {
        self.writes = self.writes.map(|writes| writes + 1);
    }

    /// Remembers that a call may have written many objects into the clone.
    pub(crate) fn wrote_much(&mut self) {
        self.writes = None;
    }

    /// Tells whether it's time to look at the size of what is on the disk, and counts anew if so.
    pub(crate) fn is_time_to_tidy(&mut self) -> bool {
        let is_time = self.writes.is_none_or(|writes| writes >= WRITES_UNSEEN);
        if is_time {
            self.writes = Some(0);
        }
        is_time
    }

    /// Remembers which branch it is and where, and says once that it isn't there yet.
    pub(crate) fn note(&mut self, look: &Look, server: &Server) {
        self.moved_to = look.tip;
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
        self.pushed = None;
        self.moved_to = None;
        self.endpoints = None;
        self.folders = Folders::default();
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
        let endpoints = Arc::new(Endpoints::read(repo, commit, before, &mut self.folders)?);
        self.endpoints = Some((commit, Arc::clone(&endpoints)));
        Ok(endpoints)
    }
}
