//! Puts the parts together and runs them until the daemon is told to end.
//!
//! The parts know each other only by channels: what the driver writes into the book of networks, and what the kernel
//! says of the interfaces, becomes claims; the publisher brings those to the store; the fleet follows the store, and the
//! syncer makes the kernel's routes equal to what it tells.

use std::{path::Path, sync::Arc, time::Duration};

use ipvland_store::{
    EndpointStore, Nudge, OpenContext, Registry, Revision, StoreExt as _, Writer, follow::follow,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    config::Config,
    datapath::Datapath,
    driver,
    fleet::{Cache, Fleet, View},
    host::{self, Identity, Surroundings},
    ipam::{self, Ipam},
    kernel::{Kernel, Mode, netlink::Netlink},
    lease::{self, Leases},
    network::{Book, Networks},
    nudge::Nudges,
    publisher::{Announcer, ClaimSource, Outcome, Publisher, State, withdraw},
    status::Board,
    syncer::{self, Syncer},
};

mod control;
mod instance;
mod names;
mod networks;

use control::Orders;
use instance::Instance;

/// The file of the state directory that holds what this host leases.
const LEASES: &str = "leases.json";

/// How long `ipvland leave` waits for the store.
const LEAVE_PATIENCE: Duration = Duration::from_secs(30);

