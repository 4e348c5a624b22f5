//! The configuration: defaults, then the file, then the environment, then flags.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | `schema`, `subnet` | our keys in order, and what each may hold |
//! | `layer` | the file, the variables and the flags, each with its name |
//! | `load` | checks each layer, lets figment merge them, and builds the [`Config`] |
//! | `place` | which store a config names |
//! | `show` | what `ipvland config` prints |
//! | `error` | [`ConfigError`], a sentence each |

mod error;
mod layer;
mod load;
mod place;
mod schema;
mod show;
mod subnet;

pub use error::ConfigError;
pub use load::{Loaded, Override, Sources, load};
pub use show::Entry;
pub(crate) use show::to_toml;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use crate::kernel::{Flag, Mode};

/// Everything that an operator can say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[host]`: who this host is.
    pub host: HostConfig,
    /// `[network]`: what a Docker network gets unless it says otherwise.
    pub network: NetworkConfig,
    /// `[names]`: names of containers across hosts.
    pub names: NamesConfig,
    /// `[nudge]`: how hosts tell each other that there are news.
    pub nudge: NudgeConfig,
    /// `[store]`: where the fleet's records live.
    pub store: StoreConfig,
    /// `[daemon]`: files and sockets of the daemon.
    pub daemon: DaemonConfig,
    /// `[log]`: what it logs and how.
    pub log: LogConfig,
}

/// The table `[host]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostConfig {
    /// The parent interface; by default the one that the default route leaves by.
    pub interface: Option<String>,
    /// The address that names the host; by default the interface's first global one.
    pub address: Option<IpAddr>,
    /// The host's name; by default the machine's.
    pub name: Option<String>,
}

/// The table `[network]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// The mode; `l2` by default.
    pub mode: Mode,
    /// The flag; `bridge` by default.
    pub flag: Flag,
    /// This host's prefixes (one string or a list of them), published at start.
    pub subnet: Vec<IpNet>,
    /// The gateway of L2 networks whose subnet holds it, in place of the first address, which Docker picks by itself.
    pub gateway: Option<IpAddr>,
    /// The MTU in bytes; by default the parent's.
    pub mtu: Option<u32>,
    /// Whether this host and its containers reach each other; `false` by default.
    pub host_access: bool,
    /// Where this host leases its prefixes from, one a family that is named here and that `subnet` gives none of.
    pub pool: Vec<IpNet>,
    /// How long, in bits, a leased IPv4 prefix is; 24 by default.
    pub prefix_length: u8,
    /// How long, in bits, a leased IPv6 prefix is; 64 by default.
    pub prefix_length6: u8,
    /// How long, in bits, a block is that hosts lease of an IPv4 subnet they share; 28 by default.
    pub block_length: u8,
    /// How long, in bits, a block is that hosts lease of an IPv6 subnet they share; 112 by default.
    pub block_length6: u8,
    /// Addresses that are never leased nor given to a container.
    pub reserved: Vec<IpNet>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            mode: Mode::L2,
            flag: Flag::Bridge,
            subnet: Vec::new(),
            gateway: None,
            mtu: None,
            host_access: false,
            pool: Vec::new(),
            prefix_length: 24,
            prefix_length6: 64,
            block_length: 28,
            block_length6: 112,
            reserved: Vec::new(),
        }
    }
}

impl NetworkConfig {
    /// Returns how long a leased prefix is in a pool.
    pub fn prefix_length_in(&self, pool: IpNet) -> u8 {
        if pool.addr().is_ipv4() { self.prefix_length } else { self.prefix_length6 }
    }

    /// Returns how long a leased block of a shared subnet is; a subnet that is smaller is one block.
    pub fn block_length_in(&self, subnet: IpNet) -> u8 {
        let length = if subnet.addr().is_ipv4() { self.block_length } else { self.block_length6 };
        length.max(subnet.prefix_len())
    }
}

/// The table `[names]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesConfig {
    /// Whether this host tells the names of its containers, and answers for those of all hosts; not by default.
    pub enabled: bool,
    /// Where DNS is answered; by default on this host's address, port 53.
    pub listen: Vec<SocketAddr>,
    /// The DNS servers for all other names; by default those of `/etc/resolv.conf`.
    pub upstream: Vec<SocketAddr>,
    /// Docker's API socket; `/run/docker.sock` by default.
    pub docker: PathBuf,
    /// The least time between two commits of names; 10 s by default.
    pub interval: Duration,
}

/// The table `[nudge]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NudgeConfig {
    /// Whether this host tells the others at once that it has published, and hears of what they have; so by default.
    pub enabled: bool,
    /// The UDP port, the same on all hosts; 4214 by default.
    pub port: u16,
    /// The address that nudges are heard on; by default this host's address.
    pub listen: Option<IpAddr>,
    /// Where push webhooks of a Git server are heard; by default nowhere.
    pub webhook: Option<SocketAddr>,
    /// A file whose first line is the secret that the Git server signs its webhooks with.
    pub webhook_secret_file: Option<PathBuf>,
}

/// The table `[store]`.
#[derive(Clone, PartialEq)]
pub struct StoreConfig {
    /// Which store; `git` by default.
    pub kind: String,
    /// The table `[store.KIND]` as it stands, for the store to read. It may hold secrets.
    pub table: serde_json::Value,
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The table `[daemon]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonConfig {
    /// What must outlive the daemon; `/var/lib/ipvland` by default.
    pub state_dir: PathBuf,
    /// The socket that Docker calls; `/run/docker/plugins/ipvland.sock` by default.
    pub socket: PathBuf,
}

/// The table `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// The level or filter, in the syntax of tracing's `EnvFilter`; `info` by default.
    pub filter: String,
    /// Whether each line is a JSON object.
    pub json: bool,
}
