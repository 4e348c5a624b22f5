//! Keeps the kernel's routes equal to what the fleet's records say.
//!
//! A full pass does it all: it lists links, addresses and routes, judges the records, plans, and changes what differs. It
//! runs on every event of the kernel and on a timer, because the kernel drops routes without telling. What it wants follows
//! from what the store and the kernel show, and from nothing that was done before.
//!
//! When records alone changed, a quick pass judges those, and what overlaps them, and compares the few prefixes that this
//! touches with the table as the last pass left it. What is remembered for that saves work and decides nothing: where the
//! kernel told of any event since, refuses a change, or anything else is other than it was, a full pass follows at once.
//!
//! Only routes with our protocol number are ever touched. They stay when the daemon stops, and are adopted by the next.
//!
//! The routes by which this host reaches its own containers ([`host_access`]) are part of the same pass. They follow the
//! book of networks alone: they come and go whether the records are there, old, or of no concern because the host has left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use ipnet::IpNet;
use ipvland_store::Key;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    fleet::View,
    host_access,
    kernel::{Address, Kernel, KernelError, Link, LinkIndex, ROUTE_PROTOCOL, RouteOp},
    network::{Network, Networks},
    policy::Local,
    status::Board,
};

mod complaints;
mod found;
mod log;
mod pass;
mod table;

use complaints::Complaints;
use found::Shared;
use table::Table;

/// How long events are gathered before a pass.
const GATHER: Duration = Duration::from_millis(80);

/// How many events one pass answers at most: a bound, for the case that they come faster than they are taken.
const MOST_GATHERED: usize = 1024;

/// The shortest time between the beginnings of two full passes, however many events come.
const SPACING: Duration = Duration::from_millis(300);

/// The longest time between two full passes.
const FULL_PASS: Duration = Duration::from_secs(30);

/// How soon a pass follows one in which something failed; doubled each time, up to [`FULL_PASS`].
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// What keeps the routes of this host.
#[derive(Debug)]
pub struct Syncer {
    /// What this host knows of the fleet.
    pub view: watch::Receiver<Arc<View>>,
    /// Where the routes are.
    pub kernel: Arc<dyn Kernel>,
    /// The name of the parent interface, where there is one.
    pub parent: Option<String>,
    /// The key of this host's own record, where it has one.
    pub own: watch::Receiver<Option<Key>>,
    /// The networks of this host.
    pub networks: watch::Receiver<Networks>,
    /// The stable id of the machine.
    pub machine: String,
    /// Whether this host has left the fleet: then all our routes to others are taken out, and it stays so.
    pub leave: watch::Receiver<bool>,
    /// Where the sections `learned`, `refused`, `routes` and `host_access` are told.
    pub board: Board,
}

/// What passes remember of each other: nothing that decides which routes are wanted.
#[derive(Debug, Default)]
struct Memory {
    complaints: Complaints,
    /// The parent's subnets when it was last up: with the link, IPv6 takes its addresses away.
    underlay: Vec<IpNet>,
    /// What the last pass answered.
    answered: Arc<View>,
    /// What was judged last, which is behind where a pass had no need of it.
    judged: Option<Arc<View>>,
    /// The networks with host access as they were at the last pass, so that a change of others makes none.
    accessed: Vec<Network>,
    /// What a quick pass goes by; without it there is none.
    seen: Option<Seen>,
    found: Arc<Shared>,
}

/// The kernel as the last pass left it, if nothing has happened since.
#[derive(Debug)]
struct Seen {
    table: Table,
    parent: LinkIndex,
    links: Vec<Link>,
}

/// Why a pass is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Records changed.
    Records,
    /// Something of this host's own changed that is as urgent.
    Host,
    /// The kernel told something, or it is time to look.
    Kernel,
}

