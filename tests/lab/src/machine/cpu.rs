//! Gives each user-mode kernel a CPU of its own.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use rustix::thread::sched_getaffinity;

/// The hold on a CPU: a socket in the abstract namespace, which is free again when its process ends, however it ends.
pub(super) struct Hold(#[expect(dead_code, reason = "held open, never used")] UnixListener);

/// Takes a CPU that no other user-mode kernel of any lab has, where there is one.
///
/// The kernel and the processes that it traces take turns; on one CPU that is several times faster than waking each
/// other across CPUs.
pub(super) fn take() -> (usize, Option<Hold>) {
    let allowed = sched_getaffinity(None).map_or_else(
        |_| vec![0],
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect::<Vec<_>>(),
    );
    for cpu in &allowed {
        let name = format!("ipvland-lab-cpu-{cpu}");
        if let Ok(listener) =
            SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name))
        {
            return (*cpu, Some(Hold(listener)));
        }
    }
    (allowed[fastrand::usize(..allowed.len())], None)
}
