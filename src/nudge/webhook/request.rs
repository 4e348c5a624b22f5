//! One request: what it says, and what it leads to.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header};
use ipvland_store::Revision;
use serde_json::Value;

use super::{Shared, signature::Secret};

/// The largest body that is read. That of a push has some hundred bytes a commit.
const LARGEST: usize = 1 << 20;

/// The headers that name the event; Gitea and Forgejo send several of them.
const EVENTS: [&str; 4] = ["x-forgejo-event", "x-gitea-event", "x-github-event", "x-gitlab-event"];

/// Answers a request. Its sender is told as little as possible, and before its signature is checked nothing at all.
pub(super) async fn answer(
    request: Request<Incoming>,
    source: SocketAddr,
    secret: &Secret,
    shared: &Shared,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted");
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return response;
    }
    let body = match Limited::new(body, LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return say(StatusCode::PAYLOAD_TOO_LARGE, "1 MiB is the most");
        }
        Err(_) => return say(StatusCode::BAD_REQUEST, "the body broke off"),
    };
    if !secret.signed(&parts.headers, &body) {
        shared.status.send_modify(|status| status.refused += 1);
        tracing::debug!(%source, "a webhook is not signed with the secret of nudge.webhook_secret_file");
        return say(StatusCode::UNAUTHORIZED, "not signed with the secret of this host");
    }
    shared.status.send_modify(|status| status.accepted += 1);
    let Some(revision) = pushed(&parts.headers, &body) else {
        return say(StatusCode::NO_CONTENT, "");
    };
    tracing::debug!(%source, revision = revision.as_ref().map(tracing::field::display), "a webhook tells of a push");
    match revision {
        Some(revision) if shared.nudge.is_newest(&revision) => return say(StatusCode::NO_CONTENT, ""),
        // A branch that was set back to where it has been is news as well.
        Some(revision) if shared.nudge.knows(&revision) => shared.nudge.hint(None),
        revision => shared.nudge.hint(revision),
    };
    shared.relay.send_replace(());
    say(StatusCode::ACCEPTED, "looking\n")
}

/// Returns the revision that was pushed, where one is named; `None` where nothing was pushed at all, as in a ping.
fn pushed(headers: &HeaderMap, body: &[u8]) -> Option<Option<Revision>> {
    let named = |name: &str| {
        headers
            .get(name)
            .is_some_and(|event| event.as_bytes().to_ascii_lowercase().windows(4).any(|word| word == b"push"))
    };
    // GitHub may be told to send a form, whose payload is not looked into.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // GitLab names what is checked out; for a tag that is another object than the branch is at.
    let revision = ["after", "checkout_sha"].iter().find_map(|key| body.get(key)?.as_str());
    if revision.is_none() && !EVENTS.iter().any(|name| named(name)) {
        return None;
    }
    // Zeros stand for a branch that was deleted.
    let is_commit = |id: &&str| {
        matches!(id.len(), 40 | 64)
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0')
    };
    Some(revision.filter(is_commit).map(|id| Revision::new(id.to_ascii_lowercase())))
}

fn say(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(words));
    *response.status_mut() = status;
    response
}
