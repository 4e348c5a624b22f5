//! A host with the real driver on a real socket; links, fleet and daemon are kept in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use ipvland::{
    config::NetworkConfig,
    driver::{self, Announce, Announcement, Control, Driver, Links, Refusal, Settings},
    fleet::View,
    ipam::{self, Ipam},
    kernel::{Link, LinkKind},
    lease::{Kind, Lease, Leases, Wish, free, standing},
    network::{Book, Network, Networks},
    parent::Parent,
    policy::Local,
    status::Board,
};
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// The links of a host, in memory; `eth2` and `eth3` are there, VLANs on them and dummies are made.
#[derive(Debug, Default)]
pub(crate) struct MemoryLinks {
    pub(crate) links: Mutex<BTreeMap<String, String>>,
    pub(crate) made: Mutex<BTreeSet<String>>,
    /// The links that Docker left in a container, by their endpoints.
    pub(crate) inside: Mutex<BTreeMap<String, PathBuf>>,
    pub(crate) hangs: AtomicBool,
}

impl MemoryLinks {
    async fn pass(&self) {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Links for MemoryLinks {
    async fn find_parent(&self, parent: &str) -> Result<String, Refusal> {
        let links = ["eth2", "eth3"].map(|name| Link {
            index: 0,
            name: name.to_owned(),
            kind: LinkKind::Other(String::new()),
            parent: None,
            alias: String::new(),
            mtu: 1500,
            up: true,
            loopback: false,
            mac: None,
        });
        let parent: Parent = parent.parse().map_err(Refusal)?;
        parent.on(&links, &[]).map_err(Refusal)
    }

    async fn prepare_parent(&self, network: &Network, _: &Networks) -> Result<bool, Refusal> {
        let parent = network.parent.as_str();
        self.pass().await;
        if parent == "eth2" || parent == "eth3" {
            return Ok(false);
        }
        if !parent.contains('.') && !parent.starts_with("di-") {
            return Err(Refusal(format!("parent {parent} does not exist")));
        }
        self.made.lock().unwrap().insert(parent.to_owned());
        Ok(true)
    }

    async fn release_parent(&self, parent: &str) -> Result<(), Refusal> {
        self.made.lock().unwrap().remove(parent);
        Ok(())
    }

    async fn add(&self, endpoint: &str, network: &Network) -> Result<String, Refusal> {
        self.pass().await;
        let name = format!("ipvl{}", &endpoint[..11]);
        let shown = format!("{name} on {} {:?}", network.parent, network.mode).to_lowercase();
        self.links.lock().unwrap().insert(endpoint.to_owned(), shown);
        Ok(name)
    }

    async fn remove(&self, endpoint: &str) -> Result<(), Refusal> {
        self.pass().await;
        self.links.lock().unwrap().remove(endpoint);
        Ok(())
    }

    async fn remove_inside(&self, endpoint: &str, namespace: &Path) -> Result<(), Refusal> {
        self.pass().await;
        let mut inside = self.inside.lock().unwrap();
        if inside.get(endpoint).is_some_and(|left| left == namespace) {
            inside.remove(endpoint);
        }
        Ok(())
    }
}

/// What the fleet says of a new prefix.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) taken: Option<IpNet>,
    pub(crate) answer: Mutex<Announcement>,
}

#[async_trait]
impl Announce for Fleet {
    async fn check(&self, prefixes: &[IpNet]) -> Result<(), String> {
        match prefixes.iter().find(|prefix| Some(**prefix) == self.taken) {
            Some(prefix) => Err(format!("{prefix} is web-2's")),
            None => Ok(()),
        }
    }

