//! Asks the running daemon, over the unix socket that Docker uses too.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// How long the daemon may take for an answer. Leaving waits for the store, which may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer. `Display` is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "the daemon is not running: nobody answers on {socket}; start it with ipvland run, or name its socket with --socket"
    )]
    NotRunning {
        /// The socket.
        socket: String,
    },
    /// The socket is root's door.
    #[error("may not open {socket}: run this as root")]
    Forbidden {
        /// The socket.
        socket: String,
    },
    /// The connection or the answer broke, or took too long.
    #[error("no answer from the daemon on {socket}: {reason}")]
    Broken {
        /// The socket.
        socket: String,
        /// What happened.
        reason: String,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
}

/// Sends one request, and returns the body of the answer.
///
/// # Errors
/// [`ClientError::NotRunning`] where nobody listens, [`ClientError::Refused`] with the daemon's own words for any status
/// but success.
pub(crate) async fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, ClientError> {
    let name = socket.display().to_string();
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { socket: name.clone() }
        }
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket: name.clone() },
        _ => ClientError::Broken { socket: name.clone(), reason: error.to_string() },
    })?;
    let broken = |reason: String| ClientError::Broken { socket: name.clone(), reason };
    let (status, body) = timeout(PATIENCE, exchange(stream, method, path, body))
        .await
        .map_err(|_| broken(format!("it took more than {} s", PATIENCE.as_secs())))?
        .map_err(|error| broken(error.to_string()))?;
    if status.is_success() { Ok(body) } else { Err(ClientError::Refused(sentence(status, &body))) }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header(header::HOST, "ipvland").body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

/// Takes the sentence out of a refusal: the member `Err` of a JSON object, as Docker's protocol has it, or the text.
fn sentence(status: StatusCode, body: &[u8]) -> String {
    let object = serde_json::from_slice::<serde_json::Value>(body).ok();
    let words = object.as_ref().and_then(|object| object.get("Err")?.as_str());
    match words.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned) {
        words if words.is_empty() => {
            format!("the daemon answers {status}: its version differs from this program's")
        }
        words => words,
    }
}
