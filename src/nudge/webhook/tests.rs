//! Requests over real sockets, as the vendors' documentation shows them: Gitea's and Forgejo's "Webhooks", GitHub's "Webhook
//! events and payloads" and "Validating webhook deliveries", GitLab's "Webhook events".

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpStream},
};

use ipvland_store::Revision;
use serde_json::json;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const AFTER: &str = "9a02c7be40d1e6f5b38a7c920d4e1f6b5a3c8d70";

struct Endpoint {
    at: SocketAddr,
    nudge: Nudge,
    status: watch::Receiver<WebhookStatus>,
    relay: watch::Receiver<()>,
    _dir: tempfile::TempDir,
}

async fn endpoint() -> Endpoint {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let (nudge, relay) = (Nudge::new(), watch::Sender::new(()));
    let hears = relay.subscribe();
    let hook = Webhook::new((Ipv4Addr::LOCALHOST, 0).into(), Some(file), nudge.clone(), relay);
    let mut status = hook.counts();
    tokio::spawn(hook.run());
    let at = status.wait_for(|status| status.listen.is_some()).await.unwrap().listen.clone().unwrap();
    Endpoint { at: at.parse().unwrap(), nudge, status, relay: hears, _dir: dir }
}

/// Signs as the vendors do, in hex.
fn sign(secret: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Endpoint {
    /// Sends a request, and returns the status of the answer.
    async fn send(&self, method: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let mut text = format!("{method} /hook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        let (at, text) = (self.at, text + "\r\n" + body);
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(at).unwrap();
            // A server that refuses a body needn't read all of it.
            let _ = stream.write_all(text.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        let answer = answer.await.unwrap();
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
    }

    fn hints(&self) -> u64 {
        self.nudge.counts().hints
    }
}

fn push(after: &str) -> String {
    json!({
        "ref": "refs/heads/main",
        "before": "28e1879d029cb852e4844d9c718537df08844e03",
        "after": after,
        "commits": [{ "id": after, "message": "web-1 publishes 10.1.48.0/24" }],
        "repository": { "id": 140, "full_name": "net/overlay" },
        "pusher": { "login": "ops" },
    })
    .to_string()
}

/// The same push, as GitLab tells of it.
fn gitlab_push(after: &str) -> String {
    json!({
        "object_kind": "push",
        "event_name": "push",
        "before": "28e1879d029cb852e4844d9c718537df08844e03",
        "after": after,
        "ref": "refs/heads/main",
        "checkout_sha": after,
        "user_username": "ops",
        "project": { "id": 15, "path_with_namespace": "net/overlay" },
        "total_commits_count": 1,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_of_each_server_is_a_hint_at_its_commit() {
    let body = push(AFTER);
    let hex = sign(SECRET, &body);
    let hub = format!("sha256={hex}");
    let from_gitlab = gitlab_push(AFTER);
    for (headers, body) in [
        (
            vec![
                ("X-GitHub-Event", "push"),
                ("X-Gitea-Event", "push"),
                ("X-Gitea-Signature", &*hex),
                ("X-Hub-Signature-256", &*hub),
            ],
            &body,
        ),
        (
            vec![("X-Forgejo-Event", "push"), ("X-Forgejo-Signature", &*hex), ("X-Gitea-Signature", &*hex)],
            &body,
        ),
        (vec![("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &*hub)], &body),
        (vec![("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", SECRET)], &from_gitlab),
    ] {
        let mut endpoint = endpoint().await;
        assert_eq!(endpoint.send("POST", &headers, body).await, 202, "{headers:?}");
        let counts = endpoint.nudge.counts();
        assert_eq!((counts.hints, counts.last_hint), (1, Some(Revision::new(AFTER))), "{headers:?}");
        assert_eq!(endpoint.status.borrow().accepted, 1);
        endpoint.relay.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_who_knows_the_secret_is_401_and_no_hint() {
    let endpoint = endpoint().await;
    let body = push(AFTER);
    let (good, wrong) = (sign(SECRET, &body), sign("guess", &body));
    let other = sign(SECRET, &push(&AFTER.replace('9', "8")));
    let with = |hex: &str| format!("sha256={hex}");
    let (hub_wrong, hub_other) = (with(&wrong), with(&other));
    for headers in [
        vec![],
        vec![("X-GitHub-Event", "push")],
        vec![("X-Gitea-Signature", &*wrong)],
        vec![("X-Forgejo-Signature", &*other)],
        vec![("X-Hub-Signature-256", &*hub_wrong)],
        vec![("X-Hub-Signature-256", &*hub_other)],
        vec![("X-Gitea-Signature", "")],
        vec![("X-Gitea-Signature", &good[..62])],
        vec![("X-Gitlab-Token", "It's a Secret")],
        vec![("X-Gitlab-Token", "")],
        // A good one does not make up for a bad one.
        vec![("X-Gitea-Signature", &*good), ("X-Hub-Signature-256", &*hub_wrong)],
        // Nor SHA-1, which GitHub sends beside it.
        vec![("X-Hub-Signature", "sha1=7d38cdd689735b008b3c702edd92eea23791c5f6")],
    ] {
        assert_eq!(endpoint.send("POST", &headers, &body).await, 401, "{headers:?}");
    }
    let status = endpoint.status.borrow().clone();
    assert_eq!((endpoint.hints(), status.accepted, status.refused), (0, 0, 12));
    assert!(!endpoint.relay.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_and_other_events_are_fine_and_lead_to_nothing() {
    let endpoint = endpoint().await;
    for (event, body) in [
        ("ping", json!({ "zen": "Keep it logically awesome.", "hook_id": 1 }).to_string()),
        ("issues", json!({ "action": "opened" }).to_string()),
        ("ping", String::new()),
    ] {
        let hub = format!("sha256={}", sign(SECRET, &body));
        let headers = [("X-GitHub-Event", event), ("X-Hub-Signature-256", &*hub)];
        assert_eq!(endpoint.send("POST", &headers, &body).await, 204, "{event}");
    }
    assert_eq!((endpoint.hints(), endpoint.status.borrow().accepted), (0, 3));
    assert_eq!(endpoint.send("GET", &[], "").await, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_names_no_commit_leads_to_a_look_all_the_same() {
    let endpoint = endpoint().await;
    let form = format!("payload={}", push(AFTER).replace('"', "%22"));
    let zeros = push(&"0".repeat(40));
    for body in [zeros, form, push("../../etc/passwd")] {
        let hub = format!("sha256={}", sign(SECRET, &body));
        let headers = [("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &*hub)];
        assert_eq!(endpoint.send("POST", &headers, &body).await, 202);
        assert_eq!(endpoint.nudge.counts().last_hint, None);
    }
    assert_eq!(endpoint.hints(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_not_read() {
    let endpoint = endpoint().await;
    let body = "x".repeat((1 << 20) + 1);
    let hex = sign(SECRET, &body);
    assert_eq!(endpoint.send("POST", &[("X-Gitea-Signature", &*hex)], &body).await, 413);
    assert_eq!(endpoint.hints(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_cut_off_and_lets_others_through_then() {
    let endpoint = endpoint().await;
    // More than may be open at once, each with half a request.
    let slow: Vec<TcpStream> = (0..MOST_CONNECTIONS + 8)
        .map(|_| {
            let mut stream = TcpStream::connect(endpoint.at).unwrap();
            stream.write_all(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n").unwrap();
            stream
        })
        .collect();
    let body = push(AFTER);
    let hex = sign(SECRET, &body);
    assert_eq!(endpoint.send("POST", &[("X-Gitea-Signature", &*hex)], &body).await, 202);
    for mut stream in slow {
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        // It ends, with or without a word.
        let _ = stream.read_to_end(&mut rest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_is_told_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let hook = Webhook::new(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Some(file.clone()),
        Nudge::new(),
        watch::Sender::new(()),
    );
    let mut status = hook.counts();
    tokio::spawn(hook.run());
    let is_told = |words: &'static str| {
        move |status: &WebhookStatus| status.problem.as_ref().is_some_and(|problem| problem.contains(words))
    };
    status.wait_for(is_told("can't be read")).await.unwrap();
    std::fs::write(&file, "\nsecret\n").unwrap();
    status.wait_for(is_told("has no secret in its first line")).await.unwrap();
    std::fs::write(&file, "secret\r\n").unwrap();
    status.wait_for(|status| status.listen.is_some() && status.problem.is_none()).await.unwrap();
    assert_eq!(format!("{:?}", Secret::new(b"secret")), "Secret(***)");
}
