//! The Docker networks of this host, and the book of them that outlives the daemon.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kernel::{Flag, Mode};

mod book;

pub use book::{Book, BookError};

/// A Docker network made with our driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Docker's id of it: 64 hexadecimal digits.
    pub id: String,
    /// The name for records and sentences: the option `ipvland.name`, or the first 12 digits of the id, since Docker
    /// doesn't tell drivers the network's name.
    pub name: String,
    /// The name of the parent interface.
    pub parent: String,
    /// Whether we made the parent (a VLAN or a dummy), and so remove it with its last network.
    pub made_parent: bool,
    /// How its links forward.
    pub mode: Mode,
    /// What its links may send to each other.
    #[serde(default)]
    pub flag: Flag,
    /// The MTU of its links in bytes; the parent's where there is none.
    pub mtu: Option<u32>,
    /// Whether containers get no way out (`--internal`).
    #[serde(default)]
    pub internal: bool,
    /// How this host reaches its containers, where it does.
    #[serde(default)]
    pub host_access: Option<HostAccess>,
    /// Its subnets, IPv4 and IPv6.
    pub subnets: Vec<Subnet>,
    /// Its endpoints by Docker's id of them.
    #[serde(default)]
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// The wish that this host reaches the containers of a network, and they it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAccess {
    /// Addresses of the network that are set aside for this host (`--aux-address host=10.1.1.250`), one a subnet at most.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet, without host bits.
    pub pool: IpNet,
    /// The gateway that Docker gave it.
    pub gateway: Option<IpAddr>,
}

/// A container's attachment to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its addresses, with the length of their subnets.
    pub addresses: Vec<IpNet>,
    /// The name of its interface inside the container, where the user wished for one.
    pub ifname: Option<String>,
    /// Docker's name of the network namespace of the container, while it is joined to one.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// The default routes that the container was given by this endpoint: `0.0.0.0/0`, `::/0`.
    #[serde(default)]
    pub routes: Vec<String>,
    /// The ports that `docker run -p` asked for, `8080:80/tcp`; they have no effect, and the status says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The beginning of the name of its interface inside the container, which Docker numbers; `eth` where there is none.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Whether Docker started anew since it joined: it may have lost sight of the interface, and counts from 0 again.
    #[serde(default)]
    pub restored: bool,
    /// The network namespace that it left, until Docker removes it.
    #[serde(default)]
    pub left: Option<String>,
}

/// All networks of this host, by id.
pub type Networks = Arc<BTreeMap<String, Network>>;

impl Endpoint {
    /// Makes an endpoint that is in no container yet.
    pub fn new(addresses: Vec<IpNet>, ifname: Option<String>) -> Self {
        Self {
            addresses,
            ifname,
            sandbox: None,
            routes: Vec::new(),
            prefix: None,
            restored: false,
            left: None,
            ports: Vec::new(),
        }
    }

    /// Returns it as it is outside of any container.
    pub fn apart(&self) -> Self {
        Self { ports: self.ports.clone(), ..Self::new(self.addresses.clone(), self.ifname.clone()) }
    }
}

impl Network {
    /// Returns the first 12 digits of the id, as `docker network ls` shows it.
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }

    /// Tells whether other hosts are told its prefixes: an L3 network that lets its containers out.
    ///
    /// Containers of an internal one have no route to answer by, and an L2 one is reached through its segment.
    pub fn is_published(&self) -> bool {
        self.mode != Mode::L2 && !self.internal
    }

    /// Returns its subnets without their gateways.
    pub fn pools(&self) -> impl Iterator<Item = IpNet> {
        self.subnets.iter().map(|subnet| subnet.pool)
    }
}

/// Returns the first 12 digits of an id of Docker's, or all of a shorter one.
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
