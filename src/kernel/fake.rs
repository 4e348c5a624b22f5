//! A kernel in memory, for tests of what sits on a [`Kernel`], here and in programs that build on this crate.
//!
//! It keeps the rules of Linux that matter to us, the unkind ones first: a second mode on a parent silently rewrites the
//! first; routes vanish without an event when a link goes down, and IPv6 addresses with them; a route needs a next hop on
//! a subnet of its link; a parent carries ipvlan or macvlan, not both. It is stricter in one: an MTU above the parent's
//! is refused, which Linux 6.1 takes and then drops what is too long.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ipnet::IpNet;
use rustix::io::Errno;
use tokio::sync::broadcast;

mod device;

use super::{
    Address, Kernel, KernelError, KernelEvent, Link, LinkIndex, LinkKind, Neighbour, NeighbourOp, NewLink,
    ROUTE_PROTOCOL, Result, Route, RouteOp, errno,
};

/// A kernel in memory. Clones are handles on one kernel.
#[derive(Debug, Clone)]
pub struct FakeKernel {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<KernelEvent>,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<LinkIndex, Link>,
    /// Links that were moved into a container: not shown, yet on their parents.
    away: BTreeSet<LinkIndex>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    failures: VecDeque<i32>,
    broken: BTreeMap<IpNet, i32>,
    neighbours: Vec<Neighbour>,
    settings: BTreeMap<String, i64>,
    /// Whether settings can only be read.
    locked: bool,
    writes: usize,
    dumps: usize,
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeKernel {
    /// Makes a kernel that has a loopback device with its addresses.
    pub fn new() -> Self {
        let kernel = Self { state: Arc::default(), events: broadcast::Sender::new(64) };
        let index = kernel.insert_link("lo", LinkKind::Other(String::new()), None);
        kernel.change_link("lo", |link| {
            link.loopback = true;
            link.mtu = 65536;
        });
        for net in ["127.0.0.1/8", "::1/128"] {
            let net: IpNet = net.parse().unwrap_or_default();
            kernel.lock().addresses.push(Address { link: index, net, global: false });
        }
        kernel
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: KernelEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }

    /// Adds a hardware interface that is up, with an MTU of 1500 bytes and global addresses.
    pub fn add_parent(&self, name: &str, nets: &[&str]) -> LinkIndex {
        let index = self.insert_link(name, LinkKind::Other(String::new()), None);
        for net in nets {
            self.add_address(name, net);
        }
        index
    }

    /// Adds a link of somebody else's that is up, with an MTU of 1500 bytes.
    pub fn insert_link(&self, name: &str, kind: LinkKind, parent: Option<LinkIndex>) -> LinkIndex {
        let mut state = self.lock();
        let link = Link {
            index: 0,
            name: name.to_owned(),
            kind,
            parent,
            alias: String::new(),
            mtu: 1500,
            up: true,
            loopback: false,
            mac: Some([2, 0, 10, 1, 1, 48]),
        };
        let index = state.insert(link);
        drop(state);
        self.tell(KernelEvent::Link);
        index
    }

    /// Changes a link in any way; unknown names change nothing.
    pub fn change_link(&self, name: &str, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.lock().links.values_mut().find(|link| link.name == name) {
            change(link);
        }
        self.tell(KernelEvent::Link);
    }

    /// Adds an address to a link, global unless it is link-local. A net that can't be parsed, or an unknown name, adds none.
    pub fn add_address(&self, name: &str, net: &str) {
        let mut state = self.lock();
        if let (Some(link), Ok(net)) = (state.index(name), net.parse::<IpNet>()) {
            let link_local = match net {
                IpNet::V4(_) => false,
                IpNet::V6(net) => net.addr().is_unicast_link_local(),
            };
            state.addresses.push(Address { link, net, global: !link_local });
        }
        drop(state);
        self.tell(KernelEvent::Address);
    }

    /// Removes an address, and the routes whose next hop was reached by it alone.
    pub fn remove_address(&self, name: &str, net: &str) {
        let mut state = self.lock();
        if let (Some(link), Ok(net)) = (state.index(name), net.parse::<IpNet>()) {
            state.take_address(link, net);
            state.drop_unreachable(link);
        }
        drop(state);
        self.tell(KernelEvent::Address);
    }

    /// Raises a link or takes it down, which silently takes its routes and IPv6 addresses along.
    pub fn set_up(&self, name: &str, up: bool) {
        let mut state = self.lock();
        if let Some(index) = state.index(name) {
            if let Some(link) = state.links.get_mut(&index) {
                link.up = up;
            }
            if !up {
                state.routes.retain(|route| route.link != Some(index));
                state.neighbours.retain(|neighbour| neighbour.link != index);
                let (gone, left) = std::mem::take(&mut state.addresses)
                    .into_iter()
                    .partition(|address| address.link == index && address.net.addr().is_ipv6());
                state.addresses = left;
                let gone: Vec<Address> = gone;
                gone.iter().for_each(|address| state.forget_source(address.net.addr()));
            }
        }
        drop(state);
        self.tell(KernelEvent::Link);
    }

    /// Removes a link behind everybody's back, with what sits on it.
    pub fn remove_link(&self, name: &str) {
        let mut state = self.lock();
        if let Some(index) = state.index(name) {
            state.remove(index);
        }
        drop(state);
        self.tell(KernelEvent::Link);
    }

    /// Moves a link into a container, as Docker does: it is seen no more and stays on its parent.
    pub fn move_away(&self, name: &str) {
        let mut state = self.lock();
        if let Some(index) = state.index(name) {
            state.away.insert(index);
        }
        drop(state);
        self.tell(KernelEvent::Link);
    }

    /// Returns how many links there are, those in containers among them.
    pub fn link_count(&self) -> usize {
        self.lock().links.len()
    }

    /// Puts a route into the table, unchecked, as another program would.
    pub fn add_route(&self, route: Route) {
        self.lock().routes.push(route);
        self.tell(KernelEvent::Route);
    }

    /// Removes all routes for a prefix without an event.
    pub fn lose_route(&self, prefix: &str) {
        self.lock().routes.retain(|route| route.prefix.to_string() != prefix);
    }

    /// Makes the next call fail with an error number; several calls queue up.
    pub fn fail_next(&self, errno: i32) {
        self.lock().failures.push_back(errno);
    }

    /// Makes every change of a prefix's route fail with an error number, until [`FakeKernel::mend`].
    pub fn break_route(&self, prefix: IpNet, errno: i32) {
        self.lock().broken.insert(prefix, errno);
    }

    /// Takes back every [`FakeKernel::break_route`].
    pub fn mend(&self) {
        self.lock().broken.clear();
    }

    /// Returns a link that is in the host's namespace, by name.
    pub fn link(&self, name: &str) -> Option<Link> {
        let state = self.lock();
        state.index(name).and_then(|index| state.links.get(&index).cloned())
    }

    /// Returns the routes with our protocol number, sorted.
    pub fn our_routes(&self) -> Vec<Route> {
        let mut routes = self.lock().routes.clone();
        routes.retain(|route| route.protocol == ROUTE_PROTOCOL);
        routes.sort();
        routes
    }

    /// Returns how many route changes were asked for so far.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Returns how often the routes were listed so far.
    pub fn dumps(&self) -> usize {
        self.lock().dumps
    }
}

impl State {
    fn index(&self, name: &str) -> Option<LinkIndex> {
        self.links
            .values()
            .find(|link| link.name == name && !self.away.contains(&link.index))
            .map(|link| link.index)
    }

