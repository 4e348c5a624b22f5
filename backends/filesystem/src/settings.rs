//! The table `store.filesystem` of the config file.

use std::{path::PathBuf, time::Duration};

use ipvland_store::{Error, Interval, Result, Setting, parse_duration};
use serde::Deserialize;

/// The keys of the table, for the registry.
pub const SETTINGS: &[Setting] = &[
    Setting::plain(
        "path",
        "the directory that the hosts share, an absolute path; better a directory inside a mount than the mount point \
         itself, which is there and empty when the mount fails",
    ),
    Setting::plain(
        "interval",
        "how often to look for what other machines wrote: \"500ms\", \"5s\", \"2m\"; default: 5s at first, longer in a large \
         fleet and while hosts tell each other",
    )
    .incidental(),
    Setting::plain(
        "timeout",
        "how long to wait for a host that is writing, and for a file server that is silent; default 10s",
    )
    .incidental(),
];

/// What the table holds, as the operator wrote it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory that the hosts share.
    pub path: PathBuf,
    /// How often to look: `5s`.
    pub interval: Option<String>,
    /// How long to wait for the lock and for the file server: `10s`.
    pub timeout: Option<String>,
}

impl Settings {
    /// Returns the directory, checked to be an absolute path.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        if self.path.is_absolute() {
            return Ok(self.path.clone());
        }
        Err(Error::refused(format!(
            "store.filesystem.path {:?} is no absolute path: write \"/mnt/shared/ipvland\", for instance",
            self.path
        )))
    }

    /// Returns how often to look. What inotify doesn't tell of, hosts tell each other, so it may grow unless it is set.
    pub(crate) fn interval(&self) -> Result<Interval> {
        let first = Duration::from_secs(5);
        let interval = duration("interval", self.interval.as_deref(), first)?;
        Ok(if self.interval.is_some() { Interval::Pinned(interval) } else { Interval::Adaptive(first) })
    }

    pub(crate) fn timeout(&self) -> Result<Duration> {
        duration("timeout", self.timeout.as_deref(), Duration::from_secs(10))
    }
}

fn duration(key: &str, text: Option<&str>, default: Duration) -> Result<Duration> {
    let Some(text) = text else { return Ok(default) };
    let bounds = Duration::from_millis(10)..=Duration::from_secs(86_400);
    parse_duration(&format!("store.filesystem.{key}"), text, bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_a_sentence() {
        for (path, is_fine) in [("/srv/net", true), ("srv/net", false), ("", false)] {
            let settings = Settings { path: path.into(), ..Settings::default() };
            assert_eq!(settings.path().is_ok(), is_fine, "{path}");
        }
    }

    #[test]
    fn every_field_is_a_known_key() {
        for setting in SETTINGS {
            let table = serde_json::json!({ "path": "/x", setting.name: "x" });
            serde_json::from_value::<Settings>(table).unwrap();
        }
    }
}
