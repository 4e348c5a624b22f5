//! Sentences for what `ssh` says (`sshconnect.c`, `sshconnect2.c` of OpenSSH), and for what Git says behind it.

use std::{path::Path, time::Duration};

use ipvland_store::Error;

use crate::{
    address::Address,
    credentials::Login,
    errors::{clean, denied, missing},
};

/// What sentences need to know besides what was said.
#[derive(Debug)]
pub(super) struct Words {
    address: Address,
    /// How the server's host key is fetched, for the operator: `ssh-keyscan -p 2222 git.example >> FILE`.
    keyscan: String,
    user: String,
    has_passphrase: bool,
}

impl Words {
    pub(super) fn new(
        address: &Address,
        host: &str,
        port: Option<u16>,
        known_hosts: Option<&Path>,
        login: &Login,
    ) -> Self {
        let port = port.filter(|port| *port != 22).map(|port| format!("-p {port} ")).unwrap_or_default();
        let file = known_hosts
            .map_or_else(|| "/etc/ssh/ssh_known_hosts".to_owned(), |file| file.display().to_string());
        Self {
            address: address.clone(),
            keyscan: format!("ssh-keyscan {port}{host} >> {file}"),
            user: login.user().to_owned(),
            has_passphrase: login.has_passphrase(),
        }
    }

    /// Says that the server was silent for too long.
    pub(super) fn silent(&self, patience: Duration) -> Error {
        Error::away(format!(
            "the git repository {} can't be reached: the server said nothing for {} s",
            self.address.shown,
            patience.as_secs_f32()
        ))
    }

    /// Says why the program ended with a status, from all that it said; ssh itself ends with 255.
    pub(super) fn explain(&self, status: Option<i32>, said: &str) -> Error {
        let (host, shown) = (self.address.host(), &self.address.shown);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let debug: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("debug1: ")).collect();
        let plain: Vec<&str> = lines.iter().copied().filter(|line| !is_chatter(line)).collect();
        let says = |words: &str| plain.iter().find(|line| line.contains(words)).copied();
        let key = debug.iter().find_map(|line| line.strip_prefix("Server host key: "));
        let key = key.map(|key| format!(" ({})", clean(key))).unwrap_or_default();
        let keyscan = &self.keyscan;
        if says("REVOKED HOST KEY").is_some() || says("is marked as revoked").is_some() {
            return Error::refused(format!(
                "the git server {host} showed an ssh host key that is revoked{key}: don't trust it"
            ));
        }
        if says("REMOTE HOST IDENTIFICATION HAS CHANGED").is_some() {
            let place = plain.iter().find_map(|line| line.strip_prefix("Offending ")?.split_once(" key in "));
            let place = place.map_or("the known hosts", |(_, place)| place);
            return Error::refused(format!(
                "the git server {host} showed another ssh host key than {place} has{key}: somebody may be in between; if \
                 the server's key was really changed, remove the line, then {keyscan}"
            ));
        }
        if says("host key is known for").is_some() || says("Host key verification failed").is_some() {
            return Error::refused(format!(
                "the ssh host key of the git server {host} is not known{key}: compare it with the server's, then {keyscan}"
            ));
        }
        if let Some(line) = says("incorrect passphrase") {
            return Error::refused(format!(
                "the ssh key for {shown} can't be used ({}): correct store.git.ssh_key_passphrase_file",
                clean(line)
            ));
        }
        if status == Some(255) && says("Permission denied").is_some() {
            return self.refused(&debug);
        }
        let words = clean(&plain.join(" "));
        if let Some(error) = missing_or_denied(&self.address, &words) {
            return error;
        }
        let words = if words.is_empty() { "the program ssh broke off".to_owned() } else { words };
        Error::away(format!("the git repository {shown} can't be reached: {words}"))
    }

    /// Says that the server let nobody in.
    fn refused(&self, debug: &[&str]) -> Error {
        let (host, shown, user) = (self.address.host(), &self.address.shown, &self.user);
        // `Offering public key: /etc/ipvland/id_ed25519 ED25519 SHA256:… explicit`
        let offered = debug.iter().filter_map(|line| line.strip_prefix("Offering public key: "));
        let keys: Vec<_> = offered.filter_map(|line| line.split_whitespace().next()).map(clean).collect();
        if keys.is_empty() {
            let locked = if self.has_passphrase { "correct" } else { "set" };
            return Error::refused(format!(
                "the git server {host} wants an ssh key for {shown}, and none could be shown: set store.git.ssh_key (and for \
                 a key with a passphrase, {locked} store.git.ssh_key_passphrase_file)"
            ));
        }
        Error::refused(format!(
            "the git server {host} refused the key {} of user {user:?} for {shown}: add the public key to the server's \
             authorized_keys, or set another store.git.ssh_key (a key with a passphrase needs \
             store.git.ssh_key_passphrase_file)",
            keys.join(" and ")
        ))
    }
}

/// Tells lines that the program says of what goes well.
fn is_chatter(line: &str) -> bool {
    line.starts_with("debug1:")
        || line.starts_with("OpenSSH_")
        || line.starts_with("Authenticated to ")
        || line.starts_with("Transferred: ")
        || line.starts_with("Bytes per second: ")
}

fn missing_or_denied(address: &Address, words: &str) -> Option<Error> {
    if crate::errors::is_missing(words) {
        return Some(missing(address));
    }
    denied(address, words)
}

#[cfg(test)]
mod tests {
    use ipvland_store::Remedy;

    use super::*;
    use crate::{address::UserInfo, settings::Settings};

    fn explain(status: i32, said: &str) -> Error {
        let (address, _) = Address::parse("ssh://u:hunter2@git.example:2222/overlay.git").unwrap();
        let login = Login::new(&Settings::default(), UserInfo::default()).unwrap();
        Words::new(&address, "git.example", Some(2222), None, &login).explain(Some(status), said)
    }

    #[test]
    fn the_kind_of_trouble_decides_the_remedy() {
        for (status, said, remedy, words) in [
            (
                255,
                "ssh: connect to host git.example port 2222: Connection refused",
                Remedy::RetryLater,
                "refused",
            ),
            (
                255,
                "ssh: Could not resolve hostname git.example: Name or service not known",
                Remedy::RetryLater,
                "resolve",
            ),
            (255, "", Remedy::RetryLater, "broke off"),
            (
                255,
                "No ED25519 host key is known for git.example and …",
                Remedy::GiveUp,
                "ssh-keyscan -p 2222 git.example",
            ),
            (
                128,
                "fatal: '/overlay.git' does not appear to be a git repository",
                Remedy::GiveUp,
                "git init --bare",
            ),
            (255, "u@git.example: Permission denied (publickey).", Remedy::GiveUp, "store.git.ssh_key"),
            (1, "Permission denied: the disk is read-only", Remedy::RetryLater, "read-only"),
        ] {
            let error = explain(status, said);
            assert_eq!(error.remedy(), remedy, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn chatter_is_no_part_of_a_sentence() {
        let said = "OpenSSH_9.2p1\ndebug1: Connecting to git.example\nConnection reset by peer\n";
        assert!(explain(255, said).to_string().ends_with("can't be reached: Connection reset by peer"));
    }
}
