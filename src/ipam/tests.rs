//! Several hosts in one process: each has its own disk, and they share one book of leases, as the store is.

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

/// What the store holds: which host leases what, and how often it was written.
#[derive(Debug, Clone, Default)]
struct Store(Arc<Mutex<(Vec<(String, IpNet)>, usize)>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, (Vec<(String, IpNet)>, usize)> {
        self.0.lock().unwrap()
    }

    fn writes(&self) -> usize {
        self.lock().1
    }

    /// Leases as the publisher does.
    fn grant(&self, host: &str, wish: &Wish) -> Answer {
        let mut store = self.lock();
        let taken: Vec<IpNet> = store.0.iter().map(|(_, net)| *net).collect();
        let lease = match wish {
            Wish::Prefix { pools, length, .. } => {
                let net = pools.iter().find_map(|pool| first_free(*pool, *length, &taken));
                Lease { net: net.ok_or("no prefix is free")?, kind: Kind::Prefix }
            }
            Wish::Block { subnet, length, holds: Some(address), .. } => {
                let owner = store.0.iter().find(|(_, net)| net.contains(address));
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
        store.0.push((host.to_owned(), lease.net));
        store.1 += 1;
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
                    store.lock().0.retain(|(host, net)| host != name || mine.contains_key(net));
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

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_a_subnet_give_each_address_once_and_write_once_a_block() {
    let store = Store::default();
    let hosts = ["h1", "h2", "h3"].map(|name| Arc::new(Host::new(name, &store, NetworkConfig::default())));
    let mut asks = Vec::new();
    for host in &hosts {
        let pool = host.network("blue", named(NET), Mode::L2).await;
        for _ in 0..70 {
            let (host, pool) = (Arc::clone(host), pool.clone());
            asks.push(tokio::spawn(async move { host.any(&pool).await.unwrap().addr() }));
        }
    }
    let mut seen = BTreeSet::new();
    for ask in asks {
        assert!(seen.insert(ask.await.unwrap()), "an address was given twice");
    }
    assert_eq!(seen.len(), 210);
    assert!([ip("10.9.0.0"), ip("10.9.0.1"), ip("10.9.0.255")].iter().all(|never| !seen.contains(never)));
    assert!((14..=15).contains(&store.writes()), "{}", store.writes());
    let refused = loop {
        if let Err(refused) = hosts[0].any("ipvland/10.9.0.0/24").await {
            break refused;
        }
    };
    assert_eq!(
        refused,
        "all addresses of 10.9.0.0/24 that this host may give are given, and no block is free"
    );
}

#[tokio::test]
async fn an_address_asked_for_by_name_is_given_where_it_is_free() {
    let store = Store::default();
    let config = NetworkConfig { reserved: vec![net("10.9.0.200/29")], ..NetworkConfig::default() };
    let (one, two) = (Host::new("h1", &store, config.clone()), Host::new("h2", &store, config));
    let pool = one.network("blue", named(NET), Mode::L2).await;
    two.network("blue", named(NET), Mode::L2).await;
    let record = Record::parse(
        &Record::key(ip("10.9.0.77")),
        br#"{"version": 1, "host": "10.9.0.77", "name": "web-7", "next_hops": ["10.9.0.77"], "networks": [], "underlay": {"kind": "direct"}}"#,
    );
    let records = BTreeMap::from([(Record::key(ip("10.9.0.77")), record.map(Arc::new))]);
    one.views.send_replace(Arc::new(View { records: Arc::new(records), ..View::default() }));
    assert_eq!(one.any(&pool).await.unwrap(), net("10.9.0.2/24"));
    assert_eq!(one.exactly(&pool, "10.9.0.9").await.unwrap().addr(), ip("10.9.0.9"));
    assert_eq!(store.writes(), 1, "it was in the block");
    assert_eq!(one.exactly(&pool, "10.9.0.70").await.unwrap(), net("10.9.0.70/24"));
    assert_eq!(one.held(), ["10.9.0.0/28", "10.9.0.64/28"]);
    for (address, why) in [
        ("10.9.0.9", "address 10.9.0.9 is pending: "),
        ("10.9.0.0", "address 10.9.0.0 names 10.9.0.0/24 itself: "),
        ("10.9.0.1", "address 10.9.0.1 is the gateway of 10.9.0.0/24: "),
        ("10.9.0.77", "address 10.9.0.77 is an address of host web-7 (10.9.0.77): "),
        ("10.9.0.201", "address 10.9.0.201 is kept free by network.reserved (10.9.0.200/29): "),
        ("10.8.0.1", "address 10.8.0.1 is not in 10.9.0.0/24: "),
    ] {
        let refused = one.exactly(&pool, address).await.unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
    let refused = two.exactly(&pool, "10.9.0.66").await.unwrap_err();
    assert_eq!(refused, "10.9.0.66 is in 10.9.0.64/28, which h1 has: give another --ip");
    one.endpoint("blue", "e1", net("10.9.0.9/24"), None).await;
    let refused = one.exactly(&pool, "10.9.0.9").await.unwrap_err();
    assert_eq!(refused, "address 10.9.0.9 is taken by endpoint e1 of network blue: give another");
    let refused = one.ipam.admit(&one.book.networks()["blue"], &[net("10.9.0.100/24")]).await.unwrap_err();
    assert!(refused.starts_with("address 10.9.0.100 is none that this host may give"), "{refused}");
}

#[tokio::test]
async fn what_the_user_keeps_and_the_range_are_heeded() {
    let store = Store::default();
    let host = Host::new("h1", &store, NetworkConfig { block_length: 30, ..NetworkConfig::default() });
    let asked = Asked { range: Some(net("10.9.0.128/29")), ..named(NET) };
    let pool = host.ipam.request_pool(asked.clone()).await.unwrap();
    assert_eq!(pool.id(), "ipvland/10.9.0.0/24/10.9.0.128/29");
    let gateway = host.ipam.request_gateway(&pool.id(), Some(ip("10.9.0.254"))).await.unwrap();
    assert_eq!(gateway, net("10.9.0.254/24"));
    assert_eq!(host.exactly(&pool.id(), "10.9.0.128").await.unwrap(), net("10.9.0.128/24"), "--aux-address");
    assert_eq!(host.exactly(&pool.id(), "10.9.0.130").await.unwrap(), net("10.9.0.130/24"), "--aux-address");
    assert!(host.held().is_empty(), "nothing is leased for what all hosts keep");
    for (address, why) in [
        ("10.9.0.254", "is the gateway"),
        ("10.9.0.255", "names 10.9.0.0/24 itself"),
        ("10.8.0.1", "is not in"),
    ] {
        assert!(host.exactly(&pool.id(), address).await.unwrap_err().contains(why));
    }
    host.enter("blue", &pool, Mode::L2, Some(ip("10.9.0.254"))).await;
    let mut seen = Vec::new();
    while let Ok(address) = host.any(&pool.id()).await {
        seen.push(address.addr().to_string());
    }
    assert_eq!(seen, ["10.9.0.129", "10.9.0.131", "10.9.0.132", "10.9.0.133", "10.9.0.134", "10.9.0.135"]);
    assert!(host.exactly(&pool.id(), "10.9.0.130").await.unwrap_err().contains("is an auxiliary address"));
    assert!(host.exactly(&pool.id(), "10.9.0.5").await.is_ok(), "outside of the range by name");
}

#[tokio::test]
async fn an_address_that_came_back_rests_while_there_are_others() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L3).await;
    let first = host.any(&pool).await.unwrap();
    host.ipam.release_address(&pool, first.addr()).await.unwrap();
    assert_ne!(host.any(&pool).await.unwrap(), first);
    assert!(host.held().is_empty(), "an l3 network's subnet is this host's own as a whole");
    let mut last = None;
    while let Ok(address) = host.any(&pool).await {
        last = Some(address);
    }
    assert_eq!(last, Some(first), "it is given when it is the last one");
    let refused = host.any(&pool).await.unwrap_err();
    assert_eq!(refused, "all addresses of 10.9.0.0/24 are given: remove containers, or make another network");
}

#[tokio::test]
async fn a_kill_leaks_nothing_and_gives_nothing_twice() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let (kept, promised, back) =
        (host.any(&pool).await.unwrap(), host.any(&pool).await.unwrap(), host.any(&pool).await.unwrap());
    host.endpoint("blue", "e1", kept, Some("/var/run/docker/netns/e1")).await;
    host.ipam.release_address(&pool, back.addr()).await.unwrap();
    assert_eq!(host.given(), [kept.addr(), promised.addr()].into());
    host.any(&pool).await.unwrap();
    host.restart();
    assert!(host.given().contains(&back.addr()), "its release may come again");
    // Docker asks again for what it asked for by name, since the answer was lost; a second one is another container.
    let again = host.exactly(&pool, &promised.addr().to_string()).await.unwrap();
    assert_eq!(again, promised);
    assert!(host.exactly(&pool, &promised.addr().to_string()).await.unwrap_err().contains("is pending"));
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        assert!(seen.insert(host.any(&pool).await.unwrap().addr()));
    }
    assert!([kept, promised, back].iter().all(|address| !seen.contains(&address.addr())));
    host.until("only the endpoint has an address", |host| host.given() == [kept.addr()].into()).await;
    // Docker comes late with an address: it is still free, so it may have it.
    host.endpoint("blue", "e2", promised, None).await;
    host.restart();
    host.until("the endpoints have theirs", |host| host.given() == [kept.addr(), promised.addr()].into())
        .await;
    // A repeated release doesn't take the address of a container that is there.
    host.ipam.release_address(&pool, kept.addr()).await.unwrap();
    assert!(host.given().contains(&kept.addr()));
}

#[tokio::test]
async fn a_repeated_release_after_a_kill_hits_no_new_holder() {
    let config = NetworkConfig { block_length: 30, ..NetworkConfig::default() };
    let mut host = Host::new("h1", &Store::default(), config);
    let pool = host.network("blue", named("10.9.0.0/29"), Mode::L2).await;
    let address = host.any(&pool).await.unwrap().addr();
    host.ipam.release_address(&pool, address).await.unwrap();
    // The answer to the release is lost; another container asks, and there is little choice.
    host.restart();
    let mut others = BTreeSet::new();
    while let Ok(other) = host.any(&pool).await {
        others.insert(other.addr());
    }
    assert!(!others.contains(&address), "{others:?}");
    host.ipam.release_address(&pool, address).await.unwrap();
    assert_eq!(host.any(&pool).await.unwrap().addr(), address);
}

#[tokio::test]
async fn without_a_subnet_the_hosts_own_prefixes_are_chosen() {
    let config = NetworkConfig {
        subnet: vec![net("10.1.48.0/24"), net("2001:db8:48::/64")],
        pool: vec![net("10.2.0.0/16")],
        ..NetworkConfig::default()
    };
    let host = Host::new("h1", &Store::default(), config);
    let first = host.network("one", Asked::default(), Mode::L3).await;
    assert_eq!(first, "ipvland/10.1.48.0/24");
    assert!(host.ipam.is_chosen(net("10.1.48.0/24")));
    assert_eq!(host.any(&first).await.unwrap(), net("10.1.48.2/24"));
    let six = host.ipam.request_pool(Asked { v6: true, ..Asked::default() }).await.unwrap();
    assert_eq!(six.net, net("2001:db8:48::/64"));
    assert!(
        host.ipam
            .request_pool(Asked { v6: true, ..Asked::default() })
            .await
            .unwrap_err()
            .contains("no IPv6 prefix")
    );
    let second = host.network("two", Asked::default(), Mode::L3).await;
    assert_eq!(second, "ipvland/10.2.0.0/24");
    assert_eq!(host.held(), ["10.2.0.0/24"]);
    host.remove("two", &second).await;
    host.until("the further prefix goes back", |host| host.held().is_empty()).await;
    // A route of the host overlaps all of them: Docker holds what it got, and asks again.
    let mut held = Vec::new();
    let refused = loop {
        match host.ipam.request_pool(Asked::default()).await {
            Ok(pool) => held.push(pool.id()),
            Err(refused) => break refused,
        }
    };
    assert!(
        held.len() == 3 && refused.contains("routes of this host overlap them all"),
        "{held:?} {refused}"
    );
    for id in held {
        host.ipam.release_pool(&id).await.unwrap();
    }
    host.until("all go back", |host| host.held().is_empty()).await;
}

#[tokio::test]
async fn the_first_leased_prefix_is_kept_and_an_l2_network_can_not_have_it() {
    let config = NetworkConfig { pool: vec![net("10.2.0.0/16")], ..NetworkConfig::default() };
    let mut host = Host::hasty(config);
    let pool = host.ipam.request_pool(Asked::default()).await.unwrap();
    assert_eq!((pool.net, host.held()), (net("10.2.0.0/24"), vec!["10.2.0.0/24".to_owned()]));
    host.restart();
    let again = host.ipam.request_pool(Asked::default()).await.unwrap();
    assert_eq!(again, pool, "the answer was lost");
    host.enter("blue", &pool, Mode::L2, None).await;
    let refused = host.ipam.check_mode(&host.book.networks()["blue"]).unwrap_err();
    assert!(refused.starts_with("an l2 network needs --subnet "), "{refused}");
    host.remove("blue", &pool.id()).await;
    tokio::time::sleep(host.times.quarantine).await;
    assert_eq!(host.held(), ["10.2.0.0/24"]);
}

#[tokio::test]
async fn pools_overlap_nothing_and_go_by_themselves() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.ipam.request_pool(named(NET)).await.unwrap();
    host.ipam.request_gateway(&pool.id(), Some(ip("10.9.0.9"))).await.unwrap();
    host.restart();
    let again = host.ipam.request_pool(named("10.9.0.7/24")).await.unwrap();
    assert_eq!((again.id(), again.gateway), (pool.id(), Some(ip("10.9.0.9"))), "the answer was lost");
    let refused = host.ipam.request_pool(named("10.9.0.0/25")).await.unwrap_err();
    assert!(refused.contains("overlaps 10.9.0.0/24, which Docker asked for"), "{refused}");
    host.enter("blue", &pool, Mode::L2, None).await;
    for overlapping in [NET, "10.0.0.0/8"] {
        let refused = host.ipam.request_pool(named(overlapping)).await.unwrap_err();
        assert!(refused.contains("overlaps 10.9.0.0/24 of network blue on this host"), "{refused}");
    }
    let beside = host.ipam.request_pool(named("10.8.0.0/24")).await.unwrap();
    let address = host.any(&pool.id()).await.unwrap();
    host.until("the pool that no network uses goes", |host| {
        !host.ipam.0.state().pools.contains_key(&beside.id())
    })
    .await;
    assert!(host.ipam.0.state().pools.contains_key(&pool.id()));
    // Docker gives a pool back before it removes the network, and may fail to remove it.
    host.ipam.release_pool(&pool.id()).await.unwrap();
    host.endpoint("blue", "e1", address, None).await;
    assert!(host.any(&pool.id()).await.is_ok());
    host.book.remove_endpoint("blue", "e1").await.unwrap();
    host.remove("blue", &pool.id()).await;
    assert!(host.ipam.request_pool(named("10.9.0.0/25")).await.is_ok());
    host.until("the block goes back", |host| host.held().is_empty() && host.given().is_empty()).await;
    let range = Asked { range: Some(net("10.8.0.0/24")), ..named(NET) };
    assert!(host.ipam.request_pool(range).await.unwrap_err().contains("is not in the --subnet"));
}

