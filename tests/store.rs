//! `ipvland store` on Git repositories in directories: what it prints, what it writes, its exit codes, and no secrets.

#![cfg(feature = "git")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests end a test with them"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use ipvland_store::{Batch, Key, Nudge, OpenContext, Retry, Snapshot, StoreExt, Writer};
use serde_json::{Value, json};

const SECRET: &str = "geheim";

/// Repositories, config files and a state directory.
struct Setup(tempfile::TempDir);

impl Setup {
    fn new() -> Self {
        let setup = Self(tempfile::tempdir().unwrap());
        for name in ["old", "new"] {
            let repo = setup.path(&format!("{name}.git"));
            let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&repo).status();
            assert!(made.unwrap().success());
            setup.config(name, repo.to_str().unwrap());
        }
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, name: &str, repo: &str) {
        let state = self.path("state");
        let text = format!(
            "[host]\nname = \"web-1\"\naddress = \"10.1.1.48\"\n[store]\nkind = \"git\"\n[store.git]\nrepo = \"{repo}\"\n\
             [daemon]\nstate_dir = \"{}\"\n",
            state.display()
        );
        let file = self.path(&format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs `ipvland store`; names that end in `.toml` are files of the setup.
    fn store(&self, arguments: &[&str]) -> (i32, String, String) {
        self.store_with(arguments, &[])
    }

    fn store_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipvland"));
        command.env_clear().current_dir(self.0.path()).arg("store").args(arguments);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
        (output.status.code().unwrap(), out, err)
    }

    /// Writes records into a repository as hosts do.
    fn write(&self, name: &str, records: &[(&str, Option<String>)]) {
        let writer = Writer { name: "web-2".into(), address: "10.1.1.51".into() };
        let context = OpenContext { state_dir: self.path("hosts"), writer, nudge: Nudge::new() };
        let table = json!({ "repo": self.path(&format!("{name}.git")) });
        let edit = |_: &Snapshot| {
            let mut batch = Batch::new("hosts");
            for (host, text) in records {
                let key = Key::parse(&format!("{host}.json")).unwrap();
                batch.changes.insert(key, text.clone().map(Into::into));
            }
            Ok(Some(batch))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = ipvland_backends::registry().open("git", table, context).await.unwrap();
            store.transact(Retry::default(), edit).await.unwrap();
        });
    }

    fn git(&self, name: &str, arguments: &[&str]) -> String {
        let repo = self.path(&format!("{name}.git"));
        let output = Command::new("git").arg("-C").arg(repo).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

fn record(host: &str, prefix: &str) -> Option<String> {
    let record = json!({
        "version": 1, "host": host, "id": "11111111-1111-4111-8111-111111111111", "name": "web", "next_hops": [host],
        "networks": [{ "name": "blue", "prefixes": [prefix] }], "underlay": { "kind": "direct" }, "meta": {},
    });
    Some(format!("{record:#}\n"))
}

const COPY: [&str; 5] = ["copy", "--from", "old.toml", "--to", "new.toml"];

fn fleet() -> Setup {
    let setup = Setup::new();
    setup.write(
        "old",
        &[
            ("10.1.1.48", record("10.1.1.48", "10.1.48.0/24")),
            ("10.1.1.51", record("10.1.1.51", "10.1.51.0/24")),
        ],
    );
    setup
}

#[test]
fn a_fleet_is_copied_once_and_its_records_are_the_same_bytes() {
    let setup = fleet();
    let dry = [&COPY[..], &["--dry-run"]].concat();
    let (code, out, err) = setup.store(&dry);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("add     10.1.1.48.json\nadd     10.1.1.51.json\nfrom git ("), "{out}");
    assert_eq!(setup.git("new", &["for-each-ref"]), "");

    let (code, out, err) = setup.store(&COPY);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("from git (")
            && out.contains(": 2 copied")
            && out.ends_with("0 the same already, 0 kept, 0 removed\n"),
        "{out}"
    );
    assert_eq!(
        setup.git("new", &["log", "--format=%an %s"]),
        "ipvland on web-1 web-1 copies 2 records from git\n"
    );
    let tree = |name| setup.git(name, &["rev-parse", "main:endpoints"]);
    assert_eq!(tree("old"), tree("new"));

    let (code, out, _) = setup.store(&COPY);
    assert!(code == 0 && out.starts_with("nothing to copy: "), "{out}");
    assert_eq!(setup.git("new", &["rev-list", "--count", "main"]), "1\n");

    // A host that hasn't moved changes, one that has does, too; the memory of the last copy tells them apart.
    setup.write("old", &[("10.1.1.51", record("10.1.1.51", "10.1.151.0/24"))]);
    setup.write("new", &[("10.1.1.48", record("10.1.1.48", "10.1.148.0/24"))]);
    let (code, out, _) = setup.store(&COPY);
    assert!(code == 0 && out.contains(": 1 copied") && out.contains("keep    10.1.1.48.json: "), "{out}");
    let (code, out, _) = setup.store(&["copy", "--from", "new.toml", "--to", "old.toml"]);
    assert!(code == 0 && out.contains(": 1 copied"), "{out}");
    assert_eq!(tree("old"), tree("new"));
}

