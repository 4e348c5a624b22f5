//! What the status of an answer means for the caller.

use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Limited};
use hyper::{HeaderMap, Response, body::Incoming, header::RETRY_AFTER};
use ipvland_store::Error;

use crate::{address::Address, errors::missing};

/// A server that asks for more is asked again after so long nevertheless.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// So much of a server's page is looked at, in bytes.
const MOST_WORDS: usize = 4 << 10;

/// Makes an error of a status that isn't 200.
pub(super) fn error(address: &Address, status: u16, pause: Option<Duration>) -> Error {
    let (host, shown) = (address.host(), &address.shown);
    match status {
        403 => Error::refused(format!(
            "the git server {host} denies this user {shown} (HTTP status {status}): give the user read and write access \
             there"
        )),
        404 | 410 => missing(address),
        407 => Error::refused(format!(
            "the proxy before the git server {host} wants another user and password: write them into store.git.proxy as \
             http://USER:PASSWORD@HOST:PORT"
        )),
        408 | 429 | 500.. => {
            let error = Error::away(format!(
                "the git server {host} can't serve {shown} at the moment (HTTP status {status}): look at the server's log"
            ));
            match pause {
                Some(pause) => error.with_pause(pause),
                None => error,
            }
        }
        _ => Error::refused(format!(
            "the git server {host} answered HTTP status {status} for {shown}: check the URL in store.git.repo"
        )),
    }
}

/// Reads how long the server wants to be left alone: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that is over asks for no pause.
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// Reads the beginning of the page that came with the status, for what it says about certificates.
pub(super) async fn words(response: Response<Incoming>) -> String {
    let read = Limited::new(response.into_body(), MOST_WORDS).collect().await;
    read.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ipvland_store::Remedy;

    use super::*;

    #[test]
    fn the_status_decides_the_remedy() {
        let (address, _) = Address::parse("https://u:hunter2@git.example/overlay.git").unwrap();
        for (status, remedy) in [
            (400, Remedy::GiveUp),
            (403, Remedy::GiveUp),
            (404, Remedy::GiveUp),
            (408, Remedy::RetryLater),
            (429, Remedy::RetryLater),
            (502, Remedy::RetryLater),
            (503, Remedy::RetryLater),
        ] {
            let error = error(&address, status, Some(Duration::from_secs(7)));
            assert_eq!(error.remedy(), remedy, "{error}");
            let pause = (remedy == Remedy::RetryLater).then_some(Duration::from_secs(7));
            assert_eq!(error.pause(), pause, "{error}");
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            pause(&headers)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        assert_eq!(read("999999999"), Some(LONGEST_PAUSE));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let found = read(&later).unwrap();
        assert!(found > Duration::from_secs(90) && found <= Duration::from_secs(100), "{found:?}");
        for text in ["soon", "-1", "1.5", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
