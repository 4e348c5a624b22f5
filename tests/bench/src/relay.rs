//! A relay before a Git server that counts how often somebody asks for the refs.

use std::{
    io::{Read, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What each look begins with, whichever way it goes on.
const LOOK: &[u8] = b"/info/refs?service=git-upload-pack";

/// A relay, which lives as long as the process.
pub(crate) struct Relay {
    port: u16,
    looks: Arc<AtomicUsize>,
}

impl Relay {
    /// Listens at every address of the namespace.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let looks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&looks);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    carry(from, to, |bytes| _ = counter.fetch_add(looks_in(bytes), Ordering::Relaxed))
                });
                thread::spawn(move || carry(server, client, |_| {}));
            }
        });
        Self { port, looks }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody asked so far.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, note: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        note(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    _ = to.shutdown(Shutdown::Write);
}

/// A head fits into one read: clients send it at once.
fn looks_in(bytes: &[u8]) -> usize {
    bytes.windows(LOOK.len()).filter(|window| *window == LOOK).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted() {
        let one = b"GET /net/info/refs?service=git-upload-pack HTTP/1.1\r\n\r\n";
        assert_eq!(looks_in(&[&one[..], &one[..]].concat()), 2);
        assert_eq!(looks_in(b"POST /net/git-upload-pack HTTP/1.1\r\n\r\n"), 0);
    }
}