#[test]
fn a_diff_ends_as_diff_does() {
    let setup = fleet();
    let diff = ["diff", "--from", "old.toml", "--to", "new.toml"];
    let (code, out, _) = setup.store(&diff);
    assert!(code == 1 && out.contains("only in --from: 10.1.1.48.json\n"), "{out}");
    setup.store(&COPY);
    let (code, out, err) = setup.store(&diff);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    setup.write("new", &[("10.1.1.48", record("10.1.1.48", "10.1.148.0/24"))]);
    let (code, out, _) = setup.store(&["diff", "--from", "old.toml", "--config", "new.toml"]);
    assert!(code == 1 && out.contains("-        \"10.1.48.0/24\"\n+        \"10.1.148.0/24\"\n"), "{out}");
    let (code, out, _) = setup.store(&[&diff[..], &["-o", "json"]].concat());
    let difference: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &difference["same"], &difference["different"][0]["file"]),
        (1, &json!(1), &json!("10.1.1.48.json"))
    );
}

#[test]
fn show_lists_and_prints_and_export_keeps() {
    let setup = fleet();
    let (code, out, err) = setup.store(&["show", "--config", "old.toml"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("records (2)\n  FILE ") && out.contains("  10.1.1.51.json  10.1.1.51  web "),
        "{out}"
    );
    let (_, out, _) = setup.store(&["show", "10.1.1.51", "--config", "old.toml"]);
    assert_eq!(Some(out), record("10.1.1.51", "10.1.51.0/24"));
    let (code, _, err) = setup.store(&["show", "10.1.1.99", "--config", "old.toml"]);
    assert!(code == 1 && err.contains("has no record \"10.1.1.99\" among its 2"), "{err}");
    let (_, out, _) = setup.store(&["show", "-o", "json", "--config", "old.toml"]);
    let listing: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listing["records"][0]["prefixes"], json!(["10.1.48.0/24"]));

    let (code, out, _) = setup.store(&["export", "backup", "--config", "old.toml"]);
    assert!(code == 0 && out.starts_with("all of git (") && out.contains(", records: 2"), "{out}");
    let kept = fs::read_to_string(setup.path("backup/10.1.1.51.json")).unwrap();
    assert_eq!(Some(kept), record("10.1.1.51", "10.1.51.0/24"));
    let (code, _, err) = setup.store(&["export", "backup", "--config", "old.toml"]);
    assert!(code == 2 && err.contains("is not empty"), "{err}");
    let (_, out, _) = setup.store(&["export", "--config", "old.toml"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["records"]["10.1.1.48.json"]["host"], "10.1.1.48");
}

/// Answers every request with a refusal.
fn refusing_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    port
}

#[test]
fn what_goes_wrong_has_its_exit_code_and_shows_no_secret() {
    let setup = fleet();
    let url = format!("http://user:{SECRET}@127.0.0.1:{}/net.git", refusing_server());
    setup.config("away", &url);
    for (arguments, code, words) in [
        (
            &["copy", "--from", "away.toml", "--to", "new.toml"][..],
            1,
            "cannot read the store git (http://user:***@127",
        ),
        (
            &["copy", "--from", "away.toml", "--to", "away.toml"],
            2,
            "--from and --to name the same store, git at http://user:***@",
        ),
        (
            &["diff", "--from", "old.toml", "--to", "away.toml"],
            4,
            "cannot read the store git (http://user:***@127",
        ),
        (&["show", "--config", "away.toml"], 1, "cannot read the store git"),
        (&["diff", "--from", "none.toml"], 2, "--from: cannot read none.toml: there is no such file"),
        (&["copy", "--from", "old.toml"], 2, "--to <FILE>"),
        (&["show", "10.1.1.48", "-o", "json"], 2, "cannot be used with"),
    ] {
        let (got, out, err) = setup.store(arguments);
        assert_eq!((got, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("ipvland: ") && err.contains(words), "{arguments:?}: {err}");
    }
    // The environment of this host's own store is not that of both sides.
    let variables = [("IPVLAND_STORE__GIT__REPO", url.as_str()), ("IPVLAND_STORE__KIND", "memory")];
    let (code, out, err) = setup.store_with(&COPY, &variables);
    assert!(code == 0 && out.contains(": 2 copied"), "{out}{err}");
}

#[test]
fn help_and_completions_know_the_commands() {
    let setup = Setup::new();
    for command in ["show", "diff", "export", "copy"] {
        let (code, out, _) = setup.store(&[command, "--help"]);
        assert!(code == 0 && out.contains("Exit codes"), "{command}: {out}");
    }
    let completions =
        Command::new(env!("CARGO_BIN_EXE_ipvland")).args(["completions", "bash"]).output().unwrap();
    let script = String::from_utf8(completions.stdout).unwrap();
    assert!(script.contains("--dry-run") && script.contains("--prune"));
}

/// A user who may not use the state directory works from a temporary one, and is told what that costs.
#[test]
fn a_state_directory_of_another_user_is_left_alone() {
    let setup = fleet();
    fs::create_dir(setup.path("state")).unwrap();
    std::os::unix::fs::chown(setup.path("state"), Some(65534), Some(65534)).expect("these tests run as root");
    let (code, out, err) = setup.store(&COPY);
    assert!(code == 0 && out.contains(": 2 copied") && out.contains("not remembered"), "{out}{err}");
    assert!(err.contains("belongs to another user") && err.contains("temporary directory"), "{err}");
    let left = |dir: &Path| fs::read_dir(dir).unwrap().count();
    assert_eq!(left(&setup.path("state")), 0);
}
