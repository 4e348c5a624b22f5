//! A fleet end to end: two daemons on hosts of their own, a server, and a segment that joins them.

mod committer;
pub(crate) mod daemon;
pub(crate) mod place;
pub(crate) mod segment;

pub(crate) use committer::Committer;
pub(crate) use daemon::Daemon;
pub(crate) use place::Shop;
pub(crate) use segment::Segment;