#[tokio::test]
async fn a_ledger_that_was_moved_away_is_known_again() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let address = host.any(&pool).await.unwrap();
    host.endpoint("blue", "e1", address, None).await;
    std::fs::remove_file(host.dir.join(LEDGER)).unwrap();
    host.restart();
    tokio::time::sleep(host.times.quarantine * 2).await;
    assert_eq!(host.held(), ["10.9.0.0/28"], "a network has its subnet");
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        seen.insert(host.any(&pool).await.unwrap().addr());
    }
    assert_eq!((host.held().len(), seen.len()), (1, 12));
    assert!(!seen.contains(&address.addr()) && !seen.contains(&ip("10.9.0.1")), "{seen:?}");
    assert!(host.any("ipvland/10.7.0.0/24").await.unwrap_err().contains("is unknown to ipvland"));
}

#[tokio::test]
async fn endpoints_that_docker_forgot_make_way_when_addresses_run_out() {
    let host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named("10.9.0.0/29"), Mode::L3).await;
    let alive = host.dir.join("alive");
    std::fs::write(&alive, "").unwrap();
    let path = |name: &str| host.dir.join(name).to_str().unwrap().to_owned();
    let mut addresses = Vec::new();
    for (id, sandbox) in
        [("e1", Some(path("alive"))), ("e2", Some(path("gone"))), ("e3", Some(path("no/dir"))), ("e4", None)]
    {
        let address = host.any(&pool).await.unwrap();
        host.endpoint("blue", id, address, sandbox.as_deref()).await;
        addresses.push(address);
    }
    let last = host.any(&pool).await.unwrap();
    assert_eq!(host.any(&pool).await.unwrap(), addresses[1], "its network namespace is gone");
    assert!(host.any(&pool).await.is_err());
    tokio::time::sleep(host.times.apart).await;
    // What was pending is free by now, and what is in no container for long is not needed yet.
    assert_eq!(host.any(&pool).await.unwrap(), last);
    assert_eq!(host.any(&pool).await.unwrap(), addresses[1]);
    assert_eq!(host.exactly(&pool, &addresses[3].addr().to_string()).await.unwrap(), addresses[3]);
    assert_eq!(host.book.networks()["blue"].endpoints.keys().collect::<Vec<_>>(), ["e1", "e3"]);
    let network = host.book.networks()["blue"].clone();
    for (id, gone) in [("e1", false), ("e3", false)] {
        assert_eq!(host.ipam.check_gone(&network, id, &network.endpoints[id]).await.is_ok(), gone);
    }
}

