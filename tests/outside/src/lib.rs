//! The records of all hosts in one JSON file: a store as somebody outside writes it, with `ipvland-store` alone.
//!
//! It serves daemons that share a directory, such as several network namespaces of one machine. It is also the
//! pattern for a store of your own; the tests run the conformance suite over it, and the daemon with it.
//!
//! # Layout
//!
//! - [`register`] and [`Settings`]: the table `[store.onefile]` of the config file;
//! - [`OneFile`]: the three methods of the trait;
//! - `document`: what the file holds, and what changed in it since a revision: no I/O;
//! - `disk`: read, and replace under a lock.

#![forbid(unsafe_code)]

mod disk;
mod document;
mod store;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipvland_store::{Error, Registry, Setting};

pub use store::OneFile;

/// The table `[store.onefile]`.
#[derive(Clone, serde::Deserialize)]
pub struct Settings {
    /// The file; its directory must be there.
    pub path: PathBuf,
    /// A word that all hosts of a fleet share, and that keeps others from writing by mistake.
    pub token: Option<String>,
    /// How often to look, in milliseconds.
    pub interval_ms: Option<u64>,
}

const SETTINGS: &[Setting] = &[
    Setting::plain("path", "the file with all records, an absolute path; its directory must be there"),
    Setting::secret("token", "a word that all hosts of a fleet share; default: none"),
    Setting::plain("interval_ms", "how often to look, in milliseconds; default 1000"),
];

/// Registers the kind `onefile`.
pub fn register(registry: &mut Registry) {
    registry.register("onefile", SETTINGS, |settings: Settings, context| async move {
        if !settings.path.is_absolute() {
            let path = settings.path.display();
            return Err(Error::refused(format!("store.onefile.path must be absolute, not {path}")));
        }
        let interval = Duration::from_millis(settings.interval_ms.unwrap_or(1000));
        Ok(Arc::new(OneFile::new(settings.path, settings.token, interval, context.nudge)) as _)
    });
}