/// Runs the daemon until it is told to end by SIGTERM or SIGINT.
///
/// # Errors
/// One sentence for the operator: what keeps the daemon from starting, or which part of it ended by itself.
pub(crate) async fn run(config: Config, registry: Registry) -> Result<(), String> {
    let stop = Stop::listen()?;
    let instance = Instance::take(&config.daemon.state_dir)?;
    // All that comes before the fleet is done meanwhile.
    let snapshot = instance.dir().join("snapshot.json");
    let snapshot = tokio::task::spawn_blocking(move || Cache::open(snapshot));
    let socket = driver::socket::bind(&config.daemon.socket).map_err(|error| error.to_string())?;
    let kernel: Arc<dyn Kernel> = Arc::new(Netlink::connect().map_err(|error| error.to_string())?);
    let identity = Identity::load(&config.host, instance.dir(), kernel.as_ref()).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        host = %identity.name,
        interface = identity.interface.as_deref().unwrap_or("none"),
        store = %config.store.kind,
        "ipvland starts"
    );
    let own = !config.network.subnet.is_empty() || !config.network.pool.is_empty();
    if config.network.mode == Mode::L2 && own {
        tracing::warn!(
            "network.subnet or a prefix of network.pool is told to the other hosts, but networks are in mode l2 unless they \
             say otherwise, and the containers of those can't be routed to; set network.mode to l3, or give networks `-o ipvlan_mode=l3`"
        );
    }
    let mut parts: JoinSet<&'static str> = JoinSet::new();

    let surroundings = Surroundings::look(config.host.clone(), identity.clone(), Arc::clone(&kernel)).await?;
    let (reach, local, own) = (surroundings.reach(), surroundings.local(), surroundings.own());
    let address = reach.borrow().as_ref().map(|reach| reach.address);
    parts.spawn(async move {
        surroundings.run().await;
        "the watch on the interfaces"
    });

    let nudge = Nudge::new();
    let store = open_store(&config, &registry, instance.dir(), &identity, address, nudge.clone()).await?;
    let book = Book::open(instance.dir().to_owned()).map_err(|error| error.to_string())?;
    let leases = open_leases(&config, instance.dir(), &book.networks()).await?;
    let datapath = Datapath::new(Arc::clone(&kernel));
    sweep(&datapath, &book.networks()).await;

    let board = Board::default();
    board.update(|status| {
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.host.name.clone_from(&identity.name);
        status.host.id.clone_from(&identity.id);
        status.host.interface.clone_from(&identity.interface);
        status.store.kind.clone_from(&config.store.kind);
        status.store.location = config.store.location(&registry).unwrap_or_else(|| "this host".to_owned());
    });

    let place = config.store.place(&registry);
    let snapshot = snapshot.await.map_err(|error| {
        format!("the last snapshot can't be read ({error}); this is a bug, please report it with the log")
    })?;
    let fleet = Fleet::start(place.clone(), snapshot, own.clone(), board.clone());
    let (views, names_views) = (fleet.subscribe(), fleet.subscribe_names());
    let events = follow(Arc::clone(&store), nudge.clone());
    let (end_fleet, fleet_ends) = tokio::sync::oneshot::channel::<()>();
    parts.spawn(async move {
        // Dropped without a word where the daemon ends by an error: the same then.
        fleet.run_until(events, async { _ = fleet_ends.await }).await;
        "the follower of the store"
    });

    let outcome = watch::Sender::new(Outcome { claims: None, state: State::Nothing });
    let (leaving, left) = (watch::Sender::new(false), watch::Sender::new(false));
    let names_stopped = names::start(
        &mut parts,
        names::Needs {
            config: config.names.clone(),
            identity: identity.clone(),
            store: Arc::clone(&store),
            nudge: nudge.clone(),
            names: names_views,
            views: views.clone(),
            networks: book.subscribe(),
            reach: reach.clone(),
            local: local.clone(),
            leaving: leaving.subscribe(),
            board: board.clone(),
        },
    );
    let nudges = Nudges {
        config: config.nudge.clone(),
        id: identity.id.clone(),
        nudge: nudge.clone(),
        views: views.clone(),
        own: own.clone(),
        reach: reach.clone(),
        board: board.clone(),
    };
    nudges.start(&mut parts);
    let source = ClaimSource::new(
        identity.clone(),
        config.network.subnet.clone(),
        book.subscribe(),
        reach,
        leases.clone(),
    );
    let announcer = Announcer {
        source: source.clone(),
        outcome: outcome.subscribe(),
        views: views.clone(),
        local: local.clone(),
    };
    let publisher = Publisher {
        store: Arc::clone(&store),
        place,
        nudge: nudge.clone(),
        id: identity.id.clone(),
        source: source.clone(),
        views: views.clone(),
        local,
        leaving: leaving.subscribe(),
        settled_file: instance.dir().join("published.json"),
        board: board.clone(),
        outcome,
    };
    parts.spawn(async move {
        publisher.run().await;
        "the publisher"
    });
    parts.spawn({
        let board = board.clone();
        async move {
            networks::tell(source, board).await;
            "the status of the networks"
        }
    });

    let ipam = Ipam::open(
        instance.dir().join(ipam::LEDGER),
        ipam::Parts {
            config: config.network.clone(),
            times: ipam::Times::default(),
            leases: leases.clone(),
            book: book.clone(),
            views: views.clone(),
            local: announcer.local.clone(),
            board: board.clone(),
        },
    )?;
    parts.spawn({
        let ipam = ipam.clone();
        async move {
            ipam.run().await;
            "the address management"
        }
    });

    let syncer = Syncer {
        view: views.clone(),
        kernel: Arc::clone(&kernel),
        parent: identity.interface.clone(),
        own,
        networks: book.subscribe(),
        machine: identity.id.clone(),
        leave: left.subscribe(),
        board: board.clone(),
    };
    parts.spawn(async move {
        syncer.run().await;
        "the route syncer"
    });

    let orders = Orders {
        identity: identity.clone(),
        announcer: announcer.clone(),
        store,
        kernel: Arc::clone(&kernel),
        leaving,
        names_stopped,
        left,
        nudge,
        views,
    };
    let driver = driver::Driver::new(
        driver::Settings::new(config.network.clone(), identity.interface.clone()),
        book,
        ipam,
        Arc::new(datapath),
        Arc::new(announcer),
        Arc::new(orders),
        board,
    );
    let (say_stop, hear_stop) = tokio::sync::oneshot::channel::<()>();
    let mut server = tokio::spawn(driver::serve(socket, driver, async move {
        // A sender that is gone means the same.
        let _ = hear_stop.await;
    }));

    notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(socket = %config.daemon.socket.display(), "ipvland is ready");
    let ended = tokio::select! {
        signal = stop.wait() => {
            tracing::info!(signal, "ipvland ends; routes and links stay");
            Ok(())
        }
        part = parts.join_next() => Err(match part {
            Some(Ok(part)) => format!("{part} ended by itself; this is a bug, please report it with the log"),
            Some(Err(error)) => format!("a part of the daemon failed ({error}); this is a bug, please report it with the log"),
            None => "no part of the daemon runs".to_owned(),
        }),
        served = &mut server => return Err(match served {
            Ok(Ok(())) => "the server on the plugin socket ended by itself; this is a bug, please report it with the log".to_owned(),
            Ok(Err(error)) => format!("the plugin socket {} can't be served: {error}", config.daemon.socket.display()),
            Err(error) => format!("the server on the plugin socket failed ({error}); this is a bug, please report it with the log"),
        }),
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    // Gone where the server has ended by itself.
    let _ = say_stop.send(());
    let _ = tokio::time::timeout(Duration::from_millis(700), server).await;
    // What was learned last goes to the disk, lest the next start takes it for lost.
    let _ = end_fleet.send(());
    let _ = tokio::time::timeout(Duration::from_millis(700), parts.join_next()).await;
    ended
}

