//! Where the repository is, parted from who logs in.

use std::path::PathBuf;

use ipvland_store::{Error, Result};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::credentials::Secret;

/// A repository's place, without any secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// What libgit2 is given: no password, and a user's name only for ssh, which needs it there.
    pub(crate) url: String,
    /// What an operator is shown: neither user nor password.
    pub(crate) shown: String,
    /// How it is reached.
    pub(crate) route: Route,
}

/// How a repository is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A directory of this host.
    Path(PathBuf),
    /// HTTP or HTTPS; the host's name.
    Http(String),
    /// SSH; the host's name, and the port where one is said.
    Ssh(String, Option<u16>),
}

/// The user and password that stood in the URL.
#[derive(Debug, Default)]
pub(crate) struct UserInfo {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

const FORMS: &str = "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or an absolute path";

impl Address {
    /// Returns the address of a directory.
    pub(crate) fn path(path: PathBuf) -> Result<Self> {
        let Some(text) = path.to_str() else {
            return Err(Error::refused(format!("the path {path:?} of the repository is not UTF-8")));
        };
        Ok(Self { url: text.to_owned(), shown: text.to_owned(), route: Route::Path(path) })
    }

    /// Returns the host and what OpenSSH calls it in `known_hosts`, for messages.
    pub(crate) fn host(&self) -> &str {
        match &self.route {
            Route::Path(_) => "this host",
            Route::Http(host) | Route::Ssh(host, _) => host,
        }
    }

    /// Parses `store.git.repo`.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) with a sentence that shows no part of the text, which may be a password.
    pub(crate) fn parse(repo: &str) -> Result<(Self, UserInfo)> {
        let repo = repo.trim();
        if repo.starts_with('/') {
            return Ok((Self::path(PathBuf::from(repo))?, UserInfo::default()));
        }
        if repo.contains("://") {
            return Self::from_url(repo);
        }
        match repo.split_once(':') {
            Some((host, path)) if !host.is_empty() && !host.contains('/') && !path.is_empty() => {
                Self::from_scp(repo, host, path)
            }
            _ => {
                Err(Error::refused(format!("store.git.repo is neither a URL nor an absolute path: {FORMS}")))
            }
        }
    }

    fn from_url(repo: &str) -> Result<(Self, UserInfo)> {
        let mut url = Url::parse(repo).map_err(|why| {
            Error::refused(format!(
                "store.git.repo is no valid URL ({why}): percent-encode special characters of the password ('#' is %23, \
                 '/' is %2F, '@' is %40), or use store.git.password_file"
            ))
        })?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::refused(
                "store.git.repo has a part after '?' or '#', which is never a part of a repository's URL: \
                 percent-encode special characters of the password ('#' is %23, '?' is %3F)",
            ));
        }
        let user = UserInfo {
            username: Some(decode(url.username())?).filter(|name| !name.is_empty()),
            password: url.password().map(decode).transpose()?.map(Secret::new),
        };
        // These fail for URLs without a host only, which have neither.
        let _ = url.set_password(None);
        let with_user = url.to_string();
        let _ = url.set_username("");
        let shown = url.to_string();
        let host = url.host_str().unwrap_or_default().to_owned();
        if host.is_empty() && url.scheme() != "file" {
            return Err(Error::refused(format!("store.git.repo names no host: {FORMS}")));
        }
        let (url, route) = match url.scheme() {
            "http" | "https" => (shown.clone(), Route::Http(host)),
            "ssh" => (with_user, Route::Ssh(host, url.port())),
            "file" => {
                let path = url.to_file_path().map_err(|()| {
                    Error::refused("store.git.repo is a file URL with a host in it: write file:///PATH")
                })?;
                return Ok((Self::path(path)?, UserInfo::default()));
            }
            other => {
                return Err(Error::refused(format!(
                    "store.git.repo has the scheme {other:?} (known: file, http, https, ssh)"
                )));
            }
        };
        Ok((Self { url, shown, route }, user))
    }

    fn from_scp(repo: &str, host: &str, path: &str) -> Result<(Self, UserInfo)> {
        let (username, host) = match host.rsplit_once('@') {
            Some((username, host)) => (Some(username.to_owned()), host),
            None => (None, host),
        };
        if username.as_deref().is_some_and(|name| name.contains(':')) || path.contains('@') {
            return Err(Error::refused(format!(
                "store.git.repo looks like a URL with a password but without a scheme: {FORMS}"
            )));
        }
        let address = Self {
            url: repo.to_owned(),
            shown: format!("{host}:{path}"),
            route: Route::Ssh(host.to_owned(), None),
        };
        Ok((address, UserInfo { username, password: None }))
    }
}

fn decode(part: &str) -> Result<String> {
    percent_decode_str(part).decode_utf8().map(Into::into).map_err(|_| {
        Error::refused(
            "the user or password in store.git.repo is not UTF-8 after percent-decoding: encode it again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_the_password_from_the_place() {
        let (address, user) =
            Address::parse("https://web%201:s%23cret@git.example:8443/net/overlay.git").unwrap();
        assert_eq!(address.url, "https://git.example:8443/net/overlay.git");
        assert_eq!(address.shown, address.url);
        assert_eq!(address.route, Route::Http("git.example".into()));
        assert_eq!(user.username.as_deref(), Some("web 1"));
        assert_eq!(user.password.unwrap().reveal(), "s#cret");

        let (address, user) = Address::parse("ssh://git:s3cret@git.example:2222/net/overlay.git").unwrap();
        assert_eq!(address.url, "ssh://git@git.example:2222/net/overlay.git");
        assert_eq!(address.shown, "ssh://git.example:2222/net/overlay.git");
        assert_eq!(address.route, Route::Ssh("git.example".into(), Some(2222)));
        assert_eq!(user.password.unwrap().reveal(), "s3cret");
    }

    #[test]
    fn knows_scp_and_paths() {
        let (address, user) = Address::parse("git@git.example:net/overlay.git").unwrap();
        assert_eq!(address.url, "git@git.example:net/overlay.git");
        assert_eq!(address.shown, "git.example:net/overlay.git");
        assert_eq!(address.route, Route::Ssh("git.example".into(), None));
        assert_eq!(user.username.as_deref(), Some("git"));
        for repo in ["/srv/git/overlay.git", "file:///srv/git/overlay.git"] {
            let (address, _) = Address::parse(repo).unwrap();
            assert_eq!(address.route, Route::Path("/srv/git/overlay.git".into()), "{repo}");
        }
    }

    #[test]
    fn no_error_shows_the_password() {
        let broken = [
            "http://user:hunter2#x@git.example/overlay.git",
            "http://user:hunter2/x@git.example/overlay.git",
            "http://user:hunter2@git.example/overlay.git?token=hunter2",
            "https://user:hunter2@/overlay.git",
            "ext://user:hunter2@git.example/x",
            "user:hunter2@git.example/overlay.git",
            "hunter2",
            "file://hunter2/overlay.git",
        ];
        for repo in broken {
            let error = Address::parse(repo).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{repo}: {error}");
        }
    }
}
