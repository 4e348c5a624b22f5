//! The Git server, as one store among others.

use super::StoreServer;
use crate::failure::Outcome;
use crate::guest::git_server::GitServer;

impl StoreServer for GitServer {
    fn tables(&self) -> String {
        format!("[store]\nkind = \"git\"\n\n[store.git]\nrepo = \"{}\"\ninterval = \"3s\"\n", self.url())
    }

    fn start(&self) -> Outcome {
        Self::start(self)
    }

    fn stop(&self) -> Outcome {
        Self::stop(self)
    }
}
