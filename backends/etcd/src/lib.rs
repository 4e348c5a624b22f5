//! Endpoint records of `ipvland` in etcd.

#![forbid(unsafe_code)]

use ipvland_store::Registry;

/// Registers the kind `etcd`.
pub fn register(_registry: &mut Registry) {}
