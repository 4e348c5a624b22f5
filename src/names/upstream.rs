//! The DNS servers for all names that are no container's.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::base::{Message, iana::Rcode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout},
};

use super::answer::{Transport, failure};

/// How long one server may take. Docker waits 4 s for us, and may have another server to ask.
const PATIENCE: Duration = Duration::from_millis(1800);

/// How many servers are asked, one after another.
const MOST_ASKED: usize = 2;

/// How often the host's file is read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// The longest message of DNS, in bytes.
const LONGEST: usize = 65_535;

/// Where the servers are known from.
#[derive(Debug)]
pub(super) struct Upstream {
    configured: Vec<SocketAddr>,
    file: PathBuf,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Upstream {
    /// Names the servers; where there are none, those of a file in the form of `/etc/resolv.conf` count.
    pub(super) fn new(configured: Vec<SocketAddr>, file: PathBuf) -> Self {
        Self { configured, file, read: Mutex::default() }
    }

    /// Returns the servers, but those where we listen ourselves.
    pub(super) fn servers(&self, own: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut servers = if self.configured.is_empty() { self.of_file() } else { self.configured.clone() };
        servers.retain(|server| !own.contains(server));
        servers
    }

    fn of_file(&self) -> Vec<SocketAddr> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, servers)) if at.elapsed() < READ_EVERY => servers.clone(),
            _ => {
                let text = std::fs::read_to_string(&self.file).unwrap_or_default();
                let servers: Vec<_> = name_servers(&text).map(|server| SocketAddr::new(server, 53)).collect();
                *read = Some((Instant::now(), servers.clone()));
                servers
            }
        }
    }

    /// Asks the servers, one after another, by the transport that the query came by: an answer that was cut short is
    /// passed on with its mark, and who wants all of it asks again by TCP.
    ///
    /// Where none has a word, the answer is that the server failed. Nothing is returned where the query is none.
    pub(super) async fn ask(
        &self,
        query: &[u8],
        transport: Transport,
        own: &[SocketAddr],
    ) -> Option<Vec<u8>> {
        let mut last = None;
        for server in self.servers(own).into_iter().take(MOST_ASKED) {
            let asked = async {
                match transport {
                    Transport::Udp => ask_udp(query, server).await,
                    Transport::Tcp => ask_tcp(query, server).await,
                }
            };
            match timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(answer) if has_a_word(&answer) => return Some(answer),
                Ok(answer) => last = Some(answer),
                Err(error) => tracing::debug!(%server, %error, "a DNS server did not answer"),
            }
        }
        last.or_else(|| failure(query, Rcode::SERVFAIL))
    }
}

/// Returns the servers that a file in the form of `/etc/resolv.conf` names.
fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // An address with a zone (fe80::1%eth0) is left out: what it means is the interface's to say.
        address.parse().ok()
    })
}

fn has_a_word(answer: &[u8]) -> bool {
    let rcode = Message::from_slice(answer).map(|answer| answer.header().rcode());
    rcode.is_ok_and(|rcode| rcode != Rcode::SERVFAIL && rcode != Rcode::REFUSED)
}

/// A query under an id that nobody else knows, so that a stranger's answer is not taken for the server's.
struct Asked {
    message: Message<Vec<u8>>,
    id: u16,
}

impl Asked {
    fn new(query: &[u8]) -> io::Result<Self> {
        let mut message =
            Message::from_octets(query.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let id = message.header().id();
        message.header_mut().set_id(fastrand::u16(..));
        Ok(Self { message, id })
    }

    /// Returns an answer under the query's own id, if it is one to this query.
    fn take(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let mut answer = Message::from_octets(answer.to_vec()).ok()?;
        // A server that can't read the question may leave it out.
        let bare = answer.header_counts().qdcount() == 0 && answer.header().rcode() != Rcode::NOERROR;
        let same = answer.header().qr() && answer.header().id() == self.message.header().id();
        if !(answer.is_answer(&self.message) || bare && same) {
            return None;
        }
        answer.header_mut().set_id(self.id);
        Some(answer.into_octets())
    }
}

async fn ask_udp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for each query, drawn by the kernel: with the id it makes forged answers a long guess.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let asked = Asked::new(query)?;
    socket.send(asked.message.as_slice()).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = asked.take(&buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let asked = Asked::new(query)?;
    write_framed(&mut stream, asked.message.as_slice()).await?;
    let answer = read_framed(&mut stream).await?;
    asked.take(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Writes a message as DNS over TCP has it: its length in two bytes before it, all in one segment.
pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Reads a message as DNS over TCP has it.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_file() {
        let text = "# nameserver 9.9.9.9\nsearch example.net\nnameserver 127.0.0.5\n nameserver\t10.1.1.1 # x\n\
                    nameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver\nnameservers 1.1.1.1\n";
        let servers: Vec<_> = name_servers(text).map(|server| server.to_string()).collect();
        assert_eq!(servers, ["127.0.0.5", "10.1.1.1", "2001:db8::1"]);
    }

    #[test]
    fn we_are_no_server_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 127.0.0.5\nnameserver 10.1.1.1\n").unwrap();
        let own: SocketAddr = "127.0.0.5:53".parse().unwrap();
        let upstream = Upstream::new(Vec::new(), file.clone());
        assert_eq!(upstream.servers(&[own]), ["10.1.1.1:53".parse().unwrap()]);
        let upstream = Upstream::new(vec![own, "10.1.1.9:54".parse().unwrap()], file);
        assert_eq!(upstream.servers(&[own]), ["10.1.1.9:54".parse().unwrap()]);
        assert!(Upstream::new(Vec::new(), dir.path().join("none")).servers(&[own]).is_empty());
    }
}
