//! Keeps the kernel's routes equal to what the fleet's records say.
//!
//! One full pass does it all: it lists links, addresses and routes, judges the records, plans, and changes what differs.
//! It runs on every new view of the fleet, on every event of the kernel, and on a timer, because the kernel drops routes
//! without telling. What was done before is never remembered: each pass starts from what the store and the kernel show.
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
    fleet::{Source, View},
    host_access::{self, Access},
    kernel::{Address, Kernel, KernelError, Link, LinkIndex, ROUTE_PROTOCOL, Route, RouteOp},
    network::{Network, Networks},
    plan, policy,
    policy::Local,
    status::Board,
};

mod report;

use report::{Complaints, Report};

/// How long events are gathered before a pass.
const GATHER: Duration = Duration::from_millis(80);

/// How many events one pass answers at most: a bound, for the case that they come faster than they are taken.
const MOST_GATHERED: usize = 1024;

/// The shortest time between the beginnings of two passes, however many events come.
const SPACING: Duration = Duration::from_millis(300);

/// The longest time between two passes.
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
    /// Where the sections `learned`, `refused` and `routes` are written.
    pub board: Board,
}

/// What passes remember of each other: nothing that decides which routes are wanted.
#[derive(Debug, Default)]
struct Memory {
    complaints: Complaints,
    /// The parent's subnets when it was last up: with the link, IPv6 takes its addresses away.
    underlay: Vec<IpNet>,
    /// What was judged last.
    judged: Arc<View>,
    /// The networks with host access as they were at the last pass, so that a change of others makes none.
    accessed: Vec<Network>,
}

impl Syncer {
    /// Keeps the routes until the future is dropped; the routes stay then.
    pub async fn run(mut self) {
        // Before the first pass, so that nothing is missed between the two.
        let mut events = self.kernel.events();
        let mut memory = Memory::default();
        let mut retry = FIRST_RETRY;
        loop {
            let begun = Instant::now();
            let clean = self.pass(&mut memory).await;
            let pause = if clean { FULL_PASS } else { retry };
            retry = if clean { FIRST_RETRY } else { (retry * 2).min(FULL_PASS) };
            let urgent = tokio::select! {
                () = news(&mut self.view, &memory.judged) => true,
                () = changed(&mut self.own) => true,
                () = changed(&mut self.leave) => true,
                () = accessed_changed(&mut self.networks, &memory.accessed) => true,
                Some(_) = events.next() => false,
                () = sleep_until(begun + pause) => false,
            };
            // News of the fleet are rare and complete; the kernel's come in storms. A container that starts waits for none.
            if !urgent {
                let settled = async {
                    sleep(GATHER).await;
                    sleep_until(begun + SPACING).await;
                };
                tokio::select! {
                    () = settled => {}
                    () = accessed_changed(&mut self.networks, &memory.accessed) => {}
                }
            }
            // What came meanwhile is answered by the pass that follows.
            for _ in 0..MOST_GATHERED {
                if events.next().now_or_never().is_none() {
                    break;
                }
            }
        }
    }

    /// Makes one pass; tells whether nothing failed.
    async fn pass(&mut self, memory: &mut Memory) -> bool {
        let view = Arc::clone(&self.view.borrow_and_update());
        memory.judged = Arc::clone(&view);
        let own = self.own.borrow_and_update().clone();
        let left = *self.leave.borrow_and_update();
        let networks = Arc::clone(&self.networks.borrow_and_update());
        memory.accessed = accessed(&networks);
        let mut report = Report::default();
        let clean = match self.reconcile(&view, own, left, &networks, memory, &mut report).await {
            Ok(clean) => clean,
            Err(error) => {
                report.complain("kernel", error.to_string());
                report.nothing_certain(&error);
                false
            }
        };
        memory.complaints.tell(report.complaints(), report.is_certain());
        report.post(&self.board);
        clean
    }

