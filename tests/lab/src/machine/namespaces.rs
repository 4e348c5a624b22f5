//! This machine's own kernel, with fresh namespaces around the hosts.

use std::process::{Command, Stdio};

use super::Job;

/// Tries an ipvlan link in a network namespace of its own; a dummy or a veth serves as its parent.
const PROBE: &str = r#"
for kind in "dummy" "veth peer name labpeer"; do
    ip link add labparent type $kind || continue
    ip link add link labparent labprobe type ipvlan mode l3 && exit 0
done
exit 1
"#;

/// Whether this machine's kernel can make an ipvlan link.
pub(super) fn has_ipvlan() -> bool {
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The command that runs the lab as process 1 of fresh namespaces.
pub(super) fn command(job: &Job<'_>) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
    ]);
    command.arg(job.run.programs().join("lab")).args(job.init_arguments());
    command
}
