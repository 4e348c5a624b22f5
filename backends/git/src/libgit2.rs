//! The switches of libgit2 that are global to the process, and the only unsafe code of the crate.
//!
//! libgit2 keeps a few settings in C globals without a lock. They are set here, under a lock of our own, before the
//! first store of the process talks to anything.

#![allow(unsafe_code)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use git2::{ConfigLevel, opts};
use ipvland_store::{Error, Result};

static SET_UP: OnceLock<std::result::Result<(), String>> = OnceLock::new();
static TRUSTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Sets the switches: no configuration but the clone's own, and time-outs for sockets.
///
/// Only the first call of a process does something, so the time-out of the first store holds for all.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when libgit2 says no.
pub(crate) fn set_up(timeout: Duration) -> Result<()> {
    SET_UP
        .get_or_init(|| {
            let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            let levels =
                [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global];
            for level in levels {
                // SAFETY: the setters write C globals. `get_or_init` lets one thread in, once, and every store calls this
                // before it uses libgit2 for the first time, so nobody reads the globals at the same time.
                unsafe { opts::set_search_path(level, "") }.map_err(|error| error.message().to_owned())?;
            }
            // SAFETY: as above.
            unsafe { opts::set_server_connect_timeout_in_milliseconds(milliseconds) }
                .map_err(|error| error.message().to_owned())?;
            // SAFETY: as above.
            unsafe { opts::set_server_timeout_in_milliseconds(milliseconds) }
                .map_err(|error| error.message().to_owned())
        })
        .clone()
        .map_err(|why| Error::refused(format!("libgit2 can't be set up: {why}")))
}

/// Adds the certificate authorities of a PEM file to those that TLS trusts. libgit2 knows one set for the whole process.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) when the file can't be read or holds no certificate.
pub(crate) fn trust(ca_file: &Path) -> Result<()> {
    let mut trusted = TRUSTED.lock().unwrap_or_else(PoisonError::into_inner);
    if trusted.contains(ca_file) {
        return Ok(());
    }
    let shown = ca_file.display();
    std::fs::File::open(ca_file)
        .map_err(|why| Error::refused(format!("store.git.ca_file {shown} can't be read: {why}")))?;
    // SAFETY: libgit2 hands the file to OpenSSL's `SSL_CTX_load_verify_locations`, which adds to a certificate store that
    // has a lock of its own; the lock held here keeps two callers of this function apart.
    unsafe { opts::set_ssl_cert_file(ca_file) }.map_err(|why| {
        Error::refused(format!(
            "store.git.ca_file {shown} holds no certificate that OpenSSL can read ({}): give a PEM file",
            why.message()
        ))
    })?;
    trusted.insert(ca_file.to_owned());
    Ok(())
}