    fn insert(&mut self, mut link: Link) -> LinkIndex {
        link.index = self.links.keys().next_back().copied().unwrap_or_default() + 1;
        let index = link.index;
        self.links.insert(index, link);
        index
    }

    fn remove(&mut self, index: LinkIndex) {
        let above: Vec<_> =
            self.links.values().filter(|link| link.parent == Some(index)).map(|link| link.index).collect();
        for child in above {
            self.remove(child);
        }
        self.links.remove(&index);
        self.away.remove(&index);
        self.addresses.retain(|address| address.link != index);
        self.routes.retain(|route| route.link != Some(index));
        self.neighbours.retain(|neighbour| neighbour.link != index);
    }

    fn reaches(&self, link: LinkIndex, hop: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.link == link && address.net.contains(&hop))
    }

    fn drop_unreachable(&mut self, link: LinkIndex) {
        let mut routes = std::mem::take(&mut self.routes);
        routes.retain(|route| {
            route.link != Some(link) || route.gateway.is_none_or(|hop| self.reaches(link, hop))
        });
        self.routes = routes;
    }

    fn check(&mut self, action: &str) -> Result<()> {
        match self.failures.pop_front() {
            Some(errno) => Err(KernelError::from_errno(action, errno)),
            None => Ok(()),
        }
    }

