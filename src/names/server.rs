//! The sockets of the responder, and who may ask.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    answer::{Transport, Verdict, answer},
    table::Table,
    upstream::{Upstream, read_framed, write_framed},
};

/// How many queries are with the servers of other names at once; what comes on top is dropped, and asked again by who
/// needs it.
const MOST_FORWARDED: usize = 512;

/// How many connections are open at once.
const MOST_CONNECTIONS: usize = 128;

/// How long a connection may be silent, and how long a client may take for an answer.
const IDLE: Duration = Duration::from_secs(10);

/// The pause after an error of a socket: of too many open files, for one, there is no end at once.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// The loopback addresses of IPv4: dockerd asks from there what it asks on the host.
const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// Who may ask: the containers of this host's networks, and this host itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guests {
    /// Loopback, and the subnets of this host's networks.
    pub(super) subnets: Vec<IpNet>,
    /// The addresses of this host.
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Guests {
    /// Makes them of what the networks and the host have; loopback comes by itself.
    pub(super) fn new(
        networks: impl Iterator<Item = IpNet>,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let loopback = [IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)), LOOPBACK];
        Self { subnets: loopback.into_iter().chain(networks).collect(), addresses: addresses.collect() }
    }

    fn may_ask(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.addresses.contains(&source) || self.subnets.iter().any(|subnet| subnet.contains(&source))
    }
}

/// What all sockets share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: watch::Receiver<Arc<Table>>,
    pub(super) guests: watch::Receiver<Guests>,
    pub(super) upstream: Upstream,
    /// Where we listen, to ask nobody there.
    pub(super) own: watch::Receiver<Vec<SocketAddr>>,
    forwarded: Semaphore,
    connections: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(
        table: watch::Receiver<Arc<Table>>,
        guests: watch::Receiver<Guests>,
        upstream: Upstream,
        own: watch::Receiver<Vec<SocketAddr>>,
    ) -> Self {
        let (forwarded, connections) =
            (Semaphore::new(MOST_FORWARDED), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
        Self { table, guests, upstream, own, forwarded, connections }
    }

    fn look_up(&self, query: &[u8], transport: Transport) -> Verdict {
        answer(query, &self.table.borrow(), transport)
    }

    async fn forward(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let _turn = self.forwarded.try_acquire().ok()?;
        let own = self.own.borrow().clone();
        self.upstream.ask(query, transport, &own).await
    }
}

/// Two sockets on one address.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Sockets {
    /// Listens on an address; with port 0, on one that is free for both.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self { udp: Arc::new(udp), tcp })
    }

    /// Answers until the future is dropped; what is being answered then is dropped too.
    pub(super) async fn serve(self, shared: Arc<Shared>) {
        tokio::join!(serve_udp(self.udp, Arc::clone(&shared)), serve_tcp(self.tcp, shared));
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut asked = tokio::task::JoinSet::new();
    loop {
        while asked.try_join_next().is_some() {}
        let (length, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a DNS query could not be read");
                sleep(AFTER_ERROR).await;
                continue;
            }
        };
        if !shared.guests.borrow().may_ask(source.ip()) {
            tracing::debug!(%source, "a DNS query of a stranger is dropped");
            continue;
        }
        let query = &buffer[..length];
        match shared.look_up(query, Transport::Udp) {
            Verdict::Answer(answer) => _ = socket.send_to(&answer, source).await,
            Verdict::Drop => {}
            Verdict::Forward if asked.len() >= MOST_FORWARDED => {}
            Verdict::Forward => {
                let (query, socket, shared) = (query.to_vec(), Arc::clone(&socket), Arc::clone(&shared));
                asked.spawn(async move {
                    if let Some(answer) = shared.forward(&query, Transport::Udp).await {
                        let _ = socket.send_to(&answer, source).await;
                    }
                });
            }
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let (stream, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a DNS connection could not be taken");
                sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let may = shared.guests.borrow().may_ask(source.ip());
        // A connection that is dropped is closed.
        let Some(turn) = may.then(|| Arc::clone(&shared.connections).try_acquire_owned().ok()).flatten()
        else {
            continue;
        };
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            if let Err(error) = serve_connection(stream, &shared).await {
                tracing::debug!(%source, %error, "a DNS connection broke");
            }
            drop(turn);
        });
    }
}

async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    loop {
        let query = match timeout(IDLE, read_framed(&mut stream)).await.map_err(late)? {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            query => query?,
        };
        let answer = match shared.look_up(&query, Transport::Tcp) {
            Verdict::Answer(answer) => Some(answer),
            Verdict::Forward => shared.forward(&query, Transport::Tcp).await,
            Verdict::Drop => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        timeout(IDLE, write_framed(&mut stream, &answer)).await.map_err(late)??;
    }
}

#[cfg(test)]
mod tests;
