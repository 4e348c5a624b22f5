//! The endpoint stores that `ipvland` is built with.
//!
//! One public function, so that the daemon can't name a store: it asks the registry for a kind from its config.

#![forbid(unsafe_code)]

use ipvland_store::Registry;

/// Returns the stores that this build knows, by the kind that a config file names.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    ipvland_store::memory::register(&mut registry);
    #[cfg(feature = "etcd")]
    ipvland_store_etcd::register(&mut registry);
    #[cfg(feature = "filesystem")]
    ipvland_store_filesystem::register(&mut registry);
    #[cfg(feature = "git")]
    ipvland_store_git::register(&mut registry);
    registry
}