    fn add_link(&mut self, name: &str, alias: &str, new: &NewLink) -> Result<LinkIndex, i32> {
        if self.index(name).is_some() {
            return Err(errno::EXIST);
        }
        let parent = new.parent();
        let on_parent = |link: &Link| link.parent.is_some() && link.parent == parent;
        let mut link = Link {
            index: 0,
            name: name.to_owned(),
            kind: LinkKind::Dummy,
            parent,
            alias: alias.to_owned(),
            mtu: 1500,
            up: true,
            loopback: false,
            mac: Some([2, 0, 0, 0, 0, 1]),
        };
        let below = match parent {
            Some(parent) => self.links.get(&parent).cloned().ok_or(errno::NO_LINK)?,
            None => link.clone(),
        };
        link.mac = below.mac;
        match *new {
            NewLink::Ipvlan { mode, flag, mtu, .. } => {
                if self.links.values().any(|link| on_parent(link) && link.kind == LinkKind::Macvlan) {
                    return Err(errno::BUSY);
                }
                if below.loopback || mtu.is_some_and(|mtu| mtu > below.mtu) {
                    return Err(errno::INVALID);
                }
                // Linux rewrites the siblings without a word.
                for sibling in self.links.values_mut().filter(|link| on_parent(link)) {
                    if let LinkKind::Ipvlan(old, _) = &mut sibling.kind {
                        *old = mode;
                    }
                }
                link.mtu = mtu.unwrap_or(below.mtu);
                link.up = false;
                link.kind = LinkKind::Ipvlan(mode, flag);
            }
            NewLink::Vlan { id, .. } => {
                if self.links.values().any(|link| on_parent(link) && link.kind == LinkKind::Vlan(id)) {
                    return Err(errno::EXIST);
                }
                link.kind = LinkKind::Vlan(id);
                link.mtu = below.mtu;
            }
            NewLink::Dummy { mtu } => link.mtu = mtu.unwrap_or(link.mtu),
        }
        Ok(self.insert(link))
    }

    fn change_route(&mut self, op: &RouteOp) -> Result<(), i32> {
        self.writes += 1;
        let route = op.route();
        if let Some(errno) = self.broken.get(&route.prefix) {
            return Err(*errno);
        }
        if let RouteOp::Remove(gone) = op {
            self.routes.retain(|route| route != gone);
            return Ok(());
        }
        let v4 = route.prefix.addr().is_ipv4();
        let up = match route.link {
            Some(index) => self.links.get(&index).ok_or(errno::NO_LINK)?.up,
            None => return Err(errno::NO_LINK),
        };
        let reached = route.gateway.is_none_or(|hop| route.link.is_some_and(|link| self.reaches(link, hop)));
        match (up, reached, v4) {
            (true, true, _) => {}
            (false, _, false) => return Err(errno::DOWN),
            (_, _, true) => return Err(errno::UNREACHABLE),
            (true, false, false) => return Err(Errno::HOSTUNREACH.raw_os_error()),
        }
        if route.source.is_some_and(|source| !self.addresses.iter().any(|own| own.net.addr() == source)) {
            return Err(errno::INVALID);
        }
        let same =
            self.routes.iter().position(|old| old.prefix == route.prefix && old.metric == route.metric);
        match (same, op) {
            (Some(_), RouteOp::Add(_)) => return Err(errno::EXIST),
            (Some(place), _) => self.routes[place] = route.clone(),
            (None, _) => self.routes.push(route.clone()),
        }
        Ok(())
    }
}

#[async_trait]
impl Kernel for FakeKernel {
    async fn links(&self) -> Result<Vec<Link>> {
        let mut state = self.lock();
        state.check("list the interfaces")?;
        Ok(state.links.values().filter(|link| !state.away.contains(&link.index)).cloned().collect())
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        let mut state = self.lock();
        state.check("list the addresses")?;
        Ok(state.addresses.iter().filter(|address| !state.away.contains(&address.link)).copied().collect())
    }

    async fn routes(&self) -> Result<Vec<Route>> {
        let mut state = self.lock();
        state.dumps += 1;
        state.check("list the routes")?;
        Ok(state.routes.clone())
    }

