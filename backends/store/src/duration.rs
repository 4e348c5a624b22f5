//! Durations as an operator writes them in a config file.

use std::{ops::RangeInclusive, time::Duration};

use crate::{Error, Result};

/// Parses a whole number and a unit, `ms`, `s`, `m` or `h`: `500ms`, `10s`, `2m`.
///
/// `key` is the key's full name, `store.git.interval`; the value must be within `bounds`.
///
/// # Errors
/// [`GiveUp`](crate::Remedy::GiveUp) with a sentence that names the key, the bounds, and what to write.
pub fn parse_duration(key: &str, text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration> {
    read(text).filter(|duration| bounds.contains(duration)).ok_or_else(|| {
        Error::refused(format!(
            "{key} {text:?} is no duration between {} and {}: write \"500ms\", \"5s\" or \"2m\"",
            shown(*bounds.start()),
            shown(*bounds.end())
        ))
    })
}

fn read(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(milliseconds).map(Duration::from_millis)
}

fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.into_iter().find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{milliseconds}ms"), |(unit, name)| format!("{}{name}", milliseconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Duration> {
        parse_duration("store.far.timeout", text, Duration::from_millis(10)..=Duration::from_secs(86_400))
    }

    #[test]
    fn reads_durations() {
        for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), (" 1 h", 3_600_000)] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_a_sentence() {
        for text in ["", "10", "s", "-1s", "1.5s", "0s", "9ms", "25h", "9999999999999999999s", "10 sec"] {
            let sentence = parse(text).unwrap_err().to_string();
            let words = "is no duration between 10ms and 24h: write \"500ms\", \"5s\" or \"2m\"";
            assert_eq!(sentence, format!("store.far.timeout {text:?} {words}"));
        }
    }
}
