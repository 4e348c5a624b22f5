//! A relay in front of a server that counts what goes through, and may change what the server says.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use servers::git::{
    HttpServer,
    http::{ENCODED, USER},
};

/// A relay. It runs until the process ends.
pub(crate) struct Relay {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    /// Starts a relay that hands on what the server says after `change`.
    pub(crate) fn start(server: &HttpServer, change: fn(&mut [u8])) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), bytes: Arc::default() };
        let url = server.url("", "");
        let target = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let bytes = Arc::clone(&relay.bytes);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&target).unwrap());
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let counter = Arc::clone(&bytes);
                thread::spawn(move || copy(up, server, &counter, |_| {}));
                let counter = Arc::clone(&bytes);
                thread::spawn(move || copy(down, client, &counter, change));
            }
        });
        relay
    }

    /// Returns the URL of a repository behind the relay, with user and password.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{USER}:{ENCODED}@127.0.0.1:{}/{name}", self.port)
    }

    /// Waits until nothing goes through any more and returns the bytes, both ways, since it was asked last.
    pub(crate) async fn settled(&self) -> u64 {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let now = self.bytes.load(Ordering::Relaxed);
            if now > 0 && now == before {
                return self.bytes.swap(0, Ordering::Relaxed);
            }
            before = now;
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64, change: fn(&mut [u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
        change(&mut buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    _ = to.shutdown(Shutdown::Write);
}