/// Withdraws this host's record and routes while no daemon runs; returns what was done, in a sentence.
///
/// # Errors
/// One sentence for the operator.
pub(crate) async fn leave(config: Config, registry: Registry, force: bool) -> Result<String, String> {
    let instance = Instance::take(&config.daemon.state_dir)?;
    let kernel = Netlink::connect().map_err(|error| error.to_string())?;
    let identity = Identity::load(&config.host, instance.dir(), &kernel).await?;
    let reach = host::reach(&config.host, identity.interface.as_deref(), &kernel).await?;
    let address = reach.map(|reach| reach.address);
    let store = open_store(&config, &registry, instance.dir(), &identity, address, Nudge::new()).await?;
    take_out(store.as_ref(), &identity, address, force).await?;
    instance.forget("published.json");
    instance.forget(LEASES);
    let routes = syncer::withdraw(&kernel).await.map_err(|error| error.to_string())?;
    Ok(left_words(&identity, routes))
}

/// Takes this host's record out of the store; returns the revision then.
async fn take_out(
    store: &dyn EndpointStore,
    identity: &Identity,
    address: Option<std::net::IpAddr>,
    force: bool,
) -> Result<Revision, String> {
    let retry = ipvland_store::transact::Retry { deadline: Some(LEAVE_PATIENCE), ..Default::default() };
    store
        .transact(retry, |snapshot| withdraw(snapshot, &identity.id, &identity.name, address, force))
        .await
        .map_err(|error| {
            format!("this host's record is still in the store, and its routes are kept: {error}")
        })
}

fn left_words(identity: &Identity, routes: usize) -> String {
    format!("{} has left: its record is not in the store, and {routes} routes were removed", identity.name)
}

async fn open_store(
    config: &Config,
    registry: &Registry,
    state_dir: &Path,
    identity: &Identity,
    address: Option<std::net::IpAddr>,
    nudge: Nudge,
) -> Result<Arc<dyn EndpointStore>, String> {
    let writer = Writer {
        name: identity.name.clone(),
        address: address.map_or_else(|| identity.name.clone(), |address| address.to_string()),
    };
    let context = OpenContext { state_dir: state_dir.join(&config.store.kind), writer, nudge };
    registry
        .open(&config.store.kind, config.store.table.clone(), context)
        .await
        .map_err(|error| error.to_string())
}

/// Opens the book of leases, wishes for what the config asks for by itself, and gives back what it asks for no more.
async fn open_leases(config: &Config, state_dir: &Path, networks: &Networks) -> Result<Leases, String> {
    let leases = Leases::open(state_dir.join(LEASES))?;
    let start = lease::standing::at_start(&config.network, &leases.held(), networks);
    for wish in start.wishes {
        leases.wish(wish);
    }
    for prefix in start.idle {
        tracing::info!(%prefix, "the config has no use for a leased prefix any more: it is given back");
        leases.give_back(prefix).await?;
    }
    Ok(leases)
}

/// Removes the links that a crash left between our making them and Docker's taking them.
async fn sweep(datapath: &Datapath, networks: &Networks) {
    let known = networks.values().flat_map(|network| network.endpoints.keys().map(String::as_str));
    match datapath.sweep(known).await {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => tracing::info!(links = swept.join(", "), "removed links that a crash left behind"),
        Err(error) => tracing::warn!("links that a crash left behind are not removed: {error}"),
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// The signals that end the daemon, and the one that does nothing.
struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => {
                    tracing::info!("SIGHUP does nothing: the config is read at start only, so restart ipvland after a change");
                }
            }
        }
    }
}
