//! Sentences for what libgit2 and Git servers say.

use git2::{ErrorClass, ErrorCode};
use ipvland_store::Error;

use crate::{
    address::{Address, Route},
    talk::Talk,
};

/// Why a step of the work on the clone ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store's answer to the caller.
    Store(Error),
    /// The clone itself is broken; a new one may help.
    Clone(git2::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Clone(error)
    }
}

/// Says what went wrong at the server, from libgit2's error.
pub(crate) fn from_server(address: &Address, error: git2::Error) -> Error {
    // Where the talk is ours, libgit2 knows only that it ended.
    if let Some(why) = Talk::take_failure() {
        return why;
    }
    let Address { shown, .. } = address;
    let said = clean(error.message());
    if error.code() == ErrorCode::Owner {
        return Error::refused(format!(
            "the repository {shown} belongs to another user: chown it, or reach it by ssh or https"
        ));
    }
    let local = matches!(address.route, Route::Path(_));
    if (local && matches!(error.code(), ErrorCode::NotFound)) || is_missing(&said) {
        return missing(address);
    }
    if let Some(error) = denied(address, &said) {
        return error;
    }
    Error::away(format!("the git repository {shown} can't be reached: {said}"))
}

/// Tells an error of the clone from one of the server while both are at work.
pub(crate) fn while_talking(address: &Address, error: git2::Error) -> Failure {
    if let Some(why) = Talk::take_failure() {
        return Failure::Store(why);
    }
    if error.code() == ErrorCode::Locked || error.message().starts_with("failed to lock file") {
        // A lock that a crash left in the clone would stay for ever.
        return Failure::Clone(error);
    }
    match error.class() {
        ErrorClass::Odb
        | ErrorClass::Object
        | ErrorClass::Zlib
        | ErrorClass::Tree
        | ErrorClass::Reference
        | ErrorClass::Repository => Failure::Clone(error),
        _ => Failure::Store(from_server(address, error)),
    }
}

/// Says that the server sends us elsewhere.
pub(crate) fn redirected(address: &Address) -> String {
    format!(
        "the git server {} answers {} with a redirect, which is not followed because the password would go elsewhere: \
         put the final URL into store.git.repo",
        address.host(),
        address.shown
    )
}

/// Says that something else than Git answered.
pub(crate) fn web_page(address: &Address) -> Error {
    Error::refused(format!("{} is a web page and no git repository: check store.git.repo", address.shown))
}

/// Says that there is no repository.
pub(crate) fn missing(address: &Address) -> Error {
    Error::refused(format!(
        "there is no git repository at {}: create it on {} with git init --bare, or correct store.git.repo",
        address.shown,
        address.host()
    ))
}

/// Says that the server lets nobody at the repository, where it does.
pub(crate) fn denied(address: &Address, said: &str) -> Option<Error> {
    let is_so = said.contains("remote error")
        && ["denied", "not exported", "not allowed"].iter().any(|words| said.contains(words));
    is_so.then(|| {
        Error::refused(format!("the git server {} denies {}: {said}", address.host(), address.shown))
    })
}

/// Tells whether the server said that there is no repository.
pub(crate) fn is_missing(said: &str) -> bool {
    [
        "does not appear to be a git repository",
        "Repository not found",
        "repository not found",
        "does not exist",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// The longest text of a server that goes into an error, in characters.
const MAX_WORDS: usize = 400;

/// Makes one line of what a server said: no control characters, no runs of blanks, not too long.
pub(crate) fn clean(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use ipvland_store::Remedy;

    use super::*;

    fn answer(code: ErrorCode, class: ErrorClass, message: &str) -> Error {
        let (address, _) = Address::parse("ssh://u:hunter2@git.example/overlay.git").unwrap();
        from_server(&address, git2::Error::new(code, class, message))
    }

    #[test]
    fn the_kind_of_trouble_decides_the_remedy() {
        let error = answer(ErrorCode::GenericError, ErrorClass::Net, "failed to resolve address");
        assert_eq!(error.remedy(), Remedy::RetryLater);
    }

    #[test]
    fn a_servers_words_are_one_bounded_line() {
        assert_eq!(clean("  a\x1b[31m \r\n b\0"), "a [31m b");
        assert_eq!(clean(&"x".repeat(5_000)).len(), MAX_WORDS + 3);
    }
}