    async fn announce(&self, _: Duration) -> Announcement {
        self.answer.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct Daemon;

#[async_trait]
impl Control for Daemon {
    async fn leave(&self, force: bool) -> Result<String, String> {
        if force { Ok("this host has left".to_owned()) } else { Err("2 networks need the record".to_owned()) }
    }

    async fn sync(&self) -> Result<String, String> {
        Ok("looked at the store".to_owned())
    }
}

/// Grants every wish as a store does where web-2 leases the second block of 10.9.0.0/24, and 10.2.0.0/24.
async fn grant(leases: Leases) {
    let others: Vec<IpNet> = vec!["10.9.0.16/28".parse().unwrap(), "10.2.0.0/24".parse().unwrap()];
    let mut wishes = leases.wishes();
    loop {
        let held = leases.held();
        let taken: Vec<IpNet> = held.keys().copied().chain(others.clone()).collect();
        let grant = |wish: &Wish| -> Result<Lease, String> {
            let none = || "nothing is free".to_owned();
            let theirs =
                || "10.9.0.20 is in 10.9.0.16/28, which web-2 (10.1.1.51) has: give another --ip".to_owned();
            Ok(match wish {
                Wish::Prefix { pools, length, .. } => {
                    let net = pools.iter().find_map(|pool| free::first_free(*pool, *length, &taken));
                    Lease { net: net.ok_or_else(none)?, kind: Kind::Prefix }
                }
                Wish::Block { subnet, length, holds, .. } => {
                    let net = match holds {
                        Some(address) => {
                            free::around(*address, *subnet, *length, &taken).ok_or_else(theirs)?
                        }
                        None => free::first_free(*subnet, *length, &taken).ok_or_else(none)?,
                    };
                    Lease { net, kind: Kind::Block }
                }
            })
        };
        let open = wishes.borrow_and_update().clone();
        if let Some((ticket, wish)) = open.first_key_value() {
            leases.answer(BTreeMap::from([(*ticket, grant(wish))])).await.unwrap();
            continue;
        }
        if wishes.changed().await.is_err() {
            return;
        }
    }
}

/// A host with a running driver.
pub(crate) struct Host {
    state: tempfile::TempDir,
    pub(crate) links: Arc<MemoryLinks>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) settings: Settings,
    pub(crate) times: ipam::Times,
    /// What the store shows, and what this host's interfaces are.
    views: watch::Sender<Arc<View>>,
    local: watch::Sender<Local>,
    running: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
    tasks: Vec<JoinHandle<()>>,
}

/// An answer of the driver.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns the sentence of a refusal; empty where there is none.
    pub(crate) fn refusal(&self) -> String {
        assert_eq!(self.code, 200, "{}", self.text);
        self.json()["Err"].as_str().unwrap_or_default().to_owned()
    }
}

impl Host {
    /// Starts a host whose networks are L2 on `eth2` unless they say otherwise.
    pub(crate) async fn start() -> Self {
        let fleet = Fleet {
            taken: Some("10.66.0.0/24".parse().unwrap()),
            answer: Mutex::new(Announcement::Published),
        };
        let defaults = NetworkConfig::default();
        let mut host = Self {
            state: tempfile::tempdir().unwrap(),
            links: Arc::default(),
            fleet: Arc::new(fleet),
            settings: Settings::new(defaults, Some("eth2".to_owned())),
            times: ipam::Times::default(),
            views: watch::Sender::default(),
            local: watch::Sender::default(),
            running: None,
            tasks: Vec::new(),
        };
        host.run();
        host
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state.path().join("plugins/ipvland.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// Starts the daemon over what state there is.
    pub(crate) fn run(&mut self) {
        let book = Book::open(self.state()).unwrap();
        let leases = Leases::open(self.state().join("leases.json")).unwrap();
        let start = standing::at_start(&self.settings.defaults, &leases.held(), &book.networks());
        start.wishes.into_iter().for_each(|wish| leases.wish(wish));
        let parts = ipam::Parts {
            config: self.settings.defaults.clone(),
            times: self.times,
            leases: leases.clone(),
            book: book.clone(),
            views: self.views.subscribe(),
            local: self.local.subscribe(),
            board: Board::default(),
        };
        let ipam = Ipam::open(self.state().join(ipam::LEDGER), parts).unwrap();
        self.tasks = vec![tokio::spawn(ipam.clone().run()), tokio::spawn(grant(leases))];
        let driver = Driver::new(
            self.settings.clone(),
            book,
            ipam,
            self.links.clone(),
            self.fleet.clone(),
            Arc::new(Daemon),
            Board::default(),
        );
        let socket = driver::socket::bind(&self.socket()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        self.running = Some((stop, tokio::spawn(driver::serve(socket, driver, shutdown))));
    }

    /// Stops the daemon, as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(1), task)
            .await
            .expect("a second is enough")
            .unwrap()
            .unwrap();
        assert!(!self.socket().exists());
        self.tasks.drain(..).for_each(|task| task.abort());
    }

    /// Stops the daemon and starts it over the same state.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run();
    }

    /// Calls a method as Docker does: no Content-Type, and an empty body where there are no arguments.
    pub(crate) async fn call(&self, method: &str, body: impl ToString) -> Answer {
        let body = body.to_string();
        let accept = "application/vnd.docker.plugins.v1.2+json";
        self.send(format!(
            "POST /{method} HTTP/1.1\r\nHost: plugins\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
             Accept: {accept}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// Sends bytes as they are, and reads the answer to the end.
    pub(crate) async fn send(&self, request: String) -> Answer {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let exchange = move || {
            // A server that refuses a body may close before all of it is sent.
            let _ = stream.write_all(request.as_bytes());
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            bytes
        };
        let bytes = tokio::task::spawn_blocking(exchange).await.unwrap();
        let answer = String::from_utf8(bytes).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { code, head: head.to_lowercase(), text: text.to_owned() }
    }

    /// Returns the links, VLANs and dummies that are there, a line each.
    pub(crate) fn shown_links(&self) -> Vec<String> {
        let links = self.links.links.lock().unwrap();
        let made = self.links.made.lock().unwrap();
        let made =
            made.iter().map(|name| format!("{} {name}", if name.contains('.') { "vlan" } else { "dummy" }));
        links.values().map(|link| format!("link {link}")).chain(made).collect()
    }
}
