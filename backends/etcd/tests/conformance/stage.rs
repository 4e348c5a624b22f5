//! One empty cluster for each case, and what an operator or an outage does to it.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore,
    conformance::{Ability, Fixture, Stage, Staged},
};
use ipvland_store_etcd::EtcdStore;
use serde_json::{Value, json};
use servers::etcd::{Cluster, PASSWORD, Setup, USER};

/// What the cluster is like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Over {
    /// One member, without a password or TLS.
    One,
    /// Three members, with both.
    Three,
}

#[async_trait]
impl Fixture for Over {
    async fn fresh(&self) -> Box<dyn Stage> {
        Box::new(match self {
            Self::One => Etcd(Cluster::one()),
            Self::Three => {
                Etcd(Cluster::start(Setup { members: 3, login: true, tls: true, ..Setup::default() }))
            }
        })
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        match self {
            Self::One => &[(Ability::Secrets, "nobody logs in")],
            Self::Three => &[],
        }
    }
}

struct Etcd(Cluster);

impl Etcd {
    fn open(&self, endpoints: Vec<String>, timeout: &str) -> Arc<dyn EndpointStore> {
        let mut table = json!({ "endpoints": endpoints, "timeout": timeout });
        if self.is_secured() {
            table["username"] = USER.into();
            table["password"] = PASSWORD.into();
            table["server_name"] = "localhost".into();
            for (key, file) in
                [("ca_file", "ca.pem"), ("cert_file", "client.pem"), ("key_file", "client.key")]
            {
                table[key] = Value::from(self.0.file(file).to_str().unwrap());
            }
        }
        Arc::new(EtcdStore::open(&serde_json::from_value(table).unwrap()).unwrap())
    }

    /// Tells whether an outage leaves a member paused and not dead.
    fn is_paused(&self, member: usize) -> bool {
        member == 2
    }

    fn is_secured(&self) -> bool {
        self.0.len() > 1
    }
}

#[async_trait]
impl Stage for Etcd {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        self.open(self.0.urls(), "3s")
    }

    fn servers(&self) -> Vec<SocketAddr> {
        (0..self.0.len()).map(|member| self.0.address(member)).collect()
    }

    async fn open_at(&self, servers: &[SocketAddr]) -> Arc<dyn EndpointStore> {
        self.open(servers.iter().map(|server| self.0.url_at(*server)).collect(), "1s")
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        self.0.put(&[b"/ipvland/endpoints/", name].concat(), bytes);
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        self.0.compact();
        Ok(())
    }

    /// All are killed, but for the last of three: that one is paused, so that its connections stay and nothing answers.
    async fn go_away(&self) -> Staged {
        for member in 0..self.0.len() {
            if self.is_paused(member) { self.0.pause(member) } else { self.0.kill(member) }
        }
        Ok(())
    }

    async fn come_back(&self) -> Staged {
        for member in 0..self.0.len() {
            if self.is_paused(member) { self.0.resume(member) } else { self.0.launch(member) }
        }
        (0..self.0.len()).for_each(|member| self.0.wait_until_it_serves(member));
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        if self.is_secured() { vec![PASSWORD.to_owned(), "hunter2".to_owned()] } else { Vec::new() }
    }
}
