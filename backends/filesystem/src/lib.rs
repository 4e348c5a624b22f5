//! Endpoint records of `ipvland` in a directory that hosts share.

#![forbid(unsafe_code)]

use ipvland_store::Registry;

/// Registers the kind `filesystem`.
pub fn register(_registry: &mut Registry) {}
