//! Docker's network driver and IPAM driver: its plugin protocol over a unix socket.
//!
//! # Layout
//! - [`socket`]: the socket file, root's own door
//! - `router`: HTTP in, a method and raw bytes out; each request a task of its own
//! - `wire`: the bodies, as Docker writes them
//! - `options`: from a CreateNetwork to a network, a pure function
//! - `networks`, `endpoints`, `addresses`: what the methods do
//! - `numbering`: names of interfaces after Docker forgot which it gave
//! - `ports`: what published ports mean
//! - [`Links`], [`Announce`], [`Control`]: what the driver asks of the datapath, the publisher and the daemon
//!
//! Two rules go through all of it. Every method may come twice, since Docker's client retries. And Docker tells us of a
//! network or endpoint just once, so both are in the book on disk before the answer goes out.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::{config::NetworkConfig, ipam::Ipam, network::Book, status::Board};

mod addresses;
mod announce;
mod control;
mod endpoints;
mod host_access;
mod links;
mod networks;
mod numbering;
mod options;
mod ports;
mod refusal;
mod router;
pub mod socket;
mod wire;

pub use announce::{Announce, Announcement};
pub use control::Control;
pub use links::Links;
use refusal::Deadline;
pub use refusal::Refusal;

/// How long requests that are under way may take after the daemon was told to stop.
const LAST_ORDERS: Duration = Duration::from_millis(500);

/// What the driver has to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What a network gets unless it says otherwise.
    pub defaults: NetworkConfig,
    /// The parent of networks that name none, where the host has one.
    pub interface: Option<String>,
    /// After how long a request is answered with an error; 15 s is well above what a busy kernel needs.
    pub deadline: Duration,
    /// How long the making of a network waits for the store to take its prefixes; 3 s.
    pub patience: Duration,
}

impl Settings {
    /// Returns the settings of a daemon, with the usual times.
    pub fn new(defaults: NetworkConfig, interface: Option<String>) -> Self {
        Self { defaults, interface, deadline: Duration::from_secs(15), patience: Duration::from_secs(3) }
    }
}

/// The driver and everything that it asks. Clones are handles on one driver.
#[derive(Debug, Clone)]
pub struct Driver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    book: Book,
    ipam: Ipam,
    links: Arc<dyn Links>,
    announce: Arc<dyn Announce>,
    control: Arc<dyn Control>,
    board: Board,
    // Requests about one network wait for each other, those about different ones don't.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    // Held while a network enters or leaves the book, since overlaps and parents concern several networks.
    registering: tokio::sync::Mutex<()>,
}

impl Driver {
    /// Returns a driver over a book of networks.
    pub fn new(
        settings: Settings,
        book: Book,
        ipam: Ipam,
        links: Arc<dyn Links>,
        announce: Arc<dyn Announce>,
        control: Arc<dyn Control>,
        board: Board,
    ) -> Self {
        let (turns, registering) = Default::default();
        Self(Arc::new(Inner { settings, book, ipam, links, announce, control, board, turns, registering }))
    }
}

impl Inner {
    /// Waits until no other request about a network is under way.
    async fn turn(&self, network: &str, deadline: &Deadline) -> Result<OwnedMutexGuard<()>, Refusal> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are of no use any more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(network.to_owned()).or_default().clone()
        };
        deadline.wait("an earlier request about the same network", turn.lock_owned()).await
    }
}

/// Answers Docker until `shutdown` is there, then for half a second more, and takes the socket file away.
///
/// # Errors
/// When the socket can't be served at all; a single failed connection is no error.
pub async fn serve<F>(socket: socket::Socket, driver: Driver, shutdown: F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, door) = socket.into_parts();
    let (say, hear) = oneshot::channel();
    let stop = async move {
        shutdown.await;
        // Nobody hears it where the server has ended by itself.
        let _ = say.send(());
    };
    let server = axum::serve(listener, router::router(driver)).with_graceful_shutdown(stop);
    let last_orders = async {
        let _ = hear.await;
        tokio::time::sleep(LAST_ORDERS).await;
    };
    let served = tokio::select! {
        served = server.into_future() => served,
        () = last_orders => Ok(()),
    };
    door.close();
    served
}
