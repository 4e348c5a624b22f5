//! One container's ipvlan link: made in the host's namespace, marked as ours, and handed to Docker.
//!
//! Whatever is made here carries an alias that starts with [`ALIAS_PREFIX`]: `ipvland:ENDPOINT` on a container's link,
//! [`PARENT_ALIAS`] on a VLAN or dummy parent. Nothing without it is ever removed. The device by which the host itself
//! reaches containers is [`host_access`]'s to make and remove, and goes with a parent of ours.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use crate::{
    host_access,
    kernel::{ALIAS_PREFIX, Kernel, KernelError, Link, LinkIndex, LinkKind, Mode, NewLink},
    network::Network,
    parent::{MAX_NAME, Parent as Meant},
};

/// The alias of a parent interface that we made.
pub const PARENT_ALIAS: &str = "ipvland:parent";

/// The beginning of the names of containers' links, followed by the first digits of Docker's endpoint id.
pub const LINK_PREFIX: &str = "ipvl";

/// The beginning of the names of dummy parents, followed by the first digits of Docker's network id; Docker's own driver
/// names them so.
const DUMMY_PREFIX: &str = "di-";

/// How many digits of the endpoint id are in a link's name: with the prefix, the 15 bytes that Linux allows.
const LINK_DIGITS: usize = 11;

/// Why a link or a parent can't be had: one lower-case sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was asked for can't be.
    #[error("{0}")]
    Refused(String),
    /// The kernel said no.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The result of making and removing links.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A parent interface that is ready to carry ipvlan links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its index.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is of our making, now or before a crash; who asked removes it with its last network.
    pub made: bool,
    /// Whether it is up. One that is down carries links, and no packets.
    pub up: bool,
}

/// Makes and removes containers' links.
#[derive(Debug, Clone)]
pub struct Datapath {
    kernel: Arc<dyn Kernel>,
}

/// Returns the name of the link of one of Docker's endpoints.
pub fn link_name(endpoint: &str) -> String {
    let digits: String = endpoint.chars().filter(char::is_ascii_alphanumeric).take(LINK_DIGITS).collect();
    format!("{LINK_PREFIX}{digits}")
}

/// Returns the name of the dummy parent of one of Docker's networks that has no other.
pub fn dummy_name(network: &str) -> String {
    format!("{DUMMY_PREFIX}{}", crate::network::short_id(network))
}

fn alias(endpoint: &str) -> String {
    format!("{ALIAS_PREFIX}{endpoint}")
}

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Refused(why.into()))
}

impl Datapath {
    /// Makes a datapath on a kernel.
    pub fn new(kernel: Arc<dyn Kernel>) -> Self {
        Self { kernel }
    }

    /// Returns the name of the interface of this host that a parent means, by a pattern or a subnet perhaps.
    ///
    /// # Errors
    /// When nothing on this host is meant, or more than one interface is.
    pub async fn find_parent(&self, parent: &str) -> Result<String> {
        let parent: Meant = parent.parse().map_err(Error::Refused)?;
        if let Meant::Name(name) = parent {
            return Ok(name);
        }
        let (links, addresses) = (self.kernel.links().await?, self.kernel.addresses().await?);
        parent.on(&links, &addresses).map_err(Error::Refused)
    }

