//! The store passes the suite that every store passes, over a server that crashes, and over one that hangs.

mod server;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore, Retry,
    conformance::{Fixture, Stage, Staged},
};
use redis::cmd;
use serde_json::json;
use server::{RedisServer, SECRET};

mod a_server_that_crashes {
    ipvland_store::conformance_tests!(super::Servers(super::Away::Crashed));
}

mod a_server_that_hangs {
    ipvland_store::conformance_tests!(super::Servers(super::Away::Hanging));
}

/// How a server goes away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Away {
    /// It is killed, and comes back with what it kept on disk.
    Crashed,
    /// It takes connections, and says nothing.
    Hanging,
}

/// Starts a server for each case.
struct Servers(Away);

#[async_trait]
impl Fixture for Servers {
    async fn fresh(&self) -> Box<dyn Stage> {
        Box::new(Server { server: RedisServer::start(), away: self.0 })
    }

    fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(200),
            deadline: Some(self.patience()),
        }
    }
}

struct Server {
    server: RedisServer,
    away: Away,
}

#[async_trait]
impl Stage for Server {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        Arc::new(self.server.open("web-1", json!({})))
    }

    fn servers(&self) -> Vec<SocketAddr> {
        vec![self.server.address]
    }

    async fn open_at(&self, servers: &[SocketAddr]) -> Arc<dyn EndpointStore> {
        Arc::new(self.server.open("web-1", json!({ "address": servers[0] })))
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        let _: u64 = self.server.ask(cmd("HSET").arg("ipvland:records").arg(name).arg(bytes));
        let _: String = self.server.ask(cmd("XADD").arg("ipvland:changes").arg("*").arg("key").arg(name));
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        let _: u64 = self.server.ask(cmd("XTRIM").arg("ipvland:changes").arg("MAXLEN").arg(1));
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        match self.away {
            Away::Crashed => self.server.kill(),
            Away::Hanging => self.server.pause(),
        }
        Ok(())
    }

    async fn come_back(&self) -> Staged {
        match self.away {
            Away::Crashed => self.server.come_back(),
            Away::Hanging => self.server.go_on(),
        }
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}
