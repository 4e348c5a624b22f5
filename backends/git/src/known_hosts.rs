//! The host keys of ssh servers, as OpenSSH's `known_hosts` files hold them (`sshd(8)`, "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! libgit2 would look into `~/.ssh/known_hosts` alone; a daemon needs a file of the operator's choice, and a sentence
//! that says what to do.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// The files that hold the keys.
#[derive(Debug, Clone)]
pub(crate) struct KnownHosts {
    files: Vec<PathBuf>,
    /// A file that the operator named must be there.
    named: bool,
}

/// A key that a server showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// The key as it goes over the wire.
    pub(crate) key: &'a [u8],
    /// The key's kind as `known_hosts` has it: `ssh-ed25519`.
    pub(crate) kind: &'a str,
    pub(crate) sha256: &'a [u8; 32],
}

impl KnownHosts {
    /// Takes the file that the operator named, else OpenSSH's own.
    pub(crate) fn new(named: Option<&Path>) -> Self {
        if let Some(file) = named {
            return Self { files: vec![file.to_owned()], named: true };
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let own = home.map(|home| home.join(".ssh/known_hosts"));
        Self {
            files: own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect(),
            named: false,
        }
    }

    /// Checks the key that a server showed.
    ///
    /// # Errors
    /// The sentence for the operator when the key is unknown, another one or revoked.
    pub(crate) fn check(&self, shown: Shown<'_>) -> Result<(), String> {
        let mut changed = None;
        let mut other_kind = None;
        let mut known = false;
        for file in &self.files {
            let text = match fs::read_to_string(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.named => continue,
                Err(error) => {
                    return Err(format!(
                        "the known_hosts file {} can't be read ({error}): {}",
                        file.display(),
                        self.remedy(shown)
                    ));
                }
            };
            for (number, line) in text.lines().enumerate() {
                let Some(entry) = Entry::parse(line) else { continue };
                if !entry.is_about(shown.host, shown.port) {
                    continue;
                }
                let place = format!("{} line {}", file.display(), number + 1);
                match (entry.marker, entry.key == shown.key) {
                    (None, true) => known = true,
                    (None, false) if entry.kind == shown.kind => changed = changed.or(Some(place)),
                    (None, false) => other_kind = other_kind.or(Some((place, entry.kind.to_owned()))),
                    (Some("@revoked"), true) => {
                        return Err(format!(
                            "the git server {} showed an ssh host key that {place} revokes ({}): don't trust it",
                            shown.host,
                            fingerprint(shown)
                        ));
                    }
                    // A certificate authority signs certificates, and libssh2 shows plain keys only.
                    _ => {}
                }
            }
        }
        if known {
            return Ok(());
        }
        let remedy = self.remedy(shown);
        let (host, fingerprint) = (shown.host, fingerprint(shown));
        Err(match (changed, other_kind) {
            (Some(place), _) => format!(
                "the git server {host} showed another ssh host key than {place} has ({fingerprint}): somebody may be in \
                 between; if the server's key was really changed, remove the line, then {remedy}"
            ),
            (None, Some((place, kind))) => format!(
                "the git server {host} showed an ssh host key of another kind than the {kind} of {place} \
                 ({fingerprint}): compare it with the server's, then {remedy}"
            ),
            (None, None) => format!(
                "the ssh host key of the git server {host} is not known ({fingerprint}): compare it with the server's, \
                 then {remedy}"
            ),
        })
    }

    fn remedy(&self, shown: Shown<'_>) -> String {
        let port = if shown.port == 22 { String::new() } else { format!("-p {} ", shown.port) };
        let file = self.files.first().map(|file| file.display().to_string()).unwrap_or_default();
        format!("ssh-keyscan {port}{} >> {file}", shown.host)
    }
}

/// Returns a key's fingerprint as `ssh-keygen -l` prints it.
fn fingerprint(shown: Shown<'_>) -> String {
    format!("{} SHA256:{}", shown.kind, STANDARD_NO_PAD.encode(shown.sha256))
}

struct Entry<'a> {
    marker: Option<&'a str>,
    hosts: &'a str,
    kind: &'a str,
    key: Vec<u8>,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().peekable();
        if fields.peek()?.starts_with('#') {
            return None;
        }
        let marker = fields.next_if(|field| field.starts_with('@'));
        let hosts = fields.next()?;
        let kind = fields.next()?;
        let key = STANDARD.decode(fields.next()?).ok()?;
        Some(Self { marker, hosts, kind, key })
    }

    fn is_about(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = if port == 22 { host } else { format!("[{host}]:{port}") };
        if let Some(hashed) = self.hosts.strip_prefix("|1|") {
            return is_hash_of(hashed, &name).unwrap_or(false);
        }
        let mut matched = false;
        for pattern in self.hosts.split(',') {
            let pattern = pattern.to_ascii_lowercase();
            match pattern.strip_prefix('!') {
                Some(pattern) if matches(pattern.as_bytes(), name.as_bytes()) => return false,
                Some(_) => {}
                None => matched |= matches(pattern.as_bytes(), name.as_bytes()),
            }
        }
        matched
    }
}