impl Syncer {
    /// Keeps the routes until the future is dropped; the routes stay then.
    pub async fn run(mut self) {
        // Before the first pass, so that nothing is missed between the two.
        let mut events = self.kernel.events();
        let mut memory = Memory::default();
        self.board.ask(Arc::clone(&memory.found) as _);
        let mut retry = FIRST_RETRY;
        let (mut begun, mut pause) = (Instant::now(), FULL_PASS);
        let mut cause = Cause::Host;
        loop {
            if cause != Cause::Records || !self.quick(&mut memory).await {
                begun = Instant::now();
                let clean = self.full(&mut memory).await;
                pause = if clean { FULL_PASS } else { retry };
                retry = if clean { FIRST_RETRY } else { (retry * 2).min(FULL_PASS) };
            }
            cause = tokio::select! {
                () = news(&mut self.view, &memory.answered) => Cause::Records,
                () = changed(&mut self.own) => Cause::Host,
                () = changed(&mut self.leave) => Cause::Host,
                () = accessed_changed(&mut self.networks, &memory.accessed) => Cause::Host,
                Some(_) = events.next() => Cause::Kernel,
                () = sleep_until(begun + pause) => Cause::Kernel,
            };
            // News of the fleet are rare and complete; the kernel's come in storms. Neither they nor a container that
            // starts wait for those.
            if cause == Cause::Kernel {
                let settled = async {
                    sleep(GATHER).await;
                    sleep_until(begun + SPACING).await;
                };
                tokio::select! {
                    () = settled => {}
                    () = news(&mut self.view, &memory.answered) => {}
                    () = accessed_changed(&mut self.networks, &memory.accessed) => {}
                }
            }
            // What came meanwhile is answered by the pass that follows.
            for _ in 0..MOST_GATHERED {
                if events.next().now_or_never().is_none() {
                    break;
                }
                cause = Cause::Kernel;
            }
        }
    }
}

/// Returns the networks that host access has to know of: those that have it, and those that share a parent with one.
fn accessed(networks: &Networks) -> Vec<Network> {
    let parents: BTreeSet<&str> = networks
        .values()
        .filter(|network| network.host_access.is_some())
        .map(|n| n.parent.as_str())
        .collect();
    networks.values().filter(|network| parents.contains(network.parent.as_str())).cloned().collect()
}

/// Waits until the networks that host access has to know of are others than `before`.
async fn accessed_changed(networks: &mut watch::Receiver<Networks>, before: &[Network]) {
    loop {
        let now = Arc::clone(&networks.borrow_and_update());
        if accessed(&now) != before {
            return;
        }
        changed(networks).await;
    }
}

/// Waits for news; for ever, if the sender is gone.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for a view that may ask for other routes than `judged` did: one whose revision alone differs doesn't.
async fn news(views: &mut watch::Receiver<Arc<View>>, judged: &View) {
    loop {
        changed(views).await;
        if !views.borrow_and_update().routes_as(judged) {
            return;
        }
    }
}

fn link_name(links: &[Link], index: Option<LinkIndex>) -> String {
    let name = links.iter().find(|link| Some(link.index) == index).map(|link| link.name.clone());
    name.or_else(|| index.map(|index| format!("interface {index}"))).unwrap_or_default()
}

/// Returns what the judgement of records has to know of this host, from the kernel's links and addresses.
///
/// The underlay are the subnets of the parent's global addresses; elsewhere are those of all other interfaces, bridges of
/// Docker included, but loopback, links that we made, and link-local subnets.
pub fn local(links: &[Link], addresses: &[Address], parent: Option<&str>, own: Option<Key>) -> Local {
    let mut local = Local { own, parent: parent.unwrap_or_default().to_owned(), ..Local::default() };
    for address in addresses {
        let Some(link) = links.iter().find(|link| link.index == address.link) else {
            continue;
        };
        if Some(link.name.as_str()) == parent {
            if address.global {
                local.underlay.push(address.net);
            }
        } else if !link.loopback && !link.is_ours() && !is_link_local(address.net) {
            local.elsewhere.push((link.name.clone(), address.net));
        }
    }
    local
}

fn is_link_local(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

/// Removes every route of ours to other hosts' prefixes and returns how many there were. Those to this host's own
/// containers stay: they are none of the fleet's.
///
/// # Errors
/// When the kernel can't be asked, or did not remove a route; the others are gone then.
pub async fn withdraw(kernel: &dyn Kernel) -> Result<usize, KernelError> {
    let links = kernel.links().await?;
    let devices = links.iter().filter(|link| host_access::is_device(link)).map(|link| link.index).collect();
    let routes = kernel.routes().await?;
    let ours = routes
        .into_iter()
        .filter(|route| route.protocol == ROUTE_PROTOCOL && !host_access::is_route(route, &devices));
    let ops: Vec<_> = ours.map(RouteOp::Remove).collect();
    for result in kernel.change_routes(&ops).await {
        result?;
    }
    Ok(ops.len())
}

#[cfg(test)]
mod tests;
