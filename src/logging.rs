//! What the daemon logs, and how its lines look.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config::LogConfig;

/// The filter of `-d`: our own lines at debug, those of the stores too (their targets begin with `ipvland_store`), and
/// the libraries' at info.
pub(crate) const DEBUG_FILTER: &str = "info,ipvland=debug";

/// Parses a level or filter, in the syntax of tracing's `EnvFilter`; `None` where it's neither.
///
/// One word alone must be a level: `EnvFilter` takes a mistyped `inof` for the name of a module, and is silent ever after.
pub(crate) fn parse_filter(text: &str) -> Option<EnvFilter> {
    let word = !text.contains(['=', '[', ',', ':']) && !text.starts_with("ipvland");
    if text.trim().is_empty() || (word && text.parse::<LevelFilter>().is_err()) {
        return None;
    }
    EnvFilter::builder().parse(text).ok()
}

/// Starts logging to stderr; a second call changes nothing.
///
/// Human lines carry no time under systemd, whose journal has its own, and colors on a terminal only.
pub(crate) fn init(config: &LogConfig) {
    let filter = parse_filter(&config.filter).unwrap_or_else(|| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let human = builder.with_target(false).with_ansi(std::io::stderr().is_terminal());
    // A logger that is there already belongs to a program that has us as a library: it keeps its own.
    let _ = if config.json {
        human.json().flatten_event(true).with_target(true).try_init()
    } else if writes_to_journal() {
        human.without_time().try_init()
    } else {
        human.try_init()
    };
}

/// Tells whether stderr is the journal's, by the device and inode in `JOURNAL_STREAM` (systemd.exec(5)): shells inherit
/// the variable, and their stderr is a terminal.
fn writes_to_journal() -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_filters_from_slips() {
        for good in
            ["info", "DEBUG", "off", "info,ipvland=debug", "ipvland", "warn,hyper=trace", DEBUG_FILTER]
        {
            assert!(parse_filter(good).is_some(), "{good}");
        }
        for bad in ["", " ", "inof", "ipvland=loud", "a=b=c"] {
            assert!(parse_filter(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_debug_filter_covers_the_stores_and_not_the_libraries() {
        use tracing::Level;
        use tracing_subscriber::layer::SubscriberExt as _;
        let subscriber = tracing_subscriber::registry().with(parse_filter(DEBUG_FILTER).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::enabled!(target: "ipvland::syncer", Level::DEBUG));
            assert!(tracing::enabled!(target: "ipvland_store::poll", Level::DEBUG));
            assert!(tracing::enabled!(target: "ipvland_store_git", Level::DEBUG));
            assert!(tracing::enabled!(target: "hyper", Level::INFO));
            assert!(!tracing::enabled!(target: "hyper", Level::DEBUG));
        });
    }
}
