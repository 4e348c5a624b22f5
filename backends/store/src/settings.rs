//! What a store says of its own part of the config file.

/// One key of a store's table in the config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key: `repo`.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// How the value is shown.
    pub sensitivity: Sensitivity,
    /// Whether the value tells one store from another, as a URL or a path does.
    pub identifies: bool,
}

/// How a value is shown to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitivity {
    /// As it is.
    Plain,
    /// A URL: the password in it is hidden.
    Url,
    /// Not at all.
    Secret,
}

impl Setting {
    /// Makes a key whose value may be shown.
    pub const fn plain(name: &'static str, help: &'static str) -> Self {
        Self { name, help, sensitivity: Sensitivity::Plain, identifies: true }
    }

    /// Makes a key whose value is a URL that may hold a password.
    pub const fn url(name: &'static str, help: &'static str) -> Self {
        Self { name, help, sensitivity: Sensitivity::Url, identifies: true }
    }

    /// Makes a key whose value is never shown.
    pub const fn secret(name: &'static str, help: &'static str) -> Self {
        Self { name, help, sensitivity: Sensitivity::Secret, identifies: false }
    }
}

impl Setting {
    /// Says that with another value it's the same store still, as with a time-out or a login.
    ///
    /// A host that finds another store in its config than at its last start publishes anew there, and holds what that
    /// store doesn't know yet.
    pub const fn incidental(mut self) -> Self {
        self.identifies = false;
        self
    }

    /// Returns a value of this key as an operator may see it.
    pub fn redact(&self, value: &str) -> String {
        match self.sensitivity {
            Sensitivity::Plain => value.to_owned(),
            Sensitivity::Url => redact_url(value),
            Sensitivity::Secret => HIDDEN.to_owned(),
        }
    }
}

/// Stands where a secret was.
pub const HIDDEN: &str = "***";

/// Hides the password of a URL: `http://user:***@git.example/net.git`.
///
/// All up to the last `@` counts as user and password, so that a password with an `@` or a `/` in it, which makes the URL
/// invalid, is hidden as well; in such a URL the user is hidden too. A user without a password is hidden in http and https
/// URLs, where it may be a token, and stays in others: `ssh://git@git.example/net.git`.
pub fn redact_url(url: &str) -> String {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let Some(at) = url[start..].rfind('@').map(|at| start + at) else {
        return url.to_owned();
    };
    let (user, host) = (&url[start..at], &url[at..]);
    let token = url[..start].to_ascii_lowercase().starts_with("http");
    match user.split_once(':') {
        // An `@` in the path of a URL without a user.
        None if user.contains('/') => url.to_owned(),
        None if !token || user.is_empty() => url.to_owned(),
        Some((name, _)) if !user.contains(|c: char| "/?#\\".contains(c) || c.is_whitespace()) => {
            format!("{}{name}:{HIDDEN}{host}", &url[..start])
        }
        _ => format!("{}{HIDDEN}{host}", &url[..start]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_hidden_and_all_else_stays() {
        for (url, shown) in [
            ("https://git.example/net.git", "https://git.example/net.git"),
            ("http://user:pw@git.example:8080/net.git", "http://user:***@git.example:8080/net.git"),
            ("http://token@git.example/net.git", "http://***@git.example/net.git"),
            ("ssh://git@git.example/net.git", "ssh://git@git.example/net.git"),
            ("http://user:p@w@git.example/net.git", "http://user:***@git.example/net.git"),
            ("http://user:p/w@git.example/net.git", "http://***@git.example/net.git"),
            ("http://user:p#w@git.example/net.git", "http://***@git.example/net.git"),
            ("http://user:@git.example/", "http://user:***@git.example/"),
            ("http://:pw@git.example/", "http://:***@git.example/"),
            ("git@git.example:net.git", "git@git.example:net.git"),
            ("user:pw@git.example/net.git", "user:***@git.example/net.git"),
            ("https://git.example/~me/a@b", "https://git.example/~me/a@b"),
            ("/srv/net.git", "/srv/net.git"),
            ("", ""),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn values_are_shown_by_sensitivity() {
        assert_eq!(Setting::plain("branch", "").redact("main"), "main");
        assert_eq!(Setting::url("repo", "").redact("http://u:pw@h/"), "http://u:***@h/");
        assert_eq!(Setting::secret("password", "").redact("pw"), "***");
    }

    proptest::proptest! {
        #[test]
        fn no_password_survives(
            user in "[a-z]{0,5}",
            // A mark that occurs nowhere else shows whether a part of the password is left.
            head in "[ -~]{0,6}", tail in "[ -~]{0,6}",
            path in "[a-z/.@:]{0,8}",
        ) {
            let url = format!("https://{user}:{head}SECRET{tail}@git.example/{path}");
            proptest::prop_assert!(!redact_url(&url).contains("SECRET"), "{}", redact_url(&url));
        }
    }
}
