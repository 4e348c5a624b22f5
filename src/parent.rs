//! Which interface of this host is meant by a parent: a name, a pattern of names, or a subnet that it has an address in.
//!
//! So one network, made with the same words everywhere, and one config file fit hosts whose interfaces have other names.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use crate::kernel::{Address, Link, LinkKind};

/// The longest name of an interface in bytes (`IFNAMSIZ` of `linux/if.h`, less the zero at the end).
pub(crate) const MAX_NAME: usize = 15;

/// How a parent is named, on the way to an interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// This interface, whether it is there or not: `eth2`, `eth2.20`.
    Name(String),
    /// The one interface whose name fits: `en*`, `eth?`, `en*.20`. Neither `*` nor `?` stands for a dot, so that an
    /// interface is told from the VLANs on it.
    Pattern(String),
    /// The interface that has an address in a subnet, `10.1.1.0/24`, or a VLAN on it, `10.1.1.0/24.20`.
    Subnet(IpNet, Option<String>),
}

impl FromStr for Parent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return subnet(text);
        }
        // The kernel's rule: dev_valid_name in net/core/dev.c.
        let letters = text.chars().all(|letter| !letter.is_whitespace() && letter != ':');
        if !letters || text.is_empty() || text == "." || text == ".." {
            return Err(format!("{text:?} is not the name of an interface"));
        }
        if text.contains(['*', '?']) {
            return Ok(Self::Pattern(text.to_owned()));
        }
        if text.len() > MAX_NAME {
            return Err(format!(
                "{text:?} is not the name of an interface, which has at most {MAX_NAME} bytes"
            ));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

fn subnet(text: &str) -> Result<Parent, String> {
    let wrong = || format!("{text:?} is neither the name of an interface nor a subnet such as 10.1.1.0/24");
    let (address, rest) = text.split_once('/').ok_or_else(wrong)?;
    let (length, vlan) = match rest.split_once('.') {
        Some((length, vlan)) => (length, Some(vlan.to_owned())),
        None => (rest, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let net = length.parse().ok().and_then(|length| IpNet::new(address, length).ok()).ok_or_else(wrong)?;
    Ok(Parent::Subnet(net.trunc(), vlan))
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Pattern(name) => f.write_str(name),
            Self::Subnet(net, None) => write!(f, "{net}"),
            Self::Subnet(net, Some(vlan)) => write!(f, "{net}.{vlan}"),
        }
    }
}

impl Parent {
    /// Returns the name of the interface that is meant on this host. A name is itself; so is that of a VLAN which can be
    /// made on what is meant.
    ///
    /// # Errors
    /// A lower-case sentence that lists what there is: nothing fits, or more than one interface does.
    pub fn on(&self, links: &[Link], addresses: &[Address]) -> Result<String, String> {
        match self {
            Self::Name(name) => Ok(name.clone()),
            Self::Pattern(pattern) => self.by_pattern(pattern, links),
            Self::Subnet(net, vlan) => {
                let has = |link: &&Link| {
                    addresses
                        .iter()
                        .any(|address| address.link == link.index && net.contains(&address.net.addr()))
                };
                let name = self.only(links.iter().filter(carries).filter(has).collect(), links)?;
                Ok(vlan.as_ref().map_or_else(|| name.to_owned(), |vlan| format!("{name}.{vlan}")))
            }
        }
    }

    fn by_pattern(&self, pattern: &str, links: &[Link]) -> Result<String, String> {
        let fits = |pattern: &str| -> Vec<&Link> {
            links.iter().filter(carries).filter(|link| is_like(&link.name, pattern)).collect()
        };
        let found = fits(pattern);
        match pattern.rsplit_once('.') {
            // The VLAN may be ours to make.
            Some((base, vlan)) if found.is_empty() && !vlan.contains(['*', '?']) => {
                Ok(format!("{}.{vlan}", self.only(fits(base), links)?))
            }
            _ => self.only(found, links).map(str::to_owned),
        }
    }

    fn only<'a>(&self, found: Vec<&'a Link>, links: &[Link]) -> Result<&'a str, String> {
        let meant = match self {
            Self::Subnet(net, _) => format!("has an address in {net}"),
            _ => format!("has a name like {self}"),
        };
        match found[..] {
            [link] => Ok(&link.name),
            [] => {
                let names: Vec<_> = links.iter().filter(carries).map(|link| &*link.name).collect();
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(format!("no interface of this host {meant} (there are: {there})"))
            }
            _ => {
                let names: Vec<_> = found.iter().map(|link| &*link.name).collect();
                Err(format!(
                    "more than one interface of this host {meant}: {}; name one of them",
                    names.join(", ")
                ))
            }
        }
    }
}

