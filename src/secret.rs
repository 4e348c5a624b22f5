//! Which values hold a secret, what is shown in their place, and when one lies open.
//!
//! The stores say which of their keys are secret; this module acts on it. How a URL is shown is the stores' as well,
//! since they print URLs too.

use std::path::Path;

use figment::value::Value;
use ipvland_store::{
    Sensitivity,
    settings::{HIDDEN, redact_url},
};

/// Returns a value as an operator may see it.
pub(crate) fn shown(sensitivity: Sensitivity, value: Value) -> Value {
    match (sensitivity, &value) {
        (Sensitivity::Plain, _) => value,
        (Sensitivity::Url, Value::String(_, url)) => Value::String(value.tag(), redact_url(url)),
        (Sensitivity::Url, Value::Array(_, urls)) => {
            let urls = urls.iter().map(|url| shown(sensitivity, url.clone()));
            Value::Array(value.tag(), urls.collect())
        }
        (Sensitivity::Url | Sensitivity::Secret, _) => Value::String(value.tag(), HIDDEN.into()),
    }
}

/// Tells whether a value holds a secret: a URL without a password doesn't.
pub(crate) fn is_in(sensitivity: Sensitivity, value: &Value) -> bool {
    match (sensitivity, value) {
        (Sensitivity::Plain, _) => false,
        (Sensitivity::Url, Value::String(_, url)) => redact_url(url) != *url,
        (Sensitivity::Url, Value::Array(_, urls)) => urls.iter().any(|url| is_in(sensitivity, url)),
        (Sensitivity::Url | Sensitivity::Secret, _) => true,
    }
}

/// Hides the passwords of the URLs among the arguments in a text that may quote them.
pub(crate) fn hide_arguments(text: String, arguments: &[String]) -> String {
    let urls = arguments.iter().filter(|argument| argument.contains("://"));
    urls.map(|argument| {
        argument
            .split_once('=')
            .map_or(argument.as_str(), |(flag, value)| if flag.starts_with('-') { value } else { argument })
    })
    .fold(text, |text, url| text.replace(url, &redact_url(url)))
}

/// What an operator hears whose password is on the command line.
pub(crate) fn command_line_warning(flag: &str) -> String {
    format!(
        "the password in {flag} is on the command line, where every user of this host sees it with ps: move it to \
         /etc/ipvland/ipvland.toml (mode 0600), to IPVLAND_STORE__GIT__REPO in the unit's EnvironmentFile, or to the \
         file that store.git.password_file names"
    )
}

/// What an operator hears whose password lies in a file that others may read.
pub(crate) fn open_file_warning(path: &Path, key: &str) -> String {
    let path = path.display();
    format!("{path} holds a secret in {key} and others may read it: run chmod 0600 {path}")
}
