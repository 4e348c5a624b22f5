//! The switches of libgit2 that are global to the process, and the only unsafe code of the crate.
//!
//! libgit2 keeps a few settings in C globals without a lock. They are set here, under a lock of our own, before the
//! first store of the process talks to anything.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use git2::{ConfigLevel, opts};
use ipvland_store::{Error, Result};

use crate::transport;

static SET_UP: OnceLock<std::result::Result<(), String>> = OnceLock::new();

/// Sets the switches: no configuration but the clone's own, and our transport. Only the first call of a process does
/// something.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when libgit2 says no.
pub(crate) fn set_up() -> Result<()> {
    SET_UP
        .get_or_init(|| {
            // The checksum of zlib shows what a disk has spoiled. To hash a folder of thousands anew each time that it's read
            // would take longer than all the rest of a call.
            opts::strict_hash_verification(false);
            let levels =
                [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global];
            for level in levels {
                // SAFETY: the setters write C globals. `get_or_init` lets one thread in, once, and every store calls this
                // before it uses libgit2 for the first time, so nobody reads the globals at the same time.
                unsafe { opts::set_search_path(level, "") }.map_err(|error| error.message().to_owned())?;
            }
            // SAFETY: as above, for libgit2's list of transports.
            unsafe { git2::transport::register(transport::SCHEME, transport::make) }
                .map_err(|error| error.message().to_owned())
        })
        .clone()
        .map_err(|why| Error::refused(format!("libgit2 can't be set up: {why}")))
}
