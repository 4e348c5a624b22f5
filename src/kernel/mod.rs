//! The kernel's links, addresses and routes, behind a trait.
//!
//! What is above this module computes what it wants and asks a [`Kernel`] to make it so; [`netlink`] is the one
//! implementation that talks to Linux, and [`fake`] one that keeps everything in memory for tests.

use std::{fmt, net::IpAddr, path::Path};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipnet::IpNet;

pub mod errno;
mod failure;
pub mod fake;
mod message;
pub mod netlink;
mod routes;

pub use fake::FakeKernel;
pub use netlink::Netlink;

/// The number that marks routes as ours (`rtm_protocol` of `linux/rtnetlink.h`), so that we tell them from an
/// operator's after a crash. `ip route` shows it as `proto 214`; no routing daemon uses it.
pub const ROUTE_PROTOCOL: u8 = 214;

/// The index of a link (`ifi_index` of `linux/rtnetlink.h`).
pub type LinkIndex = u32;

/// How an ipvlan link forwards (`IFLA_IPVLAN_MODE` of `linux/if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By Ethernet, within the parent's segment; broadcast and multicast work.
    L2,
    /// By IP, routed by the host's table; neither broadcast nor multicast.
    L3,
    /// As [`Mode::L3`], and through the host's netfilter.
    L3s,
}

/// What ipvlan links of one parent may send to each other (`IFLA_IPVLAN_FLAGS` of `linux/if_link.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// Anything.
    #[default]
    Bridge,
    /// Nothing.
    Private,
    /// Only by way of the switch outside.
    Vepa,
}

/// What a link is, as far as we need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// An ipvlan device, with its mode and flag.
    Ipvlan(Mode, Flag),
    /// A macvlan or macvtap device.
    Macvlan,
    /// A VLAN device, with its id.
    Vlan(u16),
    /// A dummy device.
    Dummy,
    /// Anything else, by the kernel's name for it; empty for hardware.
    Other(String),
}

/// A network interface in the daemon's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// The link it sits on (`IFLA_LINK`), where that is in this namespace.
    pub parent: Option<LinkIndex>,
    /// The alias (`IFLA_IFALIAS`), empty where there is none. Ours starts with [`ALIAS_PREFIX`].
    pub alias: String,
    /// The MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Its hardware address (`IFLA_ADDRESS`), where it has one of six bytes. ipvlan links have their parent's.
    pub mac: Option<[u8; 6]>,
}

/// The beginning of the alias of each link that we made.
pub const ALIAS_PREFIX: &str = "ipvland:";

impl Mode {
    /// Returns the name that operators and `ip link` use: `l2`, `l3` or `l3s`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::L3 => "l3",
            Self::L3s => "l3s",
        }
    }
}

impl Flag {
    /// Returns the name that operators and `ip link` use: `bridge`, `private` or `vepa`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Link {
    /// Tells whether we made the link.
    pub fn is_ours(&self) -> bool {
        self.alias.starts_with(ALIAS_PREFIX)
    }
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub link: LinkIndex,
    /// The address with the length of its subnet.
    pub net: IpNet,
    /// Whether its scope is global (`RT_SCOPE_UNIVERSE`) and it is usable as a source: neither tentative nor failed.
    pub global: bool,
}

/// A unicast route of the main table, or one that refuses its prefix there (`blackhole`, `unreachable`, `prohibit`), which
/// has neither gateway nor link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where it leads.
    pub prefix: IpNet,
    /// The next hop, where it has one.
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by, where it has just one.
    pub link: Option<LinkIndex>,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Its metric (`RTA_PRIORITY`): the route with the lowest wins.
    pub metric: u32,
    /// The source of packets that have none yet (`RTA_PREFSRC`), where it names one: an address of this host.
    pub source: Option<IpAddr>,
    /// The MTU in bytes, where the route has a smaller one than its link (`RTAX_MTU`).
    pub mtu: Option<u32>,
}

/// A permanent entry of the table of neighbours (`NUD_PERMANENT` of `linux/neighbour.h`), which the kernel never asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link that the neighbour is on.
    pub link: LinkIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// A change of the table of neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourOp {
    /// Enters a neighbour, in the place of one with its link and address.
    Put(Neighbour),
    /// Removes a neighbour; one that is gone already is no error.
    Remove(Neighbour),
}

/// A change of the route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteOp {
    /// Adds a route; fails if one with this prefix and metric exists.
    Add(Route),
    /// Puts a route in the place of ours with the same prefix and metric, without a gap (`NLM_F_REPLACE`).
    Replace(Route),
    /// Removes exactly this route.
    Remove(Route),
}

/// Something changed in the kernel, perhaps by our own hand. A hint only: several may be merged.
///
/// The changes of [`Kernel::change_routes`] are not told by the [`Kernel`] that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelEvent {
    /// A link came, went, or changed.
    Link,
    /// An address came or went.
    Address,
    /// A route came, went, or changed by another hand than ours.
    Route,
    /// Events were lost (`ENOBUFS`, or the socket was opened anew): anything may have changed.
    Overrun,
}

