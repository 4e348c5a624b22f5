//! The program itself: exit codes, what goes to stdout and stderr, and what it asks the daemon.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests end a test with them"
)]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::{Command, Output},
    thread::{self, JoinHandle},
};

use ipvland::status::Status;

const SECRET: &str = "geheim";

/// Runs the program without any variable of the tests' own environment, and without the machine's config file.
fn ipvland(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvland"));
    if !arguments.is_empty() && !arguments.contains(&"--config") {
        command.arg("--config").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/ipvland.toml"));
    }
    command.env_clear().args(arguments).envs(variables.iter().copied()).output().unwrap()
}

/// Splits what a run left: exit code, stdout, stderr.
fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Answers one request on a socket as the daemon does, and returns the request.
fn daemon(socket: &Path, status: &'static str, body: String) -> JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let length = text
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length) || read == 0 {
                break;
            }
        }
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        String::from_utf8(request).unwrap()
    })
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in
        [&["--help"][..], &["run", "--help"], &["leave", "-h"], &["status", "--help"], &["--version"]]
    {
        let (code, out, err) = parts(&ipvland(arguments, &[]));
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        assert!(out.contains("ipvland"), "{out}");
    }
    let (_, out, _) = parts(&ipvland(&["--help"], &[]));
    assert!(out.contains("Exit codes:") && out.contains("3  status: the daemon is not running"), "{out}");
}

#[test]
fn a_wrong_command_line_ends_with_two_and_one_sentence() {
    for arguments in [&[][..], &["fly"], &["run", "--fly"], &["run", "--git-multihost=perhaps"]] {
        let (code, out, err) = parts(&ipvland(arguments, &[]));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(err.matches("ipvland: ").count(), 1, "{err}");
        assert!(!err.contains("error: "), "{err}");
    }
    let url = format!("http://user:{SECRET}@git.example/x");
    for arguments in [["run", &url].to_vec(), ["run", "--git-multihost", &url].to_vec()] {
        let (code, _, err) = parts(&ipvland(&arguments, &[]));
        assert_eq!(code, 2);
        assert!(!err.contains(SECRET), "{err}");
    }
}

#[test]
fn a_wrong_config_ends_with_two_and_its_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ipvland.toml");
    fs::write(&file, "[host]\nx = 1\n").unwrap();
    let sentence = "ipvland: ipvland.toml: unknown key host.x (known: interface, address, name)\n";
    for command in ["run", "leave", "status", "sync", "config"] {
        let output = ipvland(&[command, "--config", file.to_str().unwrap()], &[]);
        assert_eq!(parts(&output), (2, String::new(), sentence.into()), "{command}");
    }
    let output = ipvland(&["config", "--mtu=5"], &[]);
    let sentence =
        "ipvland: --mtu: network.mtu must be a whole number of bytes from 68 to 65535, not \"5\"\n";
    assert_eq!(parts(&output), (2, String::new(), sentence.into()));
}

#[test]
fn the_first_command_line_still_works() {
    let repo = format!("--repo=http://user:{SECRET}@10.1.1.1/net/overlay.git");
    let arguments = [
        "config",
        "-d",
        "--host-interface=eth2",
        "--mode=l3",
        "--ipvlan-subnet=10.1.48.0/24",
        "--git-multihost=true",
        &repo,
        "--gateway=10.1.48.1",
        "--mtu=1400",
        "--poll-interval=5",
        "--socket=blue",
    ];
    let (code, out, err) = parts(&ipvland(&arguments, &[]));
    assert_eq!(code, 0, "{err}");
    assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
    assert_eq!(err.matches("the password in --repo is on the command line").count(), 1, "{err}");
    for (value, source) in [
        ("interface = \"eth2\"", "--host-interface"),
        ("mode = \"l3\"", "--mode"),
        ("subnet = [\"10.1.48.0/24\"]", "--ipvlan-subnet"),
        ("gateway = \"10.1.48.1\"", "--gateway"),
        ("mtu = 1400", "--mtu"),
        ("kind = \"git\"", "--git-multihost"),
        ("repo = \"http://user:***@10.1.1.1/net/overlay.git\"", "--repo"),
        ("interval = \"5s\"", "--poll-interval"),
        ("socket = \"/run/docker/plugins/blue.sock\"", "--socket"),
        ("level = \"info,ipvland=debug\"", "--debug"),
        ("flag = \"bridge\"", "default"),
    ] {
        let line =
            out.lines().find(|line| line.starts_with(value)).unwrap_or_else(|| panic!("{value} in {out}"));
        assert_eq!(line.rsplit("  # ").next(), Some(source), "{line}");
    }
    let (code, out, _) = parts(&ipvland(&["config", "--git-multihost=false", "--poll-interval=500ms"], &[]));
    assert!(code == 0 && out.contains("interval = \"500ms\""), "{out}");
    assert_eq!(ipvland(&["config", "--git-multihost"], &[]).status.code(), Some(2));
}

