//! An HTTP proxy: tunnels (RFC 9110, 9.3.6) and whole URLs (RFC 9112, 3.2.2), for one user.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// `user:password`, as the proxy wants to be told.
pub const LOGIN: &str = "through:hunter6";
/// The same in base64.
const ENCODED: &str = "dGhyb3VnaDpodW50ZXI2";

/// A proxy that lets [`LOGIN`] through.
#[derive(Debug)]
pub struct ProxyServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    /// Starts a proxy. It ends with the process.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                // A client that goes away is no failure of the proxy.
                thread::spawn(move || drop(serve(client, &log)));
            }
        });
        Self { address, seen }
    }

    /// Returns the proxy's URL, with something before the host: `user:password@` or nothing.
    pub fn url(&self, login: &str) -> String {
        format!("http://{login}{}", self.address)
    }

    /// Returns the heads of the requests that came first on each connection.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().unwrap().push(head.clone());
    let says_login = head.lines().any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {ENCODED}")
        })
    });
    if !says_login {
        return client.write_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n");
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let mut server = match target.strip_prefix("http://") {
        Some(rest) => {
            let mut server = TcpStream::connect(rest.split('/').next().unwrap_or_default())?;
            server.write_all(head.as_bytes())?;
            server
        }
        None => {
            let server = TcpStream::connect(target)?;
            client.write_all(b"HTTP/1.1 200 Go on\r\n\r\n")?;
            server
        }
    };
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}
