//! Several hosts in one process: each has its own disk, and they share one book of leases, as the store is.

mod pools;
mod restarts;
mod sharing;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::*;
use crate::{
    kernel::Flag,
    lease::{
        Answer, Lease, Wish,
        free::{around, first_free, is_left_of},
    },
    network::{Endpoint, Subnet},
    record::Record,
};

/// What the store holds.
#[derive(Debug, Clone, Default)]
struct Store(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    /// Which host leases what.
    leases: Vec<(String, IpNet)>,
    /// How often it was written.
    writes: usize,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap()
    }

    fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Leases as the publisher does.
    fn grant(&self, host: &str, wish: &Wish) -> Answer {
        let mut store = self.lock();
        let taken: Vec<IpNet> = store.leases.iter().map(|(_, net)| *net).collect();
        let lease = match wish {
            Wish::Prefix { pools, length, .. } => {
                let net = pools.iter().find_map(|pool| first_free(*pool, *length, &taken));
                Lease { net: net.ok_or("no prefix is free")?, kind: Kind::Prefix }
            }
            Wish::Block { subnet, length, holds: Some(address), .. } => {
                let owner = store.leases.iter().find(|(_, net)| net.contains(address));
                let owner = owner
                    .map(|(host, net)| format!("{address} is in {net}, which {host} has: give another --ip"));
                let net = around(*address, *subnet, *length, &taken).ok_or_else(|| owner.unwrap())?;
                Lease { net, kind: Kind::Block }
            }
            Wish::Block { subnet, length, holds: None, reserved } => {
                let mut taken = taken;
                let net = loop {
                    match first_free(*subnet, *length, &taken) {
                        Some(net) if is_left_of(net, reserved) => break net,
                        Some(net) => taken.push(net),
                        None => return Err("no block is free".to_owned()),
                    }
                };
                Lease { net, kind: Kind::Block }
            }
        };
        store.leases.push((host.to_owned(), lease.net));
        store.writes += 1;
        Ok(lease)
    }
}

/// A host with the real address management and the real books.
struct Host {
    name: &'static str,
    dir: PathBuf,
    store: Store,
    config: NetworkConfig,
    times: Times,
    views: watch::Sender<Arc<View>>,
    local: watch::Sender<Local>,
    board: Board,
    book: Book,
    leases: Leases,
    ipam: Ipam,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _temp: Arc<tempfile::TempDir>,
}

const NET: &str = "10.9.0.0/24";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn named(text: &str) -> Asked {
    Asked { net: Some(net(text)), ..Asked::default() }
}

impl Host {
    /// A host with the usual times.
    fn new(name: &'static str, store: &Store, config: NetworkConfig) -> Self {
        Self::start(name, store, config, Times::default())
    }

    /// A host on which nothing takes long.
    fn hasty(config: NetworkConfig) -> Self {
        let times = Times {
            quarantine: Duration::from_millis(1500),
            patience: Duration::from_secs(2),
            apart: Duration::from_millis(3000),
        };
        Self::start("h1", &Store::default(), config, times)
    }

    fn start(name: &'static str, store: &Store, config: NetworkConfig, times: Times) -> Self {
        let temp = Arc::new(tempfile::tempdir().unwrap());
        let board = Board::default();
        let (views, local) = (watch::Sender::default(), watch::Sender::default());
        let (book, leases, ipam, tasks) =
            Self::open(name, temp.path().to_owned(), store, &config, times, &views, &local, &board).unwrap();
        let (dir, store) = (temp.path().to_owned(), store.clone());
        Self { name, dir, store, config, times, views, local, board, book, leases, ipam, tasks, _temp: temp }
    }

