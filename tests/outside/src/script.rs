//! What runs in the server: each script is one step, that no other client's command comes between.

use ipvland_store::{Batch, MAX_RECORD_BYTES, Revision, key::MAX_KEY_BYTES};
use redis::{Cmd, cmd};

use crate::judge::Place;

/// How many changes the stream keeps, about: a host that was away for longer reads the whole store again.
const KEPT_CHANGES: usize = 1000;

/// A script's text. The flags tell the server that it writes, so that a replica, which may be behind, refuses it.
macro_rules! script {
    ($flags:literal, $file:literal) => {
        concat!("#!lua ", $flags, "\n", include_str!("lua/revision.lua"), include_str!($file))
    };
}

// Reading is never refused for want of memory.
const SNAPSHOT: &str = script!("flags=allow-oom", "lua/snapshot.lua");
const CHANGES: &str = script!("flags=allow-oom", "lua/changes.lua");
const COMMIT: &str = script!("", "lua/commit.lua");

/// What [`Keys::snapshot`] answers: the revision, and each record's name and value.
pub(crate) type Records = (String, Vec<(Vec<u8>, Vec<u8>)>);

/// What [`Keys::commit`] answers: what happened, and the revision then.
pub(crate) type Committed = (String, String);

/// What [`Keys::changes`] answers: the revision, what was found, each changed name and its value, and the name and length
/// of each that may be no record.
pub(crate) type Changes = (String, String, Vec<(Vec<u8>, Option<Vec<u8>>)>, Vec<(Vec<u8>, usize)>);

/// The store's keys in the server.
pub(crate) struct Keys {
    pub(crate) records: String,
    pub(crate) changes: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { records: format!("{prefix}:records"), changes: format!("{prefix}:changes") }
    }

    fn eval(&self, script: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(script).arg(2).arg(&self.records).arg(&self.changes);
        command
    }

    /// Reads every record.
    pub(crate) fn snapshot(&self) -> Cmd {
        self.eval(SNAPSHOT)
    }

    /// Applies a batch.
    pub(crate) fn commit(&self, base: &Revision, writer: &str, batch: &Batch) -> Cmd {
        let mut command = self.eval(COMMIT);
        let mark = format!("{:016x}", fastrand::u64(..));
        command.arg(base.as_str()).arg(mark).arg(writer).arg(&batch.subject).arg(KEPT_CHANGES);
        for (key, change) in &batch.changes {
            match change {
                Some(bytes) => command.arg("put").arg(key.as_str()).arg(&bytes[..]),
                None => command.arg("remove").arg(key.as_str()).arg(""),
            };
        }
        command
    }

    /// Reads what changed, and what may be no record where that is wanted.
    pub(crate) fn changes(&self, after: &Place, with_odd: bool) -> Cmd {
        let mut command = self.eval(CHANGES);
        command.arg(after.revision.as_str()).arg(&after.id).arg(MAX_RECORD_BYTES).arg(MAX_KEY_BYTES);
        command.arg(u8::from(with_odd));
        command
    }

    /// Waits for an entry of the stream, no longer than this.
    pub(crate) fn wait(&self, after: &Place, at_most: std::time::Duration) -> Cmd {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(at_most.as_millis() as u64);
        command.arg("STREAMS").arg(&self.changes).arg(&after.id);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::EMPTY;

    #[test]
    fn the_script_knows_the_empty_store_by_its_name() {
        for script in [SNAPSHOT, CHANGES, COMMIT] {
            assert!(script.contains(&format!("'{EMPTY}'")));
        }
    }
}
