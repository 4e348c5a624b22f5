//! The endpoint stores that `ipvland` is built with.
//!
//! One public function, so that the daemon can't name a store: it asks the registry for a kind from its config.

#![forbid(unsafe_code)]

use ipvland_store::Registry;

/// Returns the stores that this build knows, by the kind that a config file names; those whose feature is off are named
/// as left out.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    ipvland_store::memory::register(&mut registry);
    #[cfg(feature = "etcd")]
    ipvland_store_etcd::register(&mut registry);
    #[cfg(not(feature = "etcd"))]
    registry.leave_out("etcd", "etcd");
    #[cfg(feature = "filesystem")]
    ipvland_store_filesystem::register(&mut registry);
    #[cfg(not(feature = "filesystem"))]
    registry.leave_out("filesystem", "filesystem");
    #[cfg(feature = "git")]
    ipvland_store_git::register(&mut registry);
    #[cfg(not(feature = "git"))]
    registry.leave_out("git", "git");
    registry
}
