//! The segment: a bridge, two hosts on it, a server, and somebody who answers for all other hosts of the fleet.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use ipvland::kernel::ROUTE_PROTOCOL;

use crate::{
    namespace::{Namespace, join},
    route::{UNDERLAY, bird, raw::Raw},
};

/// The link of each host to the segment.
pub(crate) const LINK: &str = "eth2";

/// Where the servers are.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 254);

/// The half of the underlay that all other hosts of the fleet have their addresses in.
const CROWD: &str = "10.0.0.0/10";

/// The addresses of the two hosts, and of who answers for the others.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 100, 0, 1), Ipv4Addr::new(10, 100, 0, 2)];
const CROWD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 3);

/// One of the two hosts.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Its name, of one letter.
    pub(crate) name: &'static str,
    /// Its place in the network.
    pub(crate) namespace: Namespace,
    /// Its address on the segment.
    pub(crate) address: IpAddr,
    /// Its prefix, which it publishes at start.
    pub(crate) subnet: IpNet,
}

/// Namespaces that are joined.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Where the servers and the benchmark itself are.
    pub(crate) server: Namespace,
    /// Where all other hosts of the fleet are.
    pub(crate) crowd: Namespace,
    /// The host that something happens on.
    pub(crate) a: Host,
    /// The host that is to learn of it.
    pub(crate) b: Host,
}

impl Segment {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let names = ["server", "crowd", "a", "b"].map(Namespace::new);
        let [server, crowd, a, b] = &names;
        let length = UNDERLAY.prefix_len();
        server.ip("link add br0 type bridge");
        server.ip("link set br0 up");
        server.ip(&format!("address add {SERVER}/{length} dev br0"));
        for (namespace, address, port) in
            [(crowd, CROWD_ADDRESS, "to-crowd"), (a, HOSTS[0], "to-a"), (b, HOSTS[1], "to-b")]
        {
            join((namespace, LINK), (server, port));
            server.ip(&format!("link set {port} master br0"));
            namespace.ip(&format!("address add {address}/{length} dev {LINK}"));
        }
        // Whoever is asked for is here: what hosts send to each other finds a neighbour.
        crowd.ip(&format!("route add local {CROWD} dev lo"));
        Self::of(names)
    }

    /// Returns the one that another process of the run has made.
    pub(crate) fn known(names: &[String]) -> Self {
        let names: Vec<_> = names.iter().map(|name| Namespace::known(name)).collect();
        Self::of(names.try_into().expect("the names of four namespaces"))
    }

    fn of([server, crowd, a, b]: [Namespace; 4]) -> Self {
        let host = |number: usize, name, namespace| Host {
            name,
            namespace,
            address: HOSTS[number].into(),
            subnet: IpNet::new(Ipv4Addr::new(192, 168, 1 + u8::from(number == 1), 0).into(), 24)
                .expect("a prefix"),
        };
        Self { server, crowd, a: host(0, "a", a), b: host(1, "b", b) }
    }

    /// Takes all routes from both hosts: the kernel drops those of a link that goes down.
    pub(crate) fn clear(&self) {
        for namespace in [&self.a.namespace, &self.b.namespace] {
            namespace.ip(&format!("link set {LINK} down"));
            namespace.ip(&format!("link set {LINK} up"));
            let mut raw = namespace.inside(Raw::open);
            assert_eq!(raw.count(ROUTE_PROTOCOL) + raw.count(bird::PROTOCOL), 0, "routes are left");
        }
    }

    /// The names, for another process of the run.
    pub(crate) fn names(&self) -> String {
        let names = [&self.server, &self.crowd, &self.a.namespace, &self.b.namespace];
        names.map(Namespace::name).join(",")
    }
}