/// A refusal of the kernel, or no way to ask it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action}: {meaning}")]
pub struct KernelError {
    /// What was tried: `add ipvlan link ipvl0123 on eth2`.
    pub action: String,
    /// The error number (`errno(3)`), where the kernel gave one.
    pub errno: Option<i32>,
    /// What it means here and what to do, one lower-case clause.
    pub meaning: String,
}

impl KernelError {
    /// Explains an error number that the kernel gave.
    pub fn from_errno(action: impl Into<String>, errno: i32) -> Self {
        Self { action: action.into(), errno: Some(errno), meaning: errno::meaning(errno) }
    }
}

/// The result of asking the kernel.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewLink {
    /// An ipvlan link on a parent; it is left down, as Docker moves and raises it.
    Ipvlan {
        /// What it sits on.
        parent: LinkIndex,
        /// How it forwards.
        mode: Mode,
        /// What its siblings may send to it.
        flag: Flag,
        /// Its MTU in bytes; the parent's where there is none.
        mtu: Option<u32>,
    },
    /// A VLAN link on a parent, raised.
    Vlan {
        /// What it sits on.
        parent: LinkIndex,
        /// The VLAN's id, 1 to 4094.
        id: u16,
    },
    /// A dummy link, raised: what is sent to it goes nowhere, and links on it reach each other.
    Dummy {
        /// Its MTU in bytes; 1500 where there is none.
        mtu: Option<u32>,
    },
}

impl NewLink {
    /// Returns the link that it is to sit on.
    pub fn parent(&self) -> Option<LinkIndex> {
        match *self {
            Self::Ipvlan { parent, .. } | Self::Vlan { parent, .. } => Some(parent),
            Self::Dummy { .. } => None,
        }
    }
}

impl RouteOp {
    /// Returns the route that is added, put in place, or removed.
    pub fn route(&self) -> &Route {
        match self {
            Self::Add(route) | Self::Replace(route) | Self::Remove(route) => route,
        }
    }

    /// Returns what is done in words, given the name of the route's link: `add the route to 10.1.51.0/24 via 10.1.1.51
    /// on eth2`.
    pub fn describe(&self, link: &str) -> String {
        let verb = match self {
            Self::Add(_) => "add",
            Self::Replace(_) => "replace",
            Self::Remove(_) => "remove",
        };
        let route = self.route();
        let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        format!("{verb} the route to {}{via} on {link}", route.prefix)
    }
}

/// The links, addresses and routes of the network namespace that the daemon runs in.
#[async_trait]
pub trait Kernel: fmt::Debug + Send + Sync + 'static {
    /// Returns every link.
    async fn links(&self) -> Result<Vec<Link>>;

    /// Returns every address.
    async fn addresses(&self) -> Result<Vec<Address>>;

    /// Returns the routes of the main table, IPv4 and IPv6, ours and others', in the order of their prefixes (as
    /// [`IpNet`] compares: IPv4 first, then by address, then by length), and those of one prefix in that of their metrics.
    async fn routes(&self) -> Result<Vec<Route>>;

    /// Makes a link with a name and an alias; if the alias can't be set, no link is left.
    async fn add_link(&self, name: &str, alias: &str, link: NewLink) -> Result<LinkIndex>;

    /// Removes a link; one that is gone already is no error.
    async fn delete_link(&self, index: LinkIndex) -> Result<()>;

    /// Raises a link.
    async fn raise(&self, index: LinkIndex) -> Result<()>;

    /// Gives a link an address that is usable at once: without a check for duplicates, and without a route to its subnet.
    /// One that the link has already is no error.
    async fn add_address(&self, link: LinkIndex, net: IpNet) -> Result<()>;

    /// Takes an address from a link; one that is gone already is no error.
    async fn delete_address(&self, link: LinkIndex, net: IpNet) -> Result<()>;

    /// Returns the permanent IPv4 neighbours on a link.
    async fn neighbours(&self, link: LinkIndex) -> Result<Vec<Neighbour>>;

    /// Applies changes in order and returns the result of each: one that fails stops no other.
    async fn change_neighbours(&self, ops: &[NeighbourOp]) -> Vec<Result<()>>;

    /// Returns a number below `/proc/sys/net` (`sysctl(8)`), such as `ipv4/conf/all/rp_filter`; nothing where it is not there.
    async fn setting(&self, path: &str) -> Option<i64>;

    /// Changes a number below `/proc/sys/net`.
    async fn set_setting(&self, path: &str, value: i64) -> Result<()>;

    /// Removes the link with an alias inside another network namespace, given by its file, and tells whether there was
    /// one. A namespace that is gone has no links.
    async fn delete_link_inside(&self, namespace: &Path, alias: &str) -> Result<bool>;

    /// Applies changes in order and returns the result of each: one that fails stops no other.
    ///
    /// Removing a route that is gone already is no error. Any number of changes may be asked for at once; they are not one
    /// transaction. Where the kernel's answer is lost, the table is read to tell what was done.
    async fn change_routes(&self, ops: &[RouteOp]) -> Vec<Result<()>>;

    /// Returns the changes from now on, but for those that [`Kernel::change_routes`] makes. The stream doesn't end: it opens its socket anew and tells
    /// [`KernelEvent::Overrun`].
    fn events(&self) -> BoxStream<'static, KernelEvent>;
}
