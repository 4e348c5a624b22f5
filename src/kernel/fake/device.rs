//! Addresses, neighbours and settings of the kernel in memory.

use ipnet::IpNet;

use super::{Address, FakeKernel, KernelEvent, LinkIndex, State, errno};
use crate::kernel::{Neighbour, NeighbourOp};

impl FakeKernel {
    /// Changes a number below `/proc/sys/net`, as an operator would.
    pub fn set(&self, path: &str, value: i64) {
        self.lock().settings.insert(path.to_owned(), value);
    }

    /// Makes every write below `/proc/sys/net` fail, as it does where that is mounted for reading only.
    pub fn lock_settings(&self, locked: bool) {
        self.lock().locked = locked;
    }

    /// Returns a number below `/proc/sys/net`, where it was ever set.
    pub fn setting_of(&self, path: &str) -> Option<i64> {
        self.lock().settings.get(path).copied()
    }

    /// Returns the permanent neighbours on a link.
    pub fn neighbours_of(&self, name: &str) -> Vec<Neighbour> {
        let state = self.lock();
        let index = state.index(name);
        state.neighbours.iter().filter(|neighbour| Some(neighbour.link) == index).copied().collect()
    }

    /// Returns the addresses of a link.
    pub fn addresses_of(&self, name: &str) -> Vec<IpNet> {
        let state = self.lock();
        let index = state.index(name);
        let on = state.addresses.iter().filter(|address| Some(address.link) == index);
        on.map(|address| address.net).collect()
    }

    pub(super) fn tell_address(&self) {
        self.tell(KernelEvent::Address);
    }
}

impl State {
    pub(super) fn put_address(&mut self, link: LinkIndex, net: IpNet) -> Result<(), i32> {
        let known = self.links.get(&link).ok_or(errno::NO_LINK)?;
        // An ipvlan port has each address once (`ipvlan_addr4_validator_event`).
        let siblings = |other: &LinkIndex| {
            known.parent.is_some() && self.links.get(other).is_some_and(|other| other.parent == known.parent)
        };
        let taken = |address: &&Address| address.net.addr() == net.addr() && siblings(&address.link);
        match self.addresses.iter().find(taken) {
            Some(address) if address.link == link => Ok(()),
            Some(_) => Err(errno::IN_USE),
            None => {
                self.addresses.push(Address { link, net, global: true });
                Ok(())
            }
        }
    }

    pub(super) fn take_address(&mut self, link: LinkIndex, net: IpNet) {
        self.addresses.retain(|address| address.link != link || address.net != net);
        self.forget_source(net.addr());
    }

    /// Takes routes along whose source was an address that is gone: IPv4 drops them, IPv6 drops the source.
    pub(super) fn forget_source(&mut self, source: std::net::IpAddr) {
        if self.addresses.iter().any(|address| address.net.addr() == source) {
            return;
        }
        self.routes.retain(|route| source.is_ipv6() || route.source != Some(source));
        for route in self.routes.iter_mut().filter(|route| route.source == Some(source)) {
            route.source = None;
        }
    }

    pub(super) fn change_neighbour(&mut self, op: &NeighbourOp) -> Result<(), i32> {
        let (NeighbourOp::Put(neighbour) | NeighbourOp::Remove(neighbour)) = op;
        self.writes += 1;
        self.neighbours.retain(|old| (old.link, old.address) != (neighbour.link, neighbour.address));
        if let NeighbourOp::Put(neighbour) = op {
            self.links.get(&neighbour.link).filter(|link| link.up).ok_or(errno::DOWN)?;
            self.neighbours.push(*neighbour);
        }
        Ok(())
    }
}
