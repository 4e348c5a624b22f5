//! Who this host is: its stable id, its name, its parent interface and its addresses there.

use std::{io, net::IpAddr, path::Path};

mod surroundings;

pub use surroundings::Surroundings;

use crate::{
    config::HostConfig,
    durable,
    kernel::{Kernel, Link},
    parent::Parent,
};

/// What doesn't change while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The stable id of the machine, made at the first start and kept in the state directory.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The parent interface, where there is one.
    pub interface: Option<String>,
}

/// How this host is reached on its parent interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The address that names the host.
    pub address: IpAddr,
    /// The next hops for its prefixes: the address, and the first global one of the other family.
    pub next_hops: Vec<IpAddr>,
}

impl Identity {
    /// Reads, or makes at the first start, who this host is.
    ///
    /// # Errors
    /// A sentence when the id can't be read or written, or the interface can't be looked for.
    pub async fn load(config: &HostConfig, state_dir: &Path, kernel: &dyn Kernel) -> Result<Self, String> {
        let interface = match &config.interface {
            Some(interface) => Some(find_interface(interface, kernel).await?),
            None => default_interface(kernel).await?,
        };
        let name = config.name.clone().unwrap_or_else(host_name);
        Ok(Self { id: machine_id(&state_dir.join("id"))?, name, interface })
    }
}

/// Returns the machine's name.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Reads the id from a file, or makes one.
///
/// It is drawn at random rather than taken from `/etc/machine-id`, which machines cloned from one image share.
fn machine_id(path: &Path) -> Result<String, String> {
    let file = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) => match uuid::Uuid::try_parse(text.trim()) {
            Ok(id) => Ok(id.to_string()),
            Err(_) => Err(format!(
                "{file} does not hold a UUID; put this machine's id from its record in the store there, or remove the \
                 file and withdraw the old record with `ipvland leave --force`"
            )),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().to_string();
            durable::write(path, format!("{id}\n").as_bytes()).map_err(|error| {
                format!("cannot write {file}: {error}; make the state directory writable")
            })?;
            Ok(id)
        }
        Err(error) => Err(format!("cannot read {file}: {error}")),
    }
}

/// Returns the interface of this host that the config means, by a pattern or a subnet perhaps.
async fn find_interface(wanted: &str, kernel: &dyn Kernel) -> Result<String, String> {
    let of_config = |problem: String| format!("host.interface = {wanted:?}: {problem}");
    let parent: Parent = wanted.parse().map_err(of_config)?;
    if let Parent::Name(name) = parent {
        return Ok(name);
    }
    let links = kernel.links().await.map_err(|error| error.to_string())?;
    let addresses = kernel.addresses().await.map_err(|error| error.to_string())?;
    parent.on(&links, &addresses).map_err(of_config)
}

/// Returns the interface that the default route with the lowest metric leaves by.
async fn default_interface(kernel: &dyn Kernel) -> Result<Option<String>, String> {
    let routes = kernel.routes().await.map_err(|error| error.to_string())?;
    let default = routes
        .iter()
        .filter(|route| route.prefix.prefix_len() == 0)
        .min_by_key(|route| (route.prefix.addr().is_ipv6(), route.metric))
        .and_then(|route| route.link);
    let links = kernel.links().await.map_err(|error| error.to_string())?;
    Ok(links.into_iter().find(|link| Some(link.index) == default).map(|link| link.name))
}

/// Returns how this host is reached now, or `None` while its interface has no address.
///
/// # Errors
/// A sentence when the kernel can't be asked.
pub async fn reach(
    config: &HostConfig,
    interface: Option<&str>,
    kernel: &dyn Kernel,
) -> Result<Option<Reach>, String> {
    let links = kernel.links().await.map_err(|error| error.to_string())?;
    let link = interface.and_then(|interface| links.iter().find(|link| link.name == interface));
    let addresses = match link {
        Some(link) => addresses_of(link, kernel).await?,
        None => Vec::new(),
    };
    let Some(address) = config.address.or_else(|| addresses.first().copied()) else { return Ok(None) };
    let other = addresses.iter().copied().find(|other| other.is_ipv4() != address.is_ipv4());
    Ok(Some(Reach { address, next_hops: std::iter::once(address).chain(other).collect() }))
}

/// Returns the global addresses of a link, IPv4 first.
async fn addresses_of(link: &Link, kernel: &dyn Kernel) -> Result<Vec<IpAddr>, String> {
    let addresses = kernel.addresses().await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|address| address.link == link.index && address.global)
        .map(|address| address.net.addr())
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}