    /// Makes a parent interface ready for links of a mode: finds it, or makes it where it is a VLAN `BASE.ID` that isn't
    /// there, and checks that nothing on it gets in the way.
    ///
    /// `networks` are the networks of this host other than the one that asks.
    ///
    /// # Errors
    /// When there is no such interface and it is no VLAN; when it is loopback; when macvlan links, or ipvlan links of
    /// another mode, are on it, which the sentence names; when the MTU is larger than its own.
    pub async fn prepare_parent<'a>(
        &self,
        name: &str,
        mode: Mode,
        mtu: Option<u32>,
        networks: impl IntoIterator<Item = &'a Network>,
    ) -> Result<Parent> {
        check_mode_of_networks(name, mode, networks)?;
        let links = self.kernel.links().await?;
        if let Some(parent) = links.iter().find(|link| link.name == name) {
            check_parent(parent, mode, mtu, &links)?;
            if !parent.up {
                tracing::warn!(
                    parent = name,
                    "the parent interface is down: containers on it reach nobody until it is raised"
                );
            }
            return Ok(Parent {
                index: parent.index,
                name: name.into(),
                mtu: parent.mtu,
                made: parent.alias == PARENT_ALIAS,
                up: parent.up,
            });
        }
        let (base, id) = self.split_vlan(name, &links)?;
        check_mtu(base, mtu)?;
        let index =
            match self.kernel.add_link(name, PARENT_ALIAS, NewLink::Vlan { parent: base.index, id }).await {
                Ok(index) => index,
                Err(error) => return Err(error.into()),
            };
        tracing::info!(parent = name, base = %base.name, vlan = id, "VLAN parent made");
        Ok(Parent { index, name: name.into(), mtu: base.mtu, made: true, up: true })
    }

    /// Makes the dummy that a network without another parent sits on, unless it is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn prepare_dummy(&self, name: &str, mtu: Option<u32>) -> Result<()> {
        if self.kernel.links().await?.iter().any(|link| link.name == name) {
            return Ok(());
        }
        self.kernel.add_link(name, PARENT_ALIAS, NewLink::Dummy { mtu }).await?;
        tracing::info!(parent = name, "dummy parent made: its containers reach each other alone");
        Ok(())
    }

    fn split_vlan<'a>(&self, name: &str, links: &'a [Link]) -> Result<(&'a Link, u16)> {
        let missing = format!("there is no interface {name} on this host");
        let known: Vec<_> =
            links.iter().filter(|link| !link.loopback && !link.is_ours()).map(|l| &*l.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let Some((base, id)) = name.rsplit_once('.') else {
            return refused(format!(
                "{missing} (there are: {known}); name one of them with `-o parent=NAME`, or a VLAN of one as NAME.ID"
            ));
        };
        let Some(base) = links.iter().find(|link| link.name == base) else {
            return refused(format!(
                "{missing}, nor {base} to make the VLAN {id} on (there are: {known}); name one with `-o parent=NAME`"
            ));
        };
        if base.loopback {
            return refused(format!(
                "{} is the loopback device and can't carry VLANs; name another parent",
                base.name
            ));
        }
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
        let id = match id.parse::<u16>() {
            Ok(id @ 1..=4094) if plain => id,
            _ => {
                return refused(format!(
                    "{missing}, and {id} is no VLAN id: give a number from 1 to 4094 after the dot"
                ));
            }
        };
        if name.len() > MAX_NAME {
            return refused(format!(
                "the VLAN {name} can't be made: names of interfaces have at most {MAX_NAME} bytes; make it under a shorter \
                 name with `ip link add link {} name NAME type vlan id {id}`, and name that as the parent",
                base.name
            ));
        }
        Ok((base, id))
    }

    /// Removes a parent interface that we made, if nothing is on it. Tells whether it is gone.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub async fn remove_parent(&self, name: &str) -> Result<bool> {
        let links = self.kernel.links().await?;
        let Some(parent) = links.iter().find(|link| link.name == name) else {
            return Ok(true);
        };
        if parent.alias != PARENT_ALIAS {
            tracing::warn!(
                parent = name,
                "a parent interface that does not bear our mark any more is left in place"
            );
            return Ok(false);
        }
        let sits_on_it = |link: &&Link| link.parent == Some(parent.index) && !host_access::is_device(link);
        if let Some(other) = links.iter().find(sits_on_it) {
            tracing::warn!(parent = name, link = %other.name, "a parent interface that something sits on is left in place");
            return Ok(false);
        }
        self.kernel.delete_link(parent.index).await?;
        tracing::info!(parent = name, "parent of our making removed");
        Ok(true)
    }

    /// Makes the link of an endpoint and returns its name. One that is there already is used if it is alike, and else made
    /// anew.
    ///
    /// # Errors
    /// When the parent is gone or unfit (see [`Datapath::prepare_parent`]), or the name belongs to somebody else.
    pub async fn add(&self, endpoint: &str, network: &Network) -> Result<String> {
        let mut links = self.kernel.links().await?;
        if network.made_parent && !links.iter().any(|link| link.name == network.parent) {
            // The machine was started anew: Docker restores the network, and the VLAN or dummy below it is ours to restore.
            if network.parent == dummy_name(&network.id) {
                self.prepare_dummy(&network.parent, network.mtu).await?;
            }
            self.prepare_parent(&network.parent, network.mode, network.mtu, []).await?;
            links = self.kernel.links().await?;
        }
        let Some(parent) = links.iter().find(|link| link.name == network.parent) else {
            return refused(format!(
                "the parent interface {} of the network {} is gone; bring it back, or remove the network",
                network.parent, network.name
            ));
        };
        let name = link_name(endpoint);
        if let Some(old) = links.iter().find(|link| link.name == name) {
            if !is_of(old, endpoint) {
                return refused(format!(
                    "the interface {name} exists and is not ours; remove it with `ip link delete {name}` or rename it"
                ));
            }
            let alike = old.kind == LinkKind::Ipvlan(network.mode, network.flag)
                && old.parent == Some(parent.index)
                && old.alias == alias(endpoint)
                && old.mtu == network.mtu.unwrap_or(parent.mtu);
            if alike {
                return Ok(name);
            }
            self.kernel.delete_link(old.index).await?;
        }
        check_parent(parent, network.mode, network.mtu, &links)?;
        let new = NewLink::Ipvlan {
            parent: parent.index,
            mode: network.mode,
            flag: network.flag,
            mtu: network.mtu,
        };
        self.kernel.add_link(&name, &alias(endpoint), new).await?;
        tracing::debug!(link = name, parent = %parent.name, mode = %network.mode, "endpoint link made");
        Ok(name)
    }

    /// Removes the link of an endpoint from the host's namespace; one that is gone, or inside a container, is no error.
    ///
    /// # Errors
    /// When the kernel refuses, or the link of that name belongs to somebody else.
    pub async fn remove(&self, endpoint: &str) -> Result<()> {
        let name = link_name(endpoint);
        let links = self.kernel.links().await?;
        // Docker gives a link back under the name that it had inside the container, when it can't rename it.
        let ours = links.iter().find(|link| link.alias == alias(endpoint));
        match ours.or_else(|| links.iter().find(|link| link.name == name)) {
            None => Ok(()),
            Some(link) if is_of(link, endpoint) => {
                self.kernel.delete_link(link.index).await?;
                tracing::debug!(link = %link.name, "endpoint link removed");
                Ok(())
            }
            Some(_) => {
                refused(format!("the interface {name} is not ours and is left in place; remove it by hand"))
            }
        }
    }

    /// Removes the link of an endpoint inside a container, given the file of its network namespace; one that is not there
    /// is no error.
    ///
    /// Docker takes links out by itself, but for those that it lost sight of in a restart.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_inside(&self, endpoint: &str, namespace: &Path) -> Result<()> {
        if self.kernel.delete_link_inside(namespace, &alias(endpoint)).await? {
            tracing::info!(
                endpoint = crate::network::short_id(endpoint),
                namespace = %namespace.display(),
                "the link of an endpoint that Docker left inside its container is removed"
            );
        }
        Ok(())
    }

    /// Removes the links in the host's namespace that were made for endpoints which are not among `known`: what a crash
    /// left. Returns the names of those that went.
    ///
    /// Links inside containers are out of sight and keep working. A link that can't be removed is warned about.
    ///
    /// # Errors
    /// When the kernel can't list its links.
    pub async fn sweep<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
        let known: Vec<_> = known.into_iter().collect();
        let aliases: BTreeSet<_> = known.iter().map(|endpoint| alias(endpoint)).collect();
        let names: BTreeSet<_> = known.iter().map(|endpoint| link_name(endpoint)).collect();
        let mut gone = Vec::new();
        for link in self.kernel.links().await? {
            let ours = match link.alias.as_str() {
                PARENT_ALIAS => false,
                _ if host_access::is_device(&link) => false,
                "" => has_our_name(&link) && !names.contains(&link.name),
                alias => alias.starts_with(ALIAS_PREFIX) && !aliases.contains(alias),
            };
            if !ours || !matches!(link.kind, LinkKind::Ipvlan(..)) {
                continue;
            }
            match self.kernel.delete_link(link.index).await {
                Ok(()) => {
                    tracing::info!(link = %link.name, "orphaned endpoint link removed");
                    gone.push(link.name);
                }
                Err(error) => tracing::warn!(link = %link.name, %error, "an orphaned endpoint link stays"),
            }
        }
        Ok(gone)
    }
}

