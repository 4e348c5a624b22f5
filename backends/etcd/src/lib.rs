//! Endpoint records of `ipvland` in etcd.

#![forbid(unsafe_code)]

mod alert;
mod commit;
mod contents;
mod endpoints;
mod errors;
mod layout;
mod login;
mod members;
mod read;
mod revision;
pub mod settings;
mod store;
mod tls;
mod tls_errors;
mod watch;

use std::sync::Arc;

use ipvland_store::{EndpointStore, Registry};

pub use settings::{SETTINGS, Settings};
pub use store::EtcdStore;

/// Registers the kind `etcd`.
pub fn register(registry: &mut Registry) {
    registry.register("etcd", SETTINGS, |settings: Settings, _| async move {
        // Opening reads the files for TLS alone, for a moment.
        EtcdStore::open(&settings).map(|store| Arc::new(store) as Arc<dyn EndpointStore>)
    });
}
