//! The command line of `ssh(1)`.

use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ipvland_store::{Error, Result};
use percent_encoding::percent_decode_str;

use super::{answer::Answers, stream::Stream, words::Words};
use crate::{
    address::{Address, Route},
    settings::Settings,
    talk::Talk,
};

/// What a store has to know to call the program.
#[derive(Debug)]
pub(crate) struct Ssh {
    host: String,
    port: Option<u16>,
    /// The repository on the server, as Git's commands there take it.
    path: String,
    key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    /// A directory of the store's own.
    state_dir: PathBuf,
}

impl Ssh {
    /// Takes what the settings say of the way to a repository.
    pub(crate) fn new(address: &Address, settings: &Settings, state_dir: &Path) -> Self {
        let (host, port) = match &address.route {
            Route::Ssh(host, port) => (host.trim_matches(['[', ']']).to_owned(), *port),
            _ => (String::new(), None),
        };
        Self {
            host,
            port,
            path: path_of(&address.url),
            key: settings.ssh_key.clone(),
            known_hosts: settings.known_hosts.clone(),
            passphrase_file: settings.ssh_key_passphrase_file.clone(),
            state_dir: state_dir.to_owned(),
        }
    }

    /// Starts a command of Git on the server: `git-upload-pack` or `git-receive-pack`.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) where the program or a file that it needs is missing.
    pub(crate) fn start(&self, talk: Arc<Talk>, service: &str) -> Result<Stream> {
        if let Some(key) = &self.key {
            std::fs::File::open(key).map_err(|why| {
                Error::refused(format!("store.git.ssh_key {} can't be read: {why}", key.display()))
            })?;
        }
        let password = talk.login.secret()?;
        let answers = Answers::new(&self.state_dir, self.passphrase_file.as_deref(), password)?;
        let mut command = Command::new("ssh");
        command.args(self.arguments(talk.login.user(), talk.patience(), answers.is_some(), service));
        if let Some(answers) = &answers {
            answers.hand_to(&mut command);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|why| {
            let shown = &talk.address.shown;
            Error::refused(match why.kind() {
                ErrorKind::NotFound => format!(
                    "the program ssh, which leads to {shown}, is missing: install OpenSSH's client (openssh-client)"
                ),
                _ => format!("the program ssh, which leads to {shown}, can't be started: {why}"),
            })
        })?;
        let words =
            Words::new(&talk.address, &self.host, self.port, self.known_hosts.as_deref(), &talk.login);
        talk.meter.asked(0);
        Stream::new(child, talk, words, answers, service == "git-receive-pack")
    }

    fn arguments(&self, user: &str, patience: Duration, can_answer: bool, service: &str) -> Vec<OsString> {
        let seconds = patience.as_secs().max(1);
        let mut arguments: Vec<OsString> = vec!["-T".into()];
        let mut option = |option: String| {
            arguments.push("-o".into());
            arguments.push(option.into());
        };
        option("StrictHostKeyChecking=yes".into());
        option("UpdateHostKeys=no".into());
        option("ClearAllForwardings=yes".into());
        option("ForwardAgent=no".into());
        option("ForwardX11=no".into());
        option("PermitLocalCommand=no".into());
        // A connection for others to share would outlive this one, and hold what it says on stderr open.
        option("ControlMaster=no".into());
        option("ControlPersist=no".into());
        option("NumberOfPasswordPrompts=1".into());
        option(format!("BatchMode={}", if can_answer { "no" } else { "yes" }));
        option(format!("ConnectTimeout={seconds}"));
        option(format!("ServerAliveInterval={seconds}"));
        option("ServerAliveCountMax=1".into());
        // It tells the server's key and which of ours it showed, which sentences are made of.
        option("LogLevel=DEBUG1".into());
        if let Some(known_hosts) = &self.known_hosts {
            option(format!("UserKnownHostsFile={}", quoted(known_hosts)));
            option("GlobalKnownHostsFile=/dev/null".into());
        }
        if let Some(key) = &self.key {
            option("IdentitiesOnly=yes".into());
            option(format!("IdentityFile={}", quoted(key)));
        }
        if let Some(port) = self.port {
            option(format!("Port={port}"));
        }
        arguments.extend(["-l".into(), user.into(), "--".into(), OsString::from(&self.host)]);
        arguments.push(format!("{service} {}", shell_word(&self.path)).into());
        arguments
    }
}

/// Quotes a path for a value of ssh's options, whose words end at blanks and in which `%` begins a token.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// Quotes a word for the shell that the server hands the command to, as git does.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// Returns the repository's path on the server from a URL or from `user@host:path`.
fn path_of(url: &str) -> String {
    let Some(rest) = url.strip_prefix("ssh://") else {
        return url.split_once(':').map(|(_, path)| path.to_owned()).unwrap_or_default();
    };
    let path = rest.find('/').map(|at| &rest[at..]).unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    // `ssh://host/~user/net.git` is below a home directory, as for git.
    match path.strip_prefix("/~") {
        Some(rest) => format!("~{rest}"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_what_git_would_ask_for() {
        for (url, path) in [
            ("ssh://git@git.example:2222/net/overlay.git", "/net/overlay.git"),
            ("ssh://git.example/~net/overlay.git", "~net/overlay.git"),
            ("ssh://git.example/a%20b.git", "/a b.git"),
            ("git@git.example:net/overlay.git", "net/overlay.git"),
            ("git.example:/srv/overlay.git", "/srv/overlay.git"),
        ] {
            assert_eq!(path_of(url), path, "{url}");
        }
    }

    #[test]
    fn a_hostile_path_is_one_word_of_the_servers_shell() {
        assert_eq!(shell_word("net.git"), "'net.git'");
        assert_eq!(shell_word("a'; rm -rf /; '!"), r"'a'\''; rm -rf /; '\'''\!''");
    }

    #[test]
    fn neither_the_user_nor_the_host_is_taken_for_an_option() {
        let (address, _) = Address::parse("ssh://git@git.example:2222/net.git").unwrap();
        let settings = Settings { known_hosts: Some("/etc/a b%".into()), ..Settings::default() };
        let ssh = Ssh::new(&address, &settings, Path::new("/nowhere"));
        let all = ssh.arguments("git", Duration::from_secs(10), false, "git-upload-pack");
        let all: Vec<_> = all.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(&all[all.len() - 5..], ["-l", "git", "--", "git.example", "git-upload-pack '/net.git'"]);
        assert!(all.contains(&"UserKnownHostsFile=\"/etc/a b%%\""), "{all:?}");
        assert!(all.contains(&"Port=2222") && all.contains(&"BatchMode=yes"), "{all:?}");
    }
}