/// Says whether a link may be meant: it can carry containers, and isn't of our making.
fn carries(link: &&Link) -> bool {
    !link.loopback && !link.is_ours() && !matches!(link.kind, LinkKind::Ipvlan(..) | LinkKind::Macvlan)
}

/// Says whether a name fits a pattern of letters, `*` (any letters but dots, or none) and `?` (one letter but a dot).
fn is_like(name: &str, pattern: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            let before_dot = name.find('.').unwrap_or(name.len());
            let mut places = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            places.any(|at| at <= before_dot && is_like(&name[at..], rest))
        }
        Some(wanted) => {
            let mut rest = name.chars();
            rest.next().is_some_and(|letter| letter == wanted || (wanted == '?' && letter != '.'))
                && is_like(rest.as_str(), letters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: LinkKind::Other(String::new()),
            parent: None,
            alias: String::new(),
            mtu: 1500,
            up: true,
            loopback: name == "lo",
            mac: None,
        }
    }

    fn host(names: &[(&str, &str)]) -> (Vec<Link>, Vec<Address>) {
        let mut links = vec![link(1, "lo"), Link { alias: "ipvland:x".into(), ..link(2, "ipvl0") }];
        let mut addresses = vec![];
        for (index, (name, address)) in (3..).zip(names) {
            links.push(link(index, name));
            addresses.push(Address { link: index, net: address.parse().unwrap(), global: true });
        }
        (links, addresses)
    }

    fn chosen(parent: &str, names: &[(&str, &str)]) -> Result<String, String> {
        let (links, addresses) = host(names);
        parent.parse::<Parent>()?.on(&links, &addresses)
    }

    const ONE: &[(&str, &str)] =
        &[("eno1", "10.1.1.48/24"), ("eno1.7", "10.7.0.1/24"), ("docker0", "172.17.0.1/16")];

    #[test]
    fn a_name_is_itself_and_a_pattern_finds_one() {
        assert_eq!(chosen("eth9", ONE).unwrap(), "eth9", "what is missing is for others to say");
        for pattern in ["en*", "*1", "eno?", "e*o*", "eno1*"] {
            assert_eq!(chosen(pattern, ONE).unwrap(), "eno1", "{pattern}");
        }
        assert_eq!(chosen("en*.7", ONE).unwrap(), "eno1.7");
        assert_eq!(chosen("en*.20", ONE).unwrap(), "eno1.20", "a VLAN to be made");
        assert_eq!(chosen("*.*", ONE).unwrap(), "eno1.7");
    }

    #[test]
    fn a_subnet_finds_who_has_an_address_in_it() {
        assert_eq!(chosen("10.1.1.0/24", ONE).unwrap(), "eno1");
        assert_eq!(
            chosen("10.0.0.0/13", ONE).unwrap_err(),
            "more than one interface of this host has an address in 10.0.0.0/13: eno1, eno1.7; name one of them"
        );
        assert_eq!(chosen("10.1.1.7/24.20", ONE).unwrap(), "eno1.20");
        assert_eq!(
            chosen("10.9.0.0/24", ONE).unwrap_err(),
            "no interface of this host has an address in 10.9.0.0/24 (there are: eno1, eno1.7, docker0)"
        );
    }

    #[test]
    fn more_than_one_and_none_are_said() {
        let two = &[("eth0", "10.1.1.1/24"), ("eth1", "10.2.1.1/24")];
        assert_eq!(
            chosen("eth*", two).unwrap_err(),
            "more than one interface of this host has a name like eth*: eth0, eth1; name one of them"
        );
        assert_eq!(
            chosen("wlan*.5", &[]).unwrap_err(),
            "no interface of this host has a name like wlan*.5 (there are: none)"
        );
    }

    #[test]
    fn what_names_no_interface_is_refused() {
        for text in ["", ".", "..", "a b", "a:b", "a-name-too-long-for-linux", "10.1.1.0/33", "x/24", "/"] {
            assert!(text.parse::<Parent>().is_err(), "{text}");
        }
    }
}
