//! One empty repository for each stage, and what an operator or an outage does to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore, Nudge, OpenContext, Writer,
    conformance::{Ability, Fixture, NotStageable, Proxy, Stage, Staged, Traffic},
};
use ipvland_store_git::GitStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use servers::git::{
    HttpServer, Repositories, SshServer,
    http::{ENCODED, PASSWORD},
    repository::Bare,
};

/// How the repository is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Over {
    Path,
    Http,
    /// As `Http`, from far away: each chunk takes some milliseconds.
    FarHttp,
    Ssh,
}

/// How long a chunk takes from far away, give or take a half.
const FAR: Duration = Duration::from_millis(20);

/// A server that all stages of a case share, each with a repository of its own.
#[derive(Debug)]
pub(crate) struct Shared {
    over: Over,
    server: OnceLock<Arc<Server>>,
    stages: AtomicUsize,
}

impl Over {
    pub(crate) fn fixture(self) -> Shared {
        Shared { over: self, server: OnceLock::new(), stages: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Fixture for Shared {
    async fn fresh(&self) -> Box<dyn Stage> {
        let server = self.server.get_or_init(|| {
            Arc::new(match self.over {
                Over::Path => Server::Path(Repositories::default()),
                Over::Http | Over::FarHttp => Server::Http(HttpServer::start()),
                Over::Ssh => Server::Ssh(SshServer::start()),
            })
        });
        let name = format!("overlay-{}.git", self.stages.fetch_add(1, Ordering::Relaxed));
        let bare = server.repositories().create(&name, "main");
        Box::new(Repository {
            server: server.clone(),
            name,
            bare,
            delay: matches!(self.over, Over::FarHttp).then_some(FAR),
            proxies: Mutex::default(),
            hosts: AtomicUsize::new(0),
            states: Mutex::default(),
        })
    }

    fn seeds(&self) -> u64 {
        // A connection over ssh that goes silent costs several time-outs, one after the other.
        if matches!(self.over, Over::Ssh) { 2 } else { 6 }
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        match self.over {
            Over::Path => &[
                (Ability::GoAway, "a directory that isn't there is a mistake in the settings, and no outage"),
                (Ability::Secrets, "nobody logs in to a directory"),
            ],
            Over::Http | Over::FarHttp => &[],
            Over::Ssh => &[(Ability::Secrets, "a key is read by ssh and never by the store")],
        }
    }
}

#[derive(Debug)]
enum Server {
    Path(Repositories),
    Http(HttpServer),
    Ssh(SshServer),
}

impl Server {
    fn repositories(&self) -> &Repositories {
        match self {
            Self::Path(repositories) => repositories,
            Self::Http(server) => &server.repositories,
            Self::Ssh(server) => &server.repositories,
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Path(_) => None,
            Self::Http(server) => Some(server.address()),
            Self::Ssh(server) => Some(server.address()),
        }
    }

    /// Returns the settings of a host that reaches the server on a port.
    fn table(&self, name: &str, port: u16) -> Value {
        let through = |url: String, server: SocketAddr| {
            url.replace(&server.to_string(), &SocketAddr::new(server.ip(), port).to_string())
        };
        match self {
            Self::Path(repositories) => json!({ "repo": repositories.folder().join(name) }),
            Self::Http(server) => json!({ "repo": through(server.full_url(name), server.address()) }),
            Self::Ssh(server) => json!({
                "repo": through(server.url(name), server.address()),
                "ssh_key": server.key("key"),
                "known_hosts": server.known_hosts_at("host_key", port),
            }),
        }
    }

    fn set_away(&self, away: bool) -> Staged {
        match self {
            Self::Path(_) => return Err(NotStageable),
            Self::Http(server) => server.set_away(away),
            Self::Ssh(server) => server.set_away(away),
        }
        Ok(())
    }
}

struct Repository {
    server: Arc<Server>,
    name: String,
    bare: Bare,
    /// How long each chunk takes on its way.
    delay: Option<Duration>,
    proxies: Mutex<Vec<Proxy>>,
    hosts: AtomicUsize,
    states: Mutex<Vec<TempDir>>,
}

impl Repository {
    fn open_on(&self, port: u16) -> Arc<dyn EndpointStore> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let state = tempfile::tempdir().unwrap();
        let context = OpenContext {
            state_dir: state.path().join("store"),
            writer: Writer { name: format!("web-{number}"), address: format!("10.1.1.{number}") },
            nudge: Nudge::new(),
        };
        self.states.lock().unwrap().push(state);
        let mut table = self.server.table(&self.name, port);
        table["interval"] = "50ms".into();
        // libgit2 has one time-out for the whole process, so it's the same for every handle here.
        table["timeout"] = "3s".into();
        Arc::new(GitStore::open(&serde_json::from_value(table).unwrap(), context).unwrap())
    }
}

#[async_trait]
impl Stage for Repository {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        let Some(server) = self.server.address() else { return self.open_on(0) };
        let Some(delay) = self.delay else { return self.open_on(server.port()) };
        let proxy = Proxy::start(server).await.unwrap();
        proxy.set(Traffic::Delay(delay));
        let port = proxy.address().port();
        self.proxies.lock().unwrap().push(proxy);
        self.open_on(port)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        // From far away the way is taken.
        if self.delay.is_some() {
            return Vec::new();
        }
        self.server.address().into_iter().collect()
    }

    async fn open_at(&self, servers: &[SocketAddr]) -> Arc<dyn EndpointStore> {
        self.open_on(servers[0].port())
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        self.bare.plant("main", name, bytes);
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        let bare = self.bare.clone();
        let rewriting = tokio::task::spawn_blocking(move || while !bare.forget_history("main") {});
        rewriting.await.unwrap();
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        self.server.set_away(true)
    }

    async fn come_back(&self) -> Staged {
        self.server.set_away(false)
    }

    fn secrets(&self) -> Vec<String> {
        match *self.server {
            Server::Http(_) => vec![PASSWORD.to_owned(), ENCODED.to_owned(), "hunter2".to_owned()],
            Server::Path(_) | Server::Ssh(_) => Vec::new(),
        }
    }
}