    async fn add_link(&self, name: &str, alias: &str, link: NewLink) -> Result<LinkIndex> {
        let mut state = self.lock();
        let action = format!("add the link {name}");
        state.check(&action)?;
        let made = state.add_link(name, alias, &link).map_err(|number| {
            let links: Vec<_> = state.links.values().cloned().collect();
            KernelError {
                action,
                errno: Some(number),
                meaning: errno::link_meaning(number, name, &link, &links),
            }
        });
        drop(state);
        self.tell(KernelEvent::Link);
        made
    }

    async fn delete_link(&self, index: LinkIndex) -> Result<()> {
        let mut state = self.lock();
        state.check(&format!("remove the link {index}"))?;
        if !state.away.contains(&index) {
            state.remove(index);
        }
        drop(state);
        self.tell(KernelEvent::Link);
        Ok(())
    }

    async fn raise(&self, index: LinkIndex) -> Result<()> {
        let mut state = self.lock();
        let action = format!("raise the link {index}");
        state.check(&action)?;
        let link = state.links.get_mut(&index);
        link.ok_or_else(|| KernelError::from_errno(action, errno::NO_LINK))?.up = true;
        drop(state);
        self.tell(KernelEvent::Link);
        Ok(())
    }

    async fn add_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        let mut state = self.lock();
        let action = format!("add the address {} to the link {link}", net.addr());
        state.check(&action)?;
        state.put_address(link, net).map_err(|number| KernelError::from_errno(action, number))?;
        drop(state);
        self.tell_address();
        Ok(())
    }

    async fn delete_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        let mut state = self.lock();
        state.check(&format!("remove the address {} from the link {link}", net.addr()))?;
        state.take_address(link, net);
        drop(state);
        self.tell_address();
        Ok(())
    }

    async fn neighbours(&self, link: LinkIndex) -> Result<Vec<Neighbour>> {
        let mut state = self.lock();
        state.check("list the neighbours")?;
        Ok(state.neighbours.iter().filter(|neighbour| neighbour.link == link).copied().collect())
    }

    async fn change_neighbours(&self, ops: &[NeighbourOp]) -> Vec<Result<()>> {
        let mut state = self.lock();
        let change = |op: &NeighbourOp| {
            let (NeighbourOp::Put(neighbour) | NeighbourOp::Remove(neighbour)) = op;
            let action = format!("change the neighbour {}", neighbour.address);
            state.check(&action)?;
            state.change_neighbour(op).map_err(|number| KernelError::from_errno(action, number))
        };
        ops.iter().map(change).collect()
    }

    async fn setting(&self, path: &str) -> Option<i64> {
        self.setting_of(path)
    }

    async fn set_setting(&self, path: &str, value: i64) -> Result<()> {
        let mut state = self.lock();
        if state.locked {
            return Err(KernelError::from_errno(
                format!("set {path} to {value}"),
                Errno::ROFS.raw_os_error(),
            ));
        }
        state.settings.insert(path.to_owned(), value);
        Ok(())
    }

    async fn delete_link_inside(&self, _: &Path, alias: &str) -> Result<bool> {
        let mut state = self.lock();
        state.check(&format!("remove the link with the alias {alias}"))?;
        let gone = state.away.iter().copied().find(|index| state.links[index].alias == alias);
        if let Some(index) = gone {
            state.remove(index);
            state.away.remove(&index);
        }
        Ok(gone.is_some())
    }

    async fn change_routes(&self, ops: &[RouteOp]) -> Vec<Result<()>> {
        let mut state = self.lock();
        ops.iter()
            .map(|op| {
                let link = op.route().link.and_then(|index| state.links.get(&index));
                let link = link.map_or("no interface", |link| &link.name).to_owned();
                let action = op.describe(&link);
                state.check(&action)?;
                state.change_route(op).map_err(|number| KernelError {
                    action,
                    errno: Some(number),
                    meaning: errno::route_meaning(number, op, &link),
                })
            })
            .collect()
    }

    fn events(&self) -> BoxStream<'static, KernelEvent> {
        stream::unfold(self.events.subscribe(), |mut events| async move {
            match events.recv().await {
                Ok(event) => Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((KernelEvent::Overrun, events)),
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        })
        .boxed()
    }
}
