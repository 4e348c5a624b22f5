//! The kernel of this machine: this module and those below it are the only ones that say `use rtnetlink`.
//!
//! Links, addresses and neighbours are few, and go over rtnetlink one by one (`connection`). Routes are many, and go over
//! sockets of our own (`super::routes`), as do events.

use std::{fmt, path::Path, sync::Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipnet::IpNet;

use super::{
    Address, Kernel, KernelError, KernelEvent, Link, LinkIndex, Neighbour, NeighbourOp, NewLink, Result,
    Route, RouteOp, errno, failure::Failure, routes::Table,
};

mod connection;
mod device;
mod events;
mod inside;
mod link;

use connection::Connection;

/// The kernel of the network namespace that the process runs in.
///
/// Must be used within a tokio runtime.
pub struct Netlink {
    connection: Mutex<Option<Connection>>,
    /// Held while a dump runs: the kernel answers a second one on the same socket with EBUSY.
    dumping: tokio::sync::Mutex<()>,
    table: Table,
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netlink").finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens netlink sockets.
    ///
    /// # Errors
    /// When the process may not, or the kernel is older than 4.20.
    pub fn connect() -> Result<Self> {
        let explain = |failure: Failure| failure.explain("open a netlink socket".into());
        let table = Table::connect().map_err(Failure::Open).map_err(explain)?;
        let netlink = Self { connection: Mutex::new(None), dumping: tokio::sync::Mutex::new(()), table };
        netlink.connection().map_err(explain)?;
        Ok(netlink)
    }
}

#[async_trait]
impl Kernel for Netlink {
    async fn links(&self) -> Result<Vec<Link>> {
        self.list_links().await
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        self.list_addresses().await
    }

    async fn routes(&self) -> Result<Vec<Route>> {
        self.table.list().await.map_err(|failure| failure.explain("list the routes".into()))
    }

    async fn add_link(&self, name: &str, alias: &str, link: NewLink) -> Result<LinkIndex> {
        self.make_link(name, alias, link).await
    }

    async fn delete_link(&self, index: LinkIndex) -> Result<()> {
        self.remove_link(index).await
    }

    async fn raise(&self, index: LinkIndex) -> Result<()> {
        self.raise_link(index).await
    }

    async fn add_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        self.put_address(link, net).await
    }

    async fn delete_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        self.take_address(link, net).await
    }

    async fn neighbours(&self, link: LinkIndex) -> Result<Vec<Neighbour>> {
        self.list_neighbours(link).await
    }

    async fn change_neighbours(&self, ops: &[NeighbourOp]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.change_neighbour(op).await);
        }
        results
    }

    async fn setting(&self, path: &str) -> Option<i64> {
        device::setting(path)
    }

    async fn set_setting(&self, path: &str, value: i64) -> Result<()> {
        device::set_setting(path, value)
    }

    async fn delete_link_inside(&self, namespace: &Path, alias: &str) -> Result<bool> {
        self.delete_inside(namespace, alias).await.map_err(|failure| {
            failure.explain(format!("remove the link with the alias {alias} inside {}", namespace.display()))
        })
    }

    async fn change_routes(&self, ops: &[RouteOp]) -> Vec<Result<()>> {
        let results = self.table.change(ops).await;
        let links = match results.iter().any(std::result::Result::is_err) {
            true => self.links().await.unwrap_or_default(),
            false => Vec::new(),
        };
        let explained = ops.iter().zip(results).map(|(op, result)| {
            result.map_err(|failure| {
                let link = name_of(&links, op.route().link);
                let action = op.describe(&link);
                let (number, words) = match &failure {
                    Failure::Errno(number) => (*number, None),
                    Failure::Told(number, words) => (*number, Some(words.as_str())),
                    _ => return failure.explain(action),
                };
                let meaning = errno::route_meaning(number, words, op, &link);
                KernelError { action, errno: Some(number), meaning }
            })
        });
        explained.collect()
    }

    fn events(&self) -> BoxStream<'static, KernelEvent> {
        events::stream(self.table.own_port())
    }
}

fn name_of(links: &[Link], index: Option<LinkIndex>) -> String {
    let name = links.iter().find(|link| Some(link.index) == index).map(|link| link.name.clone());
    match (name, index) {
        (Some(name), _) => name,
        (None, Some(index)) => format!("interface {index}"),
        (None, None) => "no interface".to_owned(),
    }
}
