//! What an operator does with etcdctl.

use std::{
    ffi::OsStr,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

use super::cluster::{Cluster, ROOT, ROOT_PASSWORD};
use crate::process::{program, run};

impl Cluster {
    /// Runs etcdctl as root against all members, or one, and returns what it printed.
    pub fn ctl(&self, member: Option<usize>, arguments: &[&str]) -> String {
        run(self.command(member).args(arguments))
    }

    /// Writes a key; neither it nor the value need to be text.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        let mut command = self.command(None);
        command.args(["put", "--"]).arg(OsStr::from_bytes(key));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("etcdctl starts");
        child.stdin.take().unwrap().write_all(value).unwrap();
        assert!(child.wait().unwrap().success(), "etcdctl put failed");
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        assert_eq!(self.ctl(None, &["del", key]).trim(), "1", "{key} was not there");
    }

    /// Returns the newest revision of the whole etcd.
    pub fn revision(&self) -> i64 {
        let answer = self.ctl(None, &["get", "-w", "json", "no such key"]);
        number_after(&answer, "\"revision\":")
    }

    /// Makes all revisions up to the newest unknown, but for what is there; another user writes a key for that, since etcd
    /// keeps what was written at the revision that it's compacted to.
    pub fn compact(&self) {
        self.put(b"/others/passing", b"x");
        self.ctl(None, &["compact", &self.revision().to_string()]);
    }

    /// Returns the member that leads; asks the one that is named.
    pub fn leader(&self, ask: usize) -> usize {
        let answer = self.ctl(Some(ask), &["endpoint", "status", "-w", "json"]);
        let leader: i128 = number_after(&answer, "\"leader\":");
        let is_leader = |member: &usize| {
            let answer = self.ctl(Some(*member), &["endpoint", "status", "-w", "json"]);
            number_after::<i128>(&answer, "\"member_id\":") == leader
        };
        (0..self.len()).find(is_leader).expect("the cluster has a leader")
    }

    /// Tells whether a member answers a read that most members agree to.
    pub(super) fn serves(&self, member: usize) -> bool {
        let mut command = self.command(Some(member));
        command.args(["--command-timeout", "2s", "get", "no such key"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn command(&self, member: Option<usize>) -> Command {
        let mut command = Command::new(program("etcdctl", "etcd-client"));
        let endpoints: Vec<_> = match member {
            Some(member) => vec![self.url(member)],
            None => (0..self.len()).map(|member| self.url(member)).collect(),
        };
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoints.join(","));
        if self.setup.tls {
            for (flag, file) in [("--cacert", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")] {
                command.arg(flag).arg(self.file(file));
            }
        }
        if self.has_login() {
            command.arg("--user").arg(format!("{ROOT}:{ROOT_PASSWORD}"));
        }
        command
    }
}

fn number_after<T: std::str::FromStr>(text: &str, label: &str) -> T {
    let rest = text.split_once(label).unwrap_or_else(|| panic!("no {label} in {text}")).1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {label} in {text}"))
}
