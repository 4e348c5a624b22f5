//! Real daemons on one segment that look at the store once an hour, and learn at once what the others publish. Needs root, for
//! network namespaces.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "how long it took is worth reading where a test fails")]

mod host;
#[path = "../namespace/mod.rs"]
mod namespace;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use host::{SECRET, Segment};

#[test]
fn what_a_host_publishes_is_routed_by_the_others_before_any_interval_ends() {
    namespace::run("what_a_host_publishes_is_routed_by_the_others_before_any_interval_ends", || async {
        let segment = Segment::new();
        let (one, two) = (segment.start(1, "enabled = true"), segment.start(2, ""));
        one.until("the route to a host that came later", || one.routes_to(2));
        two.until("the route to the first", || two.routes_to(1));
        // It neither tells nor hears: what it knows of later ones is what an hour will bring.
        let deaf = segment.start(3, "enabled = false");
        let four = segment.start(4, "");
        one.until("the route to the last", || one.routes_to(4));
        two.until("the route to the last", || two.routes_to(4));
        assert!(!deaf.routes_to(4), "hosts learn of each other in another way");
        // Each finds out who lives.
        one.until("who lives", || one.status()["nudges"]["alive"].as_u64() >= Some(2));
        assert_eq!(deaf.status()["nudges"]["state"], "off");

        let (code, said) = four.command(&["leave"]);
        assert_eq!(code, 0, "{said}");
        one.until("no route to a host that left", || !one.routes_to(4));
        two.until("no route to a host that left", || !two.routes_to(4));
        let status = one.status();
        assert_eq!(status["nudges"]["interval_ms"], 3_600_000, "it is pinned");
        assert!(status["nudges"]["true_hints"].as_u64() >= Some(2), "{status:#}");
        println!("{:#}", status["nudges"]);
    });
}

#[test]
fn a_webhook_at_one_host_and_a_sync_by_hand_bring_what_an_operator_committed() {
    namespace::run("a_webhook_at_one_host_and_a_sync_by_hand_bring_what_an_operator_committed", || async {
        let segment = Segment::new();
        let (one, two) = (segment.start(1, ""), segment.start(2, ""));
        one.until("the route to the other", || one.routes_to(2));
        one.until("the other lives", || one.status()["nudges"]["alive"] == 1);

        let commit = segment.publish_by_hand(90);
        let body = format!("{{\"ref\": \"refs/heads/main\", \"after\": \"{commit}\"}}");
        let before = one.status()["nudges"]["looks"].clone();
        assert_eq!(one.webhook(&format!("X-Gitea-Signature: {}", sign("a guess", &body)), &body), "401");
        thread::sleep(Duration::from_secs(3));
        assert_eq!(one.status()["nudges"]["looks"], before, "a forged webhook led to a look");
        assert!(!one.routes_to(90));
        assert_eq!(one.webhook(&format!("X-Gitea-Signature: {}", sign(SECRET, &body)), &body), "202");
        one.until("the route that was committed by hand", || one.routes_to(90));
        two.until("the same, though the server told the other alone", || two.routes_to(90));

        // Nobody tells of this one.
        let commit = segment.publish_by_hand(91);
        thread::sleep(Duration::from_secs(1));
        assert!(!two.routes_to(91));
        let (code, said) = two.command(&["sync"]);
        assert!(
            code == 0 && said.starts_with("looked: from ") && said.ends_with(&format!(" to {commit}")),
            "{said}"
        );
        two.until("the route that was looked for", || two.routes_to(91));
        assert_eq!(two.command(&["sync"]), (0, format!("looked: nothing new, at {commit}")));
        segment.set_away(true);
        let (code, said) = two.command(&["sync"]);
        assert!(code == 1 && said.contains("the store is away, routes stay as they are: "), "{code} {said}");
        assert!(two.routes_to(91));
        segment.set_away(false);
        assert_eq!(two.command(&["sync"]).0, 0);
    });
}

/// Signs as a Git server does: HMAC-SHA256 in hex, by OpenSSL.
fn sign(secret: &str, body: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256", "-hex", "-hmac", secret]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("`openssl` is needed");
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    output.trim().rsplit(' ').next().unwrap().to_owned()
}
