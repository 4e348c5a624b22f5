//! A proxy before a server that delays, cuts, half-closes and swallows what passes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What befalls the traffic through a [`Proxy`] for as long as it's set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// All passes at once.
    Calm,
    /// Each chunk waits for so long, give or take a half.
    Delay(Duration),
    /// New connections are reset; those that are open go on.
    Refuse,
    /// Bytes vanish in both directions, and connections are accepted that lead nowhere. Whatever lost bytes is reset when
    /// this ends.
    BlackHole,
    /// Each connection breaks when so many bytes have passed in it since this was set, both directions counted together.
    /// So a request may arrive, and its answer be lost.
    BreakAfter(u64, Break),
}

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Both ends get a reset.
    Reset,
    /// The client gets an end of the stream, and nothing passes any more, in neither direction.
    HalfCloseToClient,
    /// The server gets an end of the stream, and nothing passes any more, in neither direction.
    HalfCloseToServer,
    /// Nothing passes any more, and neither end is told: a middlebox that forgot the connection.
    Silence,
}

/// What has passed through a [`Proxy`] since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Connections that a client made.
    pub connections: u64,
    /// Those that were refused or broken.
    pub broken: u64,
    /// Bytes handed to the server.
    pub to_server: u64,
    /// Bytes handed to clients.
    pub to_client: u64,
}

/// A TCP proxy on loopback before one server, which can be told at any time how bad the network is.
///
/// It lives in the runtime that it was started in; dropping it ends all its connections. What it accepts while it can't
/// reach the server is reset.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    orders: watch::Sender<Orders>,
    connections: AtomicU64,
    broken: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    traffic: Traffic,
    /// Counts the settings of `traffic`.
    set: u64,
    /// Counts the orders to break what is open.
    breaks: u64,
    how: Break,
}

impl Proxy {
    /// Starts a proxy before a server, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// What the operating system says when there is no port to listen on.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let orders = Orders { traffic: Traffic::Calm, set: 0, breaks: 0, how: Break::Reset };
        let shared = Arc::new(Shared {
            server,
            orders: watch::Sender::new(orders),
            connections: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let listening = tokio::spawn(listen(listener, shared.clone()));
        Ok(Self { address, shared, listening })
    }

    /// Returns where clients reach the server through the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what befalls the traffic from now on, also that of connections that are open.
    pub fn set(&self, traffic: Traffic) {
        self.shared.orders.send_modify(|orders| {
            orders.traffic = traffic;
            orders.set += 1;
        });
    }

    /// Breaks all connections that are open; further ones work.
    pub fn break_open(&self, how: Break) {
        self.shared.orders.send_modify(|orders| {
            orders.breaks += 1;
            orders.how = how;
        });
    }

    /// Returns what has passed so far.
    pub fn passed(&self) -> Passed {
        let Shared { connections, broken, to_server, to_client, .. } = &*self.shared;
        Passed {
            connections: connections.load(Relaxed),
            broken: broken.load(Relaxed),
            to_server: to_server.load(Relaxed),
            to_client: to_client.load(Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are tasks of this task's set, so they end with it.
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors, say: those of connections that end will help.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.connections.fetch_add(1, Relaxed);
        if shared.orders.borrow().traffic == Traffic::Refuse {
            shared.broken.fetch_add(1, Relaxed);
            reset(&client);
            continue;
        }
        open.spawn(serve(shared.clone(), client));
    }
}

/// One connection, as its two directions see it.
struct Connection {
    orders: watch::Receiver<Orders>,
    /// Bytes or an end of the stream were swallowed, so nothing may follow them.
    lost: AtomicBool,
    /// Bytes passed since the traffic was set.
    passed: AtomicU64,
    /// Which setting `passed` is about.
    set: AtomicU64,
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream) {
    let orders = shared.orders.subscribe();
    let set = AtomicU64::new(orders.borrow().set);
    let connection = Connection { orders, lost: AtomicBool::new(false), passed: AtomicU64::new(0), set };
    let Ok(mut server) = TcpStream::connect(shared.server).await else {
        shared.broken.fetch_add(1, Relaxed);
        reset(&client);
        return;
    };
    // Else the system holds small chunks back, and the proxy is slower than what it stands before.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let how = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            biased;
            how = connection.ordered() => how,
            ended = async {
                tokio::try_join!(
                    connection.pump(from_client, to_server, &shared.to_server),
                    connection.pump(from_server, to_client, &shared.to_client),
                )
            } => match ended {
                Ok(_) => return,
                Err(how) => how,
            },
        }
    };
    shared.broken.fetch_add(1, Relaxed);
    match how {
        Break::Reset => {}
        Break::HalfCloseToClient => _ = client.shutdown().await,
        Break::HalfCloseToServer => _ = server.shutdown().await,
        Break::Silence => {}
    }
    if how != Break::Reset {
        swallow(&mut client, &mut server).await;
    }
    reset(&client);
    reset(&server);
}

impl Connection {
    /// Waits for an order to break.
    async fn ordered(&self) -> Break {
        let mut orders = self.orders.clone();
        let breaks = orders.borrow_and_update().breaks;
        let is_over = |orders: &Orders| {
            orders.breaks != breaks || (self.lost.load(Relaxed) && orders.traffic != Traffic::BlackHole)
        };
        match orders.wait_for(is_over).await {
            Ok(orders) if orders.breaks != breaks => orders.how,
            _ => Break::Reset,
        }
    }

    /// Hands on what comes from one end to the other, until the end of the stream or a break.
    async fn pump(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        count: &AtomicU64,
    ) -> Result<(), Break> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await.map_err(|_| Break::Reset)?;
            let traffic = self.orders.borrow().traffic;
            if let Traffic::Delay(pause) = traffic {
                sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            }
            let orders = *self.orders.borrow();
            if orders.traffic == Traffic::BlackHole || self.lost.load(Relaxed) {
                self.lost.store(true, Relaxed);
                if read == 0 {
                    // Until the order to reset.
                    std::future::pending::<()>().await;
                }
                continue;
            }
            if read == 0 {
                return to.shutdown().await.map_err(|_| Break::Reset);
            }
            if self.set.swap(orders.set, Relaxed) != orders.set {
                self.passed.store(0, Relaxed);
            }
            let passed = self.passed.fetch_add(read as u64, Relaxed);
            let (chunk, broken) = match orders.traffic {
                Traffic::BreakAfter(bytes, how) if passed + read as u64 >= bytes => {
                    (bytes.saturating_sub(passed) as usize, Err(how))
                }
                _ => (read, Ok(())),
            };
            to.write_all(&buffer[..chunk]).await.map_err(|_| Break::Reset)?;
            count.fetch_add(chunk as u64, Relaxed);
            broken?;
        }
    }
}

/// Reads what comes and drops it, until the client gives up. That the server did is not told.
async fn swallow(client: &mut TcpStream, server: &mut TcpStream) {
    let drain = async |stream: &mut TcpStream| {
        let mut buffer = vec![0; 16 * 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        () = drain(client) => {}
        () = async { drain(server).await; std::future::pending().await } => {}
    }
}

/// Lets the connection end with a reset when it's dropped. Where the system can't, it ends in the common way.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