/// Compares a host's name with `salt|hash`, both base64: HMAC-SHA1 of the name, keyed by the salt.
fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// Matches a name with a pattern of `*` and `?`, in time linear to each star.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    p = star + 1;
                    n = from + 1;
                    retry = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBuPXU7xVr0Kj8kOO4c0bJmXKXcSjwBtH1aJ0Z6o6X5c";

    fn check(text: &str, host: &str, port: u16) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let key = STANDARD.decode(KEY).unwrap();
        let shown = Shown { host, port, key: &key, kind: "ssh-ed25519", sha256: &[7; 32] };
        KnownHosts::new(Some(file.path())).check(shown)
    }

    #[test]
    fn finds_plain_names_ports_and_patterns() {
        for (hosts, host, port, good) in [
            ("git.example", "git.example", 22, true),
            ("a,GIT.example,b", "git.Example", 22, true),
            ("git.example", "git.example", 2222, false),
            ("[git.example]:2222", "git.example", 2222, true),
            ("*.example", "git.example", 22, true),
            ("g?t.*", "git.example", 22, true),
            ("*.example,!git.example", "git.example", 22, false),
            ("other", "git.example", 22, false),
        ] {
            let answer = check(&format!("# a comment\n\n{hosts} ssh-ed25519 {KEY} me\n"), host, port);
            assert_eq!(answer.is_ok(), good, "{hosts} {host} {port}: {answer:?}");
        }
    }

    /// The hashed line was made by `ssh-keygen -H` of OpenSSH 9.2 from `git.example`.
    #[test]
    fn finds_hashed_names() {
        let hash = "Tb9cy9PtIkLgwEIaHKPbPQSmpck=|IKIefOc4E9ZGNO3tGD/KdCl5mck=";
        let line = format!("|1|{hash} ssh-ed25519 {KEY}\n");
        check(&line, "git.example", 22).unwrap();
        check(&line, "git.example", 23).unwrap_err();
        check(&line, "other.example", 22).unwrap_err();
    }

    #[test]
    fn a_changed_unknown_or_revoked_key_is_a_sentence() {
        let changed = check("git.example ssh-ed25519 AAAA\n", "git.example", 22).unwrap_err();
        assert!(changed.contains("another ssh host key") && changed.contains("line 1"), "{changed}");
        let kind = check("git.example ssh-rsa AAAA\n", "git.example", 22).unwrap_err();
        assert!(kind.contains("another kind than the ssh-rsa"), "{kind}");
        let unknown = check("", "git.example", 2222).unwrap_err();
        assert!(unknown.contains("ssh-keyscan -p 2222 git.example >> "), "{unknown}");
        assert!(unknown.contains("ssh-ed25519 SHA256:BwcHBwcHBwc"), "{unknown}");
        let lines = format!("git.example ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}\n");
        assert!(check(&lines, "git.example", 22).unwrap_err().contains("revokes"));
        let authority = format!("@cert-authority git.example ssh-ed25519 {KEY}\n");
        check(&authority, "git.example", 22).unwrap_err();
    }
}