#[tokio::test]
async fn a_block_that_another_host_has_by_right_is_given_no_more() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let before = host.any(&pool).await.unwrap().addr();
    let key = Record::key(ip("10.1.1.7"));
    let text =
        br#"{"version": 1, "host": "10.1.1.7", "name": "web-7", "next_hops": ["10.1.1.7"], "networks": [],
        "blocks": ["10.9.0.8/29"], "underlay": {"kind": "direct"}}"#;
    let records = BTreeMap::from([(key.clone(), Record::parse(&key, text).map(Arc::new))]);
    host.local.send_modify(|local| local.own = Some(Record::key(ip("10.1.1.48"))));
    host.views.send_replace(Arc::new(View { records: Arc::new(records), ..View::default() }));
    let after = host.any(&pool).await.unwrap().addr();
    assert!(net("10.9.0.0/28").contains(&before) && net("10.9.0.16/28").contains(&after), "{before} {after}");
    host.until("the status says so", |host| {
        host.board.read().problems.iter().any(|problem| {
            problem
                .starts_with("block 10.9.0.0/28 of this host overlaps 10.9.0.8/29 of host web-7 (10.1.1.7), ")
        })
    })
    .await;
}

#[tokio::test]
async fn the_status_says_how_full_each_is() {
    let config = NetworkConfig { subnet: vec![net("10.1.48.0/24")], ..NetworkConfig::default() };
    let host = Host::new("h1", &Store::default(), config);
    let pool = host.network("blue", named(NET), Mode::L2).await;
    host.network("red", named("2001:db8:9::/64"), Mode::L3).await;
    host.any(&pool).await.unwrap();
    let row = |host: &Host, text: &str| {
        host.board.read().addresses.iter().find(|row| row.net == net(text)).cloned()
    };
    host.until("the block is there", |host| row(host, "10.9.0.0/28").is_some_and(|row| row.used == 1)).await;
    let rows = host.board.read().addresses;
    let rows: Vec<_> =
        rows.iter().map(|row| (row.net.to_string(), row.kind.as_str(), row.used, row.size)).collect();
    let expected = [
        ("10.1.48.0/24".to_owned(), "subnet", 0, 256),
        ("10.9.0.0/28".to_owned(), "block", 1, 14),
        ("2001:db8:9::/64".to_owned(), "network", 0, u64::MAX - 1),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn an_address_that_the_disk_refuses_is_not_given() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L3).await;
    let turn = host.ipam.0.ledger.newest();
    host.ipam.0.ledger.settle(turn).await.unwrap();
    host.ipam.0.ledger.break_off();
    let refused = host.any(&pool).await.unwrap_err();
    assert!(refused.starts_with("cannot write ") && host.given().is_empty(), "{refused}");
}