#[test]
fn config_prints_json_that_hides_secrets_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ipvland.yaml");
    fs::write(&file, format!("store:\n  git:\n    password: {SECRET}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let variables = [("IPVLAND_STORE__KIND", "git"), ("IPVLAND_HOST__NAME", "123")];
    let (code, out, err) =
        parts(&ipvland(&["config", "-o", "json", "--config", file.to_str().unwrap()], &variables));
    assert_eq!(code, 0, "{err}");
    assert!(
        err.starts_with("ipvland: warning: ") && err.contains("holds a secret in store.git.password"),
        "{err}"
    );
    assert!(!format!("{out}{err}").contains(SECRET));
    let entries: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    for entry in [
        serde_json::json!({ "key": "host.name", "value": "123", "source": "IPVLAND_HOST__NAME" }),
        serde_json::json!({ "key": "store.kind", "value": "git", "source": "IPVLAND_STORE__KIND" }),
        serde_json::json!({ "key": "store.git.password", "value": "***", "source": "ipvland.yaml" }),
    ] {
        assert!(entries.contains(&entry), "{entry} in {out}");
    }
}

#[test]
fn the_printed_config_is_a_config() {
    let (_, out, _) =
        parts(&ipvland(&["config", "--ipvlan-subnet=10.1.48.0/24,10.1.49.0/24", "--mtu=1400"], &[]));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("again.toml");
    fs::write(&file, &out).unwrap();
    let (code, again, err) = parts(&ipvland(&["config", "--config", file.to_str().unwrap()], &[]));
    assert_eq!(code, 0, "{err}");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&out), values(&again));
}

#[test]
fn status_tells_health_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    for (healthy, code) in [(true, 0), (false, 1)] {
        let status = Status { version: "9.9".into(), healthy, ..Status::default() };
        let json = serde_json::to_string(&status).unwrap();
        for format in ["text", "json"] {
            let socket = dir.path().join(format!("{code}-{format}.sock"));
            let asked = daemon(&socket, "200 OK", json.clone());
            let output = ipvland(&["status", "--socket", socket.to_str().unwrap(), "-o", format], &[]);
            let (got, out, err) = parts(&output);
            assert_eq!((got, err.as_str()), (code, ""));
            assert!(asked.join().unwrap().starts_with("GET /status.json HTTP/1.1\r\n"));
            match format {
                "json" => assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), status),
                _ => assert!(out.starts_with("ipvland 9.9 is "), "{out}"),
            }
        }
    }
}

#[test]
fn status_without_a_daemon_ends_with_three() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let output = ipvland(&["status", "--socket", socket.to_str().unwrap()], &[]);
    let socket = socket.display();
    let sentence = format!(
        "ipvland: the daemon is not running: nobody answers on {socket}; start it with ipvland run, or name its \
         socket with --socket\n"
    );
    assert_eq!(parts(&output), (3, String::new(), sentence));
}

#[test]
fn leave_asks_the_daemon_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("yes.sock");
    let asked = daemon(&socket, "200 OK", "this host left".into());
    let output = ipvland(&["leave", "--force", "--socket", socket.to_str().unwrap()], &[]);
    assert_eq!(parts(&output), (0, "this host left\n".into(), String::new()));
    let request = asked.join().unwrap();
    assert!(
        request.starts_with("POST /leave HTTP/1.1\r\n") && request.ends_with("{\"force\":true}"),
        "{request}"
    );

    for (name, body) in [("a.sock", "networks are in use\n"), ("b.sock", r#"{"Err": "networks are in use"}"#)]
    {
        let socket = dir.path().join(name);
        let asked = daemon(&socket, "409 Conflict", body.into());
        let output = ipvland(&["leave", "--socket", socket.to_str().unwrap()], &[]);
        assert_eq!(parts(&output), (1, String::new(), "ipvland: networks are in use\n".into()));
        assert!(asked.join().unwrap().ends_with("{\"force\":false}"));
    }
}

#[test]
fn sync_nudges_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let asked = daemon(&socket, "200 OK", "looking".into());
    let output = ipvland(&["sync", "--socket", socket.to_str().unwrap()], &[]);
    assert_eq!(parts(&output), (0, "looking\n".into(), String::new()));
    assert!(asked.join().unwrap().starts_with("POST /sync HTTP/1.1\r\n"));
}

#[test]
fn log_lines_carry_a_time_outside_the_journal_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let journal = fs::File::create(&path).unwrap();
    let meta = journal.metadata().unwrap();
    let own = format!("{}:{}", meta.dev(), meta.ino());
    // The store memory reads no branch, which is warned of; a socket below a file then ends the run at once.
    for (stream, timed) in [(own.as_str(), false), ("1:1", true)] {
        fs::write(&path, "").unwrap();
        let run = ["leave", "--store=memory", "--branch=x", "--socket=/dev/null/y"];
        let status = Command::new(env!("CARGO_BIN_EXE_ipvland"))
            .env_clear()
            .env("JOURNAL_STREAM", stream)
            .args(run)
            .stderr(fs::OpenOptions::new().append(true).open(&path).unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
        let log = fs::read_to_string(&path).unwrap();
        let warning = log.lines().find(|line| line.contains("--branch sets store.git.branch")).unwrap();
        assert_eq!(!warning.starts_with(" WARN"), timed, "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = parts(&ipvland(&["completions", shell], &[]));
        assert!(code == 0 && out.contains("status") && out.contains("host-interface"), "{shell}");
    }
}
