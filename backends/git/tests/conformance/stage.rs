//! One empty repository for each case, and what an operator or an outage does to it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore, Nudge, OpenContext, Writer,
    conformance::{Ability, Fixture, NotStageable, Stage, Staged},
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
    Ssh,
}

#[async_trait]
impl Fixture for Over {
    async fn fresh(&self) -> Box<dyn Stage> {
        let server = match self {
            Self::Path => Server::Path(Repositories::default()),
            Self::Http => Server::Http(HttpServer::start()),
            Self::Ssh => Server::Ssh(SshServer::start()),
        };
        let bare = server.repositories().create(NAME, "main");
        Box::new(Repository { server, bare, hosts: AtomicUsize::new(0), states: Mutex::default() })
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        match self {
            Self::Path => &[
                (Ability::GoAway, "a directory that isn't there is a mistake in the settings, and no outage"),
                (Ability::Secrets, "nobody logs in to a directory"),
            ],
            Self::Http => &[],
            Self::Ssh => &[(Ability::Secrets, "a key is read by libssh2 and never by the store")],
        }
    }
}

const NAME: &str = "overlay.git";

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

    fn table(&self) -> Value {
        match self {
            Self::Path(repositories) => json!({ "repo": repositories.folder().join(NAME) }),
            Self::Http(server) => json!({ "repo": server.full_url(NAME) }),
            Self::Ssh(server) => json!({
                "repo": server.url(NAME),
                "ssh_key": server.key("key"),
                "known_hosts": server.known_hosts("host_key"),
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
    server: Server,
    bare: Bare,
    hosts: AtomicUsize,
    states: Mutex<Vec<TempDir>>,
}

#[async_trait]
impl Stage for Repository {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let state = tempfile::tempdir().unwrap();
        let context = OpenContext {
            state_dir: state.path().join("store"),
            writer: Writer { name: format!("web-{number}"), address: format!("10.1.1.{number}") },
            nudge: Nudge::new(),
        };
        self.states.lock().unwrap().push(state);
        let mut table = self.server.table();
        table["interval"] = "50ms".into();
        Arc::new(GitStore::open(&serde_json::from_value(table).unwrap(), context).unwrap())
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        self.bare.plant("main", name, bytes);
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        let tree = self.bare.git(&["rev-parse", "main^{tree}"]);
        self.bare.commit_tree("main", &tree, None);
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        self.server.set_away(true)
    }

    async fn come_back(&self) -> Staged {
        self.server.set_away(false)
    }

    fn secrets(&self) -> Vec<String> {
        match self.server {
            Server::Http(_) => vec![PASSWORD.to_owned(), ENCODED.to_owned(), "hunter2".to_owned()],
            Server::Path(_) | Server::Ssh(_) => Vec::new(),
        }
    }
}
