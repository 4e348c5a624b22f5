//! Daemons of real hosts on one segment: each in a network namespace of its own, all over one Git repository.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::namespace::{self, ip};

/// How long anything may take that is to happen at once. No interval ends so soon.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The secret that the Git server and the hosts share.
pub(crate) const SECRET: &str = "a secret of the webhook";

/// The segment and the repository.
pub(crate) struct Segment {
    dir: tempfile::TempDir,
}

/// One host.
pub(crate) struct Host {
    number: u8,
    dir: PathBuf,
    process: Child,
}

impl Segment {
    /// Makes them, in the namespace of the caller.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(dir.path().join("net.git")));
        let secret = dir.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        ip("link add segment type bridge");
        ip("link set segment up");
        Self { dir }
    }

    fn repository(&self) -> PathBuf {
        self.dir.path().join("net.git")
    }

    /// Starts the host 10.1.1.NUMBER, which publishes 10.2.NUMBER.0/24 and looks at the store every hour.
    pub(crate) fn start(&self, number: u8, nudge: &str) -> Host {
        let dir = self.dir.path().join(format!("h{number}"));
        fs::create_dir(&dir).unwrap();
        let shown = |path: &Path| path.display().to_string();
        let text = format!(
            "[host]\nname = \"h{number}\"\ninterface = \"eth2\"\n[network]\nmode = \"l3\"\nsubnet = \"10.2.{number}.0/24\"\n\
             [nudge]\n{nudge}\nwebhook = \"10.1.1.{number}:4215\"\nwebhook_secret_file = \"{}\"\n[store.git]\nrepo = \"{}\"\n\
             interval = \"1h\"\n[daemon]\nstate_dir = \"{}\"\nsocket = \"{}\"\n[log]\nlevel = \"debug\"\n",
            shown(&self.dir.path().join("secret")),
            shown(&self.repository()),
            shown(&dir.join("state")),
            shown(&dir.join("ipvland.sock")),
        );
        fs::write(dir.join("ipvland.toml"), text).unwrap();
        fs::set_permissions(dir.join("ipvland.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let script = format!(
            "until ip link show eth2; do sleep 0.02; done; ip link set lo up && ip address add 10.1.1.{number}/24 dev eth2 && \
             ip link set eth2 up && exec {} run --config {}",
            env!("CARGO_BIN_EXE_ipvland"),
            shown(&dir.join("ipvland.toml")),
        );
        let mut command = Command::new("unshare");
        command.env_remove(namespace::INSIDE).args(["--net", "sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("`unshare` of util-linux is needed");
        let host = Host { number, dir, process };
        // Until it is in a namespace of its own, its card would stay in this one.
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", host.process.id());
        host.until("a namespace of its own", || fs::read_link(&theirs).is_ok_and(|theirs| theirs != ours));
        ip(&format!("link add h{number} type veth peer name c{number}"));
        ip(&format!("link set h{number} master segment up"));
        ip(&format!("link set c{number} netns {} name eth2", host.process.id()));
        host.until("its record in the store", || host.status()["published"]["state"] == "published");
        host
    }

    /// Commits the record of a host that runs no daemon, as an operator may, and returns the commit.
    pub(crate) fn publish_by_hand(&self, number: u8) -> String {
        let work = self.dir.path().join(format!("work{number}"));
        run(Command::new("git").args(["clone", "-q"]).arg(self.repository()).arg(&work));
        let record = format!(
            "[{{\"Endpoint\": \"10.1.1.{number}\", \"Network\": \"10.2.{number}.0/24\", \"Meta\": \"\"}}]\n"
        );
        fs::write(work.join(format!("endpoints/10.1.1.{number}.json")), record).unwrap();
        let git = |words: &[&str]| run(Command::new("git").arg("-C").arg(&work).args(words));
        git(&["add", "-A"]);
        git(&["-c", "user.name=ops", "-c", "user.email=ops@example", "commit", "-qm", "by hand"]);
        git(&["push", "-q"]);
        git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Takes the repository away, or brings it back.
    pub(crate) fn set_away(&self, away: bool) {
        let hidden = self.dir.path().join("hidden.git");
        let (from, to) = if away { (self.repository(), hidden) } else { (hidden, self.repository()) };
        fs::rename(from, to).unwrap();
    }
}

impl Host {
    /// Asks the daemon on its socket; returns the status code and the body.
    fn ask(&self, request: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.dir.join("ipvland.sock")).ok()?;
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.trim().to_owned()))
    }

    pub(crate) fn status(&self) -> Value {
        let answer = self.ask("GET /status.json");
        answer.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
    }

    /// Runs a command of the program against the daemon; returns its exit code and what it said.
    pub(crate) fn command(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipvland"));
        command.env_remove(namespace::INSIDE);
        let output = command.args(words).arg("--config").arg(self.dir.join("ipvland.toml")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap().trim().to_owned())
    }

    /// Runs a program in the host's namespace.
    fn inside(&self, words: &[&str]) -> String {
        let process = self.process.id().to_string();
        run(Command::new("nsenter").args(["-t", &process, "-n"]).args(words))
    }

    /// Says whether the host's kernel has our route to the prefix of a host.
    pub(crate) fn routes_to(&self, number: u8) -> bool {
        let routes = self.inside(&["ip", "route", "show", "proto", "214"]);
        routes.lines().any(|route| route.starts_with(&format!("10.2.{number}.0/24 via 10.1.1.{number} ")))
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let (number, status) = (self.number, self.status());
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            assert!(begun.elapsed() < SOON, "h{number}: {what}\n{:#}\n{end}", status["nudges"]);
            thread::sleep(Duration::from_millis(20));
        }
        println!("h{}: {what} after {:?}", self.number, begun.elapsed());
    }

    /// Sends a webhook to the host from its own namespace; returns the status code.
    pub(crate) fn webhook(&self, header: &str, body: &str) -> String {
        let url = format!("http://10.1.1.{}:4215/", self.number);
        let arguments = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            "X-Gitea-Event: push",
            "-H",
            header,
        ];
        self.inside(&[&arguments[..], &["--data-binary", body, &url]].concat())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a program that must succeed, and returns what it prints.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("`git`, `nsenter` of util-linux, `curl` and `openssl` are needed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
