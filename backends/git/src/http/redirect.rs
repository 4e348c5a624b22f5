//! Which redirects are followed: those of a list of references, within a host. The login goes nowhere else.

use hyper::StatusCode;
use url::Url;

/// So many redirects in a row are followed.
pub(super) const MOST: usize = 5;

/// Tells whether a redirect also holds for later.
pub(super) fn is_for_good(status: StatusCode) -> bool {
    matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT)
}

/// Returns the place of the repository that a redirect leads to, or `None` where it isn't followed.
///
/// It stays at the same host, and at the same port unless it goes from plain HTTP to TLS, whose certificate shows that it
/// is the same host. It must keep what comes after the repository's place, as Git demands it too (`update_url_from_redirect`
/// in its `remote-curl.c`), or the next request had no place to go to.
pub(super) fn follow(asked: &Url, to: &str, service: &str) -> Option<Url> {
    let mut to = asked.join(to).ok()?;
    let upgraded = asked.scheme() == "http" && to.scheme() == "https";
    let is_same = if upgraded { asked.host() == to.host() } else { asked.origin() == to.origin() };
    if !is_same || !matches!(to.scheme(), "http" | "https") || *asked == to {
        return None;
    }
    let _ = to.set_username("");
    let _ = to.set_password(None);
    if to.query() != Some(&format!("service={service}")) {
        return None;
    }
    let place = to.path().strip_suffix("/info/refs")?.to_owned();
    to.set_path(&place);
    to.set_query(None);
    to.set_fragment(None);
    Some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_redirects_within_the_host_are_followed() {
        let asked = Url::parse("http://git.example/old.git/info/refs?service=git-upload-pack").unwrap();
        let rest = "info/refs?service=git-upload-pack";
        for (to, place) in [
            ("/new.git/R", Some("http://git.example/new.git")),
            ("http://git.example/new.git/R", Some("http://git.example/new.git")),
            ("https://git.example/old.git/R", Some("https://git.example/old.git")),
            ("https://git.example:8443/old.git/R", Some("https://git.example:8443/old.git")),
            ("http://me:secret@git.example/new.git/R", Some("http://git.example/new.git")),
            ("http://git.example:81/new.git/R", None),
            ("http://other.example/old.git/R", None),
            ("https://other.example/old.git/R", None),
            ("http://git.example.other/old.git/R", None),
            ("ftp://git.example/old.git/R", None),
            ("/login", None),
            ("/old.git/R", None),
        ] {
            let found = follow(&asked, &to.replace('R', rest), "git-upload-pack");
            assert_eq!(found.as_ref().map(Url::as_str), place, "{to}");
        }
        let secure = Url::parse("https://git.example/old.git/info/refs?service=git-upload-pack").unwrap();
        assert_eq!(follow(&secure, &format!("http://git.example/old.git/{rest}"), "git-upload-pack"), None);
    }
}