    #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "what a daemon opens at its start")]
    fn open(
        name: &'static str,
        dir: PathBuf,
        store: &Store,
        config: &NetworkConfig,
        times: Times,
        views: &watch::Sender<Arc<View>>,
        local: &watch::Sender<Local>,
        board: &Board,
    ) -> Result<(Book, Leases, Ipam, Vec<tokio::task::JoinHandle<()>>), String> {
        let book = Book::open(dir.clone()).unwrap();
        let leases = Leases::open(dir.join("leases.json")).unwrap();
        let start = crate::lease::standing::at_start(config, &leases.held(), &book.networks());
        start.wishes.into_iter().for_each(|wish| leases.wish(wish));
        let parts = Parts {
            config: config.clone(),
            times,
            leases: leases.clone(),
            book: book.clone(),
            views: views.subscribe(),
            local: local.subscribe(),
            board: board.clone(),
        };
        let ipam = Ipam::open(dir.join(LEDGER), parts)?;
        let publisher = {
            let (leases, store) = (leases.clone(), store.clone());
            async move {
                let (mut wishes, mut held) = (leases.wishes(), leases.subscribe());
                loop {
                    // What is given back is free for the others.
                    let mine = leases.held();
                    store.lock().leases.retain(|(host, net)| host != name || mine.contains_key(net));
                    let open = wishes.borrow_and_update().clone();
                    let answers: BTreeMap<_, _> =
                        open.iter().map(|(ticket, wish)| (*ticket, store.grant(name, wish))).collect();
                    if !answers.is_empty() {
                        leases.answer(answers).await.unwrap();
                    }
                    tokio::select! {
                        changed = wishes.changed() => changed.unwrap(),
                        changed = held.changed() => changed.unwrap(),
                    }
                }
            }
        };
        let tasks = vec![tokio::spawn(publisher), tokio::spawn(ipam.clone().run())];
        Ok((book, leases, ipam, tasks))
    }

    /// Kills the daemon and starts it again over the same disk.
    fn restart(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        let (book, leases, ipam, tasks) = Self::open(
            self.name,
            self.dir.clone(),
            &self.store,
            &self.config,
            self.times,
            &self.views,
            &self.local,
            &self.board,
        )
        .unwrap();
        (self.book, self.leases, self.ipam, self.tasks) = (book, leases, ipam, tasks);
    }

    /// Makes a network as Docker does.
    async fn network(&self, id: &str, asked: Asked, mode: Mode) -> String {
        let pool = self.ipam.request_pool(asked).await.unwrap();
        let gateway = self.ipam.request_gateway(&pool.id(), None).await.unwrap().addr();
        self.enter(id, &pool, mode, Some(gateway)).await;
        pool.id()
    }

    async fn enter(&self, id: &str, pool: &Pool, mode: Mode, gateway: Option<IpAddr>) {
        let network = Network {
            id: id.to_owned(),
            name: id.to_owned(),
            parent: "eth2".to_owned(),
            made_parent: false,
            mode,
            flag: Flag::Bridge,
            mtu: None,
            internal: false,
            host_access: None,
            subnets: vec![Subnet { pool: pool.net, gateway: gateway.filter(|_| mode == Mode::L2) }],
            endpoints: BTreeMap::new(),
        };
        self.book.insert(network).await.unwrap();
    }

    async fn remove(&self, id: &str, pool: &str) {
        let network = self.book.networks()[id].clone();
        self.ipam.release_pool(pool).await.unwrap();
        self.book.remove(id).await.unwrap();
        self.ipam.network_gone(&network).await;
    }

    /// Makes an endpoint with an address that was given.
    async fn endpoint(&self, network: &str, id: &str, address: IpNet, sandbox: Option<&str>) {
        let sandbox = sandbox.map(str::to_owned);
        let endpoint = Endpoint { sandbox, ..Endpoint::new(vec![address], None) };
        self.ipam.admit(&self.book.networks()[network], &endpoint.addresses).await.unwrap();
        self.book.insert_endpoint(network, id, endpoint).await.unwrap();
        self.ipam.touch(&[address]);
    }

    async fn any(&self, pool: &str) -> Result<IpNet, String> {
        self.ipam.request_address(pool, None).await
    }

    async fn exactly(&self, pool: &str, address: &str) -> Result<IpNet, String> {
        self.ipam.request_address(pool, Some(ip(address))).await
    }

    fn given(&self) -> BTreeSet<IpAddr> {
        self.ipam.0.state().given.keys().copied().collect()
    }

    fn held(&self) -> Vec<String> {
        self.leases.held().keys().map(ToString::to_string).collect()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..500 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} never: {what}; given {:?}, held {:?}", self.name, self.given(), self.held());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}
