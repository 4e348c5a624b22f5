//! A new connection: names, addresses, proxies, TLS.

use std::{io, net::SocketAddr, os::fd::AsFd as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ipvland_store::{Error, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::{Host, Origin, Url};

use super::{
    proxy::Proxy,
    tls::{self, Tls},
};
use crate::address::Address;

/// How long one address of a server has before the next is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// The longest head of a proxy's answer, in bytes.
const MOST_PROXY_HEAD: usize = 8 << 10;

/// What leads to a server.
pub(super) struct Way<'a> {
    pub(super) url: &'a Url,
    pub(super) address: &'a Address,
    pub(super) tls: &'a Tls,
    pub(super) proxy: Option<&'a Proxy>,
}

/// A connection on which one request after the other can be made.
pub(super) struct Link {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// Whom it leads to.
    pub(super) origin: Origin,
    pub(super) is_tls: bool,
    /// It leads to a proxy, which is told the whole URL; and the proxy's login.
    pub(super) proxy_for_plain: Option<Option<String>>,
    /// The same socket, to look at while nothing is asked.
    socket: std::net::TcpStream,
}

/// Bytes to a server, whatever is between.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// [`RetryLater`](ipvland_store::Remedy::RetryLater) when nobody answers there,
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when whoever answers isn't trusted or a proxy says no.
    pub(super) async fn open(way: &Way<'_>) -> Result<Self> {
        let to = way.proxy.map_or(way.url, |proxy| &proxy.url);
        let tcp = connect(to).await.map_err(|why| way.away(&why))?;
        // A request goes out whole, and its answer is waited for: there is nothing to gather.
        tcp.set_nodelay(true).map_err(|why| way.away(&why))?;
        let socket = tcp.as_fd().try_clone_to_owned().map_err(|why| way.away(&why))?.into();
        let mut wire: Box<dyn Wire> = Box::new(tcp);
        let is_tls = way.url.scheme() == "https";
        if let Some(proxy) = way.proxy {
            if proxy.url.scheme() == "https" {
                wire = way.encrypted(wire, &proxy.url, false).await?;
            }
            if is_tls {
                tunnel(way, proxy, &mut wire).await?;
            }
        }
        if is_tls {
            wire = way.encrypted(wire, way.url, true).await?;
        }
        let (sender, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(|why| way.away(&why))?;
        // It ends when `sender` is dropped. What it says at its end the request has said.
        tokio::spawn(async move { drop(connection.await) });
        let proxy_for_plain = way.proxy.filter(|_| !is_tls).map(|proxy| proxy.login.clone());
        Ok(Self { sender, origin: way.url.origin(), is_tls, proxy_for_plain, socket })
    }

    /// Tells whether the server still holds the connection, as far as this host knows. Nothing may come from a server that
    /// was asked nothing.
    pub(super) fn is_open(&self) -> bool {
        let waits = |why: io::Error| why.kind() == io::ErrorKind::WouldBlock;
        !self.sender.is_closed() && self.socket.peek(&mut [0]).is_err_and(waits)
    }

    /// Says why a request found no answer.
    pub(super) fn explain(&self, way: &Way<'_>, why: &hyper::Error) -> Error {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(why);
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<io::Error>()
                && let Some(error) = tls::explain(way.address, cause)
            {
                return error;
            }
            source = cause.source();
        }
        way.away(why)
    }
}

impl Way<'_> {
    fn away(&self, why: &dyn std::error::Error) -> Error {
        let by = self.proxy.map(|proxy| format!(" by the proxy {}", proxy.url)).unwrap_or_default();
        let cause = why.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::away(format!("the git repository {} can't be reached{by}: {why}{cause}", self.address.shown))
    }

    async fn encrypted(&self, wire: Box<dyn Wire>, url: &Url, is_server: bool) -> Result<Box<dyn Wire>> {
        let config = self.tls.config(is_server)?;
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).ok(),
            Some(Host::Ipv4(address)) => Some(ServerName::from(std::net::IpAddr::from(address))),
            Some(Host::Ipv6(address)) => Some(ServerName::from(std::net::IpAddr::from(address))),
            None => None,
        };
        let Some(name) = name else {
            return Err(Error::refused(format!("{url} names no host that a certificate could be for")));
        };
        match TlsConnector::from(Arc::clone(&config)).connect(name, wire).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(why) => Err(tls::explain(self.address, &why).unwrap_or_else(|| self.away(&why))),
        }
    }
}

/// Connects to the first address of a host that answers.
async fn connect(url: &Url) -> io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Domain(name)) => lookup_host((name, port)).await?.collect(),
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        None => Vec::new(),
    };
    let mut attempts: FuturesUnordered<_> = (0..)
        .zip(addresses)
        .map(|(number, address)| async move {
            tokio::time::sleep(HEAD_START * number).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut why = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    while let Some(ended) = attempts.next().await {
        match ended {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// Asks a proxy for a way to the server (RFC 9110, 9.3.6).
async fn tunnel(way: &Way<'_>, proxy: &Proxy, wire: &mut Box<dyn Wire>) -> Result<()> {
    let host = way.url.host_str().unwrap_or_default();
    let port = way.url.port_or_known_default().unwrap_or(443);
    let login = proxy.login.as_ref().map(|login| format!("Proxy-Authorization: {login}\r\n"));
    let head =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n", login.unwrap_or_default());
    wire.write_all(head.as_bytes()).await.map_err(|why| way.away(&why))?;
    wire.flush().await.map_err(|why| way.away(&why))?;
    let mut answer = Vec::new();
    // Byte by byte: what comes after the head is the server's.
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = wire.read_u8().await.map_err(|why| way.away(&why))?;
        answer.push(byte);
        if answer.len() > MOST_PROXY_HEAD {
            return Err(proxy.refusal(way.address, "an answer without an end"));
        }
    }
    let first = String::from_utf8_lossy(&answer);
    let status = first.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    match status {
        "200" => Ok(()),
        "407" => Err(proxy.wants_login(way.address)),
        "502" | "503" | "504" => Err(Error::away(format!(
            "the proxy {} can't reach the git server {} (HTTP status {status}): look at its log",
            proxy.url,
            way.address.host()
        ))),
        _ => Err(proxy.refusal(way.address, &format!("HTTP status {}", crate::errors::clean(status)))),
    }
}
