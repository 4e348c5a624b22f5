//! Cleans up after a lab that was killed.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{OrFail, Outcome};

/// A small shell that waits for the lab's end and then cleans up.
///
/// It holds one end of a pipe. The other end closes when the lab ends, also by SIGKILL, which no handler of the lab's
/// own could catch.
pub(super) struct Watcher(Child);

impl Watcher {
    /// Kills a group of processes.
    pub(super) fn kills_group(group: u32) -> Outcome<Self> {
        Self::start(r#"cat; kill -KILL -"$1""#, group.to_string().as_ref())
    }

    /// Removes a folder; a process that is just ending may still write there, so it tries for a while.
    pub(super) fn removes(folder: &Path) -> Outcome<Self> {
        Self::start(
            r#"cat; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && break; sleep 0.2; done"#,
            folder.as_os_str(),
        )
    }

    fn start(script: &str, argument: &std::ffi::OsStr) -> Outcome<Self> {
        let child = Command::new("sh")
            .args(["-c", script, "ipvland-lab-watcher"])
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        child.map(Self).or_fail("starting the watcher")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

/// Kills every process of a group that the lab made.
pub(super) fn kill_group(group: u32) {
    let pid = i32::try_from(group).ok().and_then(Pid::from_raw);
    // Gone already is what was wanted.
    let _: Option<Result<(), io::Error>> =
        pid.map(|pid| kill_process_group(pid, Signal::KILL).map_err(io::Error::from));
}