/// Tells whether a link was made for an endpoint: by its alias, or, where we died before setting one, by name and kind.
fn is_of(link: &Link, endpoint: &str) -> bool {
    link.alias == alias(endpoint)
        || link.alias.is_empty()
            && link.name == link_name(endpoint)
            && matches!(link.kind, LinkKind::Ipvlan(..))
}

/// Tells whether a link has a name of the form that we give: the prefix and as many hexadecimal digits as fit.
fn has_our_name(link: &Link) -> bool {
    link.name.strip_prefix(LINK_PREFIX).is_some_and(|digits| {
        digits.len() == LINK_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn check_mode_of_networks<'a>(
    parent: &str,
    mode: Mode,
    networks: impl IntoIterator<Item = &'a Network>,
) -> Result<()> {
    match networks.into_iter().find(|network| network.parent == parent && network.mode != mode) {
        Some(other) => refused(format!(
            "the parent {parent} carries the network {} in mode {}, and all networks of a parent share one mode; use \
             ipvlan_mode={}, or another parent such as a VLAN",
            other.name, other.mode, other.mode
        )),
        None => Ok(()),
    }
}

fn check_mtu(parent: &Link, mtu: Option<u32>) -> Result<()> {
    match mtu {
        Some(mtu) if mtu > parent.mtu => refused(format!(
            "the MTU {mtu} is larger than {} of the parent {}; take at most that, or raise the parent's with `ip link set {} \
             mtu {mtu}`",
            parent.mtu, parent.name, parent.name
        )),
        _ => Ok(()),
    }
}

/// Checks that links of a mode can sit on a parent beside those that it carries.
pub(crate) fn check_parent(parent: &Link, mode: Mode, mtu: Option<u32>, links: &[Link]) -> Result<()> {
    let name = &parent.name;
    if parent.loopback {
        return refused(format!(
            "{name} is the loopback device and can't carry containers; name another parent"
        ));
    }
    if let LinkKind::Ipvlan(..) | LinkKind::Macvlan = parent.kind {
        return refused(format!(
            "{name} is itself an ipvlan or macvlan link and can't be a parent; name the interface that it sits on"
        ));
    }
    check_mtu(parent, mtu)?;
    for link in links.iter().filter(|link| link.parent == Some(parent.index)) {
        match link.kind {
            LinkKind::Macvlan => {
                return refused(format!(
                    "{name} already carries macvlan links ({}); ipvlan and macvlan can't share a parent: use another one, \
                     such as a VLAN",
                    link.name
                ));
            }
            LinkKind::Ipvlan(other, _) if other != mode && !link.is_ours() => {
                return refused(format!(
                    "{name} already carries the ipvlan link {} in mode {other}, which a link in mode {mode} would rewrite; \
                     use ipvlan_mode={other}, or another parent such as a VLAN",
                    link.name
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
