//! The version of a whole store.

use std::{fmt, sync::Arc};

/// An opaque version of the whole store: a Git commit, an etcd revision, a directory generation.
///
/// Revisions are compared for equality only: Git commits have no total order. A store that holds nothing yet has a
/// revision too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// Makes a revision from the store's own name for it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Returns the store's own name for it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
