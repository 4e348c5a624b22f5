//! HTTP in, a method and raw bytes out.
//!
//! Docker sends no Content-Type, so none is asked for. Each request runs as a task of its own: a client that goes away must
//! not leave a network half made.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{RawQuery, Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, error, warn};

use super::{
    Driver, Refusal, addresses,
    refusal::Deadline,
    wire::{self, MEDIA_TYPE},
};

/// The largest body that is read; Docker's are a few hundred bytes.
const LARGEST: usize = 1 << 20;

/// How much later than its deadline a request may end by itself, taking back what it began.
const GRACE: Duration = Duration::from_secs(5);

/// Returns the routes of the socket.
pub(super) fn router(driver: Driver) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/status.json", get(status_json))
        .route("/leave", post(leave))
        .route("/sync", post(sync))
        .fallback(plugin)
        .with_state(driver)
}

/// Answers Docker. A refusal is a 200 with `Err`: Docker shows it as "remote: SENTENCE", where any other code puts the
/// method's name before it.
async fn plugin(State(driver): State<Driver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.uri.path().trim_start_matches('/').to_owned();
    if parts.method != Method::POST {
        let sentence = format!("{} /{method} is nothing that ipvland answers", parts.method);
        return answer(StatusCode::NOT_FOUND, &json!({"Err": sentence}));
    }
    let body = match to_bytes(body, LARGEST).await {
        Ok(body) => body,
        Err(error) => {
            let sentence = format!("cannot read the body of {method}, of which 1 MiB is the most: {error}");
            return answer(StatusCode::OK, &refused(&method, &Refusal(sentence)));
        }
    };
    let after = driver.0.settings.deadline;
    let begun = Instant::now();
    let task = tokio::spawn({
        let method = method.clone();
        async move { dispatch(&driver, &method, &body, Deadline::after(after)).await }
    });
    let outcome = match tokio::time::timeout(after + GRACE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(broken)) => {
            error!(method, "the handler of {method} broke off: {broken}");
            Some(Err(Refusal(format!("{method} failed inside ipvland: see its log and report it"))))
        }
        Err(_) => {
            Some(Err(Refusal(format!("{method} still goes on in ipvland: see its log, then try again"))))
        }
    };
    match outcome {
        Some(Ok(value)) => {
            let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            debug!(method, took_us, "answered {method}");
            answer(StatusCode::OK, &value)
        }
        Some(Err(refusal)) => {
            warn!(method, "refused {method}: {refusal}");
            answer(StatusCode::OK, &refused(&method, &refusal))
        }
        None => answer(StatusCode::NOT_FOUND, &json!({"Err": format!("ipvland has no method {method}")})),
    }
}

/// Words a refusal: network drivers say `Err`, and IPAM drivers `Error`.
fn refused(method: &str, refusal: &Refusal) -> Value {
    match method.split_once('.') {
        // The other key is read too, where an answer is taken for that of a network driver.
        Some(("IpamDriver", _)) => json!({"Error": refusal.to_string(), "Err": refusal.to_string()}),
        _ => json!({"Err": refusal.to_string()}),
    }
}

/// Runs a method of the protocol; `None` where there is none of that name, which Docker takes as "not implemented".
async fn dispatch(
    driver: &Driver,
    method: &str,
    body: &[u8],
    deadline: Deadline,
) -> Option<Result<Value, Refusal>> {
    let driver = &driver.0;
    let (interface, name) = method.split_once('.')?;
    Some(match (interface, name) {
        ("Plugin", "Activate") => driver.activate(deadline).await,
        // Only Swarm looks at the scope of connectivity; it is local as we serve single hosts.
        ("NetworkDriver", "GetCapabilities") => {
            Ok(json!({"Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": true}))
        }
        ("NetworkDriver", "GwAllocCheck") => {
            wire::parse(method, body).and_then(|asked| driver.gateway_check(&asked))
        }
        ("NetworkDriver", "EndpointOperInfo") => {
            wire::parse(method, body).and_then(|asked| driver.endpoint_info(&asked))
        }
        ("NetworkDriver", "CreateNetwork") => {
            run(method, body, |asked| driver.create_network(asked, deadline)).await
        }
        ("NetworkDriver", "DeleteNetwork") => {
            run(method, body, |asked| driver.delete_network(asked, deadline)).await
        }
        ("NetworkDriver", "CreateEndpoint") => {
            run(method, body, |asked| driver.create_endpoint(asked, deadline)).await
        }
        ("NetworkDriver", "DeleteEndpoint") => {
            run(method, body, |asked| driver.delete_endpoint(asked, deadline)).await
        }
        ("NetworkDriver", "Join") => run(method, body, |asked| driver.join(asked, deadline)).await,
        ("NetworkDriver", "Leave") => run(method, body, |asked| driver.leave(asked, deadline)).await,
        // Swarm's; a driver of local scope has nothing to reserve, and nobody to discover.
        ("NetworkDriver", "AllocateNetwork") => Ok(json!({"Options": {}})),
        ("NetworkDriver", "FreeNetwork" | "DiscoverNew" | "DiscoverDelete") => Ok(json!({})),
        ("IpamDriver", "GetCapabilities") => Ok(addresses::capabilities()),
        ("IpamDriver", "GetDefaultAddressSpaces") => Ok(addresses::address_spaces()),
        ("IpamDriver", "RequestPool") => {
            run(method, body, |asked| driver.request_pool(asked, deadline)).await
        }
        ("IpamDriver", "ReleasePool") => {
            run(method, body, |asked| driver.release_pool(asked, deadline)).await
        }
        ("IpamDriver", "RequestAddress") => {
            run(method, body, |asked| driver.request_address(asked, deadline)).await
        }
        ("IpamDriver", "ReleaseAddress") => {
            run(method, body, |asked| driver.release_address(asked, deadline)).await
        }
        _ => return None,
    })
}

async fn run<'a, T, F>(method: &str, body: &'a [u8], handle: impl FnOnce(T) -> F) -> Result<Value, Refusal>
where
    T: Deserialize<'a>,
    F: Future<Output = Result<Value, Refusal>>,
{
    handle(wire::parse(method, body)?).await
}

fn answer(code: StatusCode, value: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from(value.to_string())).into_response()
}

async fn status(State(driver): State<Driver>) -> Response {
    match serde_json::to_string_pretty(&driver.0.board.read()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text + "\n").into_response(),
        Err(error) => failed(&error.to_string()),
    }
}

async fn status_json(State(driver): State<Driver>) -> Response {
    match serde_json::to_vec(&driver.0.board.read()) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => failed(&error.to_string()),
    }
}

/// Carries out `/leave`, or `/leave?force=true`.
async fn leave(State(driver): State<Driver>, RawQuery(query): RawQuery) -> Response {
    let force = query.is_some_and(|query| query.split('&').any(|pair| pair == "force=true"));
    order(async move { driver.0.control.leave(force).await }).await
}

async fn sync(State(driver): State<Driver>) -> Response {
    order(async move { driver.0.control.sync().await }).await
}

/// Carries out an order of the command line, also where that is interrupted.
async fn order(work: impl Future<Output = Result<String, String>> + Send + 'static) -> Response {
    match tokio::spawn(work).await {
        Ok(Ok(sentence)) => (StatusCode::OK, sentence + "\n").into_response(),
        Ok(Err(sentence)) => (StatusCode::CONFLICT, sentence + "\n").into_response(),
        Err(broken) => failed(&broken.to_string()),
    }
}

fn failed(reason: &str) -> Response {
    error!("the request failed: {reason}");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response()
}
