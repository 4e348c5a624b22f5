//! Why a member hangs up after a TLS handshake.
//!
//! In TLS 1.3 a client is ready before the server has judged its certificate. The alert that refuses it comes over a
//! connection that the HTTP client has in its hands already, and gets lost there: all it tells is that the connection was
//! closed. So the handshake is made once more, by itself.

use std::{io::Error, sync::Arc};

use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{endpoints::Endpoint, tls::Tls};

/// Connects, says nothing, and returns the error that the member sends, in words; without end where it sends none.
pub(crate) async fn alert(tls: &Tls, endpoint: &Endpoint) -> Option<String> {
    let connector = TlsConnector::from(Arc::new(tls.client_config().ok()?));
    let name = ServerName::try_from(tls.name_of(endpoint).to_owned()).ok()?;
    let heard: Result<usize, Error> = async {
        let socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        connector.connect(name, socket).await?.read(&mut [0]).await
    }
    .await;
    heard.err().map(|error| error.to_string())
}