    async fn reconcile(
        &self,
        view: &View,
        own: Option<Key>,
        left: bool,
        networks: &Networks,
        memory: &mut Memory,
        report: &mut Report,
    ) -> Result<bool, KernelError> {
        let mut links = self.kernel.links().await?;
        let addresses = self.kernel.addresses().await?;
        let access =
            host_access::settle(&*self.kernel, &self.machine, networks, &mut links, &addresses).await;
        let fleet = match (left, view.source) {
            (true, _) => Fleet { wanted: Vec::new(), keep: false },
            // Without any records it can't be told which of our routes are old: all are left as they are.
            (false, Source::None) => Fleet { wanted: Vec::new(), keep: true },
            (false, _) => self.judge(view, own, &links, &addresses, memory, report),
        };
        let wanted = with_access(fleet.wanted, &access);
        let mut plan = plan::plan(&wanted, &self.kernel.routes().await?);
        if fleet.keep {
            plan = plan.additions_only(|route| host_access::is_route(route, &access.devices));
        }
        let results = self.kernel.change_routes(&plan.ops).await;
        let mut clean = access.networks.iter().all(|network| network.state != "failed");
        let name = |index: Option<LinkIndex>| link_name(&links, index);
        for (op, result) in plan.ops.iter().zip(&results) {
            match result {
                Ok(()) => tell(op, &name(op.route().link)),
                Err(_) => clean = false,
            }
        }
        tracing::debug!(
            revision = view.revision.as_ref().map(ToString::to_string),
            wanted = wanted.len(),
            changes = plan.ops.len(),
            foreign = plan.foreign.len(),
            "pass over the routes done"
        );
        report.installed(&wanted, &plan, &results, name);
        report.accessed(access);
        Ok(clean)
    }

    /// Returns the routes that the fleet's records want.
    fn judge(
        &self,
        view: &View,
        own: Option<Key>,
        links: &[Link],
        addresses: &[Address],
        memory: &mut Memory,
        report: &mut Report,
    ) -> Fleet {
        let mut local = local(links, addresses, self.parent.as_deref(), own);
        let parent = self.find_parent(links);
        match &parent {
            Ok(_) => memory.underlay.clone_from(&local.underlay),
            // The routes that can't be at the moment are still told as wanted.
            Err(_) if !memory.underlay.is_empty() => local.underlay.clone_from(&memory.underlay),
            Err(_) => {}
        }
        let judgement = policy::judge(&view.records, &view.strays, &local);
        report.judged(&judgement);
        match parent {
            // The daemon may have been killed before what it learned last was on the disk, and the kernel knows it.
            Ok(parent) => {
                Fleet { wanted: plan::wanted(&judgement.accepted, parent), keep: view.source == Source::Disk }
            }
            Err(why) => {
                report.no_parent(&judgement.accepted, self.parent.as_deref(), &why);
                Fleet { wanted: Vec::new(), keep: true }
            }
        }
    }

    fn find_parent(&self, links: &[Link]) -> Result<LinkIndex, String> {
        let Some(name) = &self.parent else {
            return Err("no parent interface is set; name one as `interface` under [host]".into());
        };
        match links.iter().find(|link| link.name == *name) {
            None => Err(format!("the parent interface {name} is missing")),
            Some(link) if !link.up => {
                Err(format!("the parent interface {name} is down; raise it with `ip link set {name} up`"))
            }
            Some(link) => Ok(link.index),
        }
    }
}

/// The routes to other hosts' prefixes that are wanted.
struct Fleet {
    wanted: Vec<Route>,
    /// Whether those that are there stay as they are.
    keep: bool,
}

/// Adds the routes to this host's own containers; one for the same prefix by way of another host has no say.
fn with_access(fleet: Vec<Route>, access: &Access) -> Vec<Route> {
    let own: BTreeSet<IpNet> = access.routes.iter().map(|(_, route)| route.prefix).collect();
    let fleet = fleet.into_iter().filter(|route| !own.contains(&route.prefix));
    fleet.chain(access.routes.iter().map(|(_, route)| route.clone())).collect()
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

fn tell(op: &RouteOp, interface: &str) {
    let route = op.route();
    let next_hop = route.gateway.map(|hop| hop.to_string()).unwrap_or_default();
    let prefix = route.prefix;
    match op {
        RouteOp::Add(_) => tracing::info!(%prefix, next_hop, interface, "route added"),
        RouteOp::Replace(_) => tracing::info!(%prefix, next_hop, interface, "route changed"),
        RouteOp::Remove(_) => tracing::info!(%prefix, next_hop, interface, "route removed"),
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
