//! What the kernel's error numbers mean to an operator.
//!
//! Netlink answers with a number and at times with words (`NLMSGERR_ATTR_MSG`), which are a developer's: "Nexthop has invalid
//! gateway". So the sentences are written here, and the kernel's own words are told where they know more than we do.

use rustix::io::Errno;

use super::{Link, LinkKind, NewLink, RouteOp};

/// What already exists (`EEXIST`).
pub const EXIST: i32 = Errno::EXIST.raw_os_error();
/// What is not there (`ESRCH`), as the kernel says of routes.
pub const NO_ROUTE: i32 = Errno::SRCH.raw_os_error();
/// What is not there (`ENODEV`), as the kernel says of links.
pub const NO_LINK: i32 = Errno::NODEV.raw_os_error();
/// A table that is not there yet (`ENOENT`): nothing ever was in it.
pub const NO_TABLE: i32 = Errno::NOENT.raw_os_error();
/// A family that the kernel has not (`EAFNOSUPPORT`).
pub const NO_FAMILY: i32 = Errno::AFNOSUPPORT.raw_os_error();
/// A parent that is used otherwise (`EBUSY`).
pub const BUSY: i32 = Errno::BUSY.raw_os_error();
/// A next hop that isn't on a connected subnet, or a link without addresses (`ENETUNREACH`).
pub const UNREACHABLE: i32 = Errno::NETUNREACH.raw_os_error();
/// A value that the kernel does not take (`EINVAL`).
pub const INVALID: i32 = Errno::INVAL.raw_os_error();
/// An address that another container of the same parent has (`EADDRINUSE`).
pub const IN_USE: i32 = Errno::ADDRINUSE.raw_os_error();
/// An address that is not there (`EADDRNOTAVAIL`).
pub const NO_ADDRESS: i32 = Errno::ADDRNOTAVAIL.raw_os_error();
/// A link that is down (`ENETDOWN`).
pub const DOWN: i32 = Errno::NETDOWN.raw_os_error();

/// Returns what an error number means whatever was asked, with the number behind it.
pub fn meaning(errno: i32) -> String {
    let words = match Errno::from_raw_os_error(errno) {
        Errno::PERM | Errno::ACCESS => {
            "not allowed; run ipvland as root, or with the capability CAP_NET_ADMIN"
        }
        Errno::EXIST => "it exists already",
        Errno::BUSY => "it is in use otherwise",
        Errno::NODEV | Errno::NXIO => "there is no such interface",
        Errno::NOENT | Errno::SRCH => "it is not there",
        Errno::ADDRINUSE => "another container on the same parent has the address",
        Errno::NETDOWN => "the interface is down; raise it with `ip link set NAME up`",
        Errno::NETUNREACH | Errno::HOSTUNREACH => {
            "the next hop is not on a subnet of the interface, or the interface is down"
        }
        Errno::INVAL => "the kernel takes one of the values for invalid",
        Errno::RANGE => "a value is out of the range that the kernel allows",
        Errno::OPNOTSUPP => {
            "this kernel has no driver for it; load the module (`modprobe ipvlan`, `modprobe 8021q`)"
        }
        Errno::AFNOSUPPORT => "this kernel has the address family switched off; IPv6 needs `ipv6.disable=0`",
        Errno::NOMEM | Errno::NOBUFS => "the kernel is out of memory",
        Errno::MFILE | Errno::NFILE => "too many open files; raise the limit (`LimitNOFILE=`)",
        _ => return std::io::Error::from_raw_os_error(errno).to_string().to_lowercase(),
    };
    format!("{words} (errno {errno})")
}

/// Returns what an error number means for a change of a route, given the name of its link and what else the kernel said.
pub fn route_meaning(errno: i32, told: Option<&str>, op: &RouteOp, link: &str) -> String {
    let route = op.route();
    // `EINVAL` has many reasons, of which ours are the likely ones.
    let aside = |words: String| match told {
        Some(told) => format!("{words}; it says \"{told}\""),
        None => words,
    };
    let words = match (Errno::from_raw_os_error(errno), route.gateway) {
        (Errno::NETUNREACH | Errno::HOSTUNREACH, Some(hop)) => {
            format!("the next hop {hop} is not on a subnet of {link}, or {link} is down")
        }
        (Errno::INVAL, Some(hop)) => aside(format!(
            "the kernel refuses {hop} as a next hop on {link}; it may be an address of this host, or not a single host's"
        )),
        (Errno::INVAL, None) => aside(format!(
            "the kernel refuses it on {link}; the source that it names may be no address of this host any more"
        )),
        (Errno::NETDOWN, _) => format!("{link} is down; raise it with `ip link set {link} up`"),
        (Errno::NODEV, _) => format!("the interface {link} is gone"),
        (Errno::EXIST, _) => {
            format!("another route to {} has the metric {} already", route.prefix, route.metric)
        }
        (Errno::PERM | Errno::ACCESS | Errno::NOMEM | Errno::NOBUFS, _) => return meaning(errno),
        _ => match told {
            Some(told) => format!("the kernel says \"{told}\""),
            None => return meaning(errno),
        },
    };
    format!("{words} (errno {errno})")
}

/// Returns what an error number means for a new link, given all links that there are.
pub fn link_meaning(errno: i32, name: &str, new: &NewLink, links: &[Link]) -> String {
    let parent = new.parent();
    let on =
        links.iter().find(|link| Some(link.index) == parent).map_or("the parent", |link| link.name.as_str());
    let words = match (Errno::from_raw_os_error(errno), new) {
        (Errno::BUSY, NewLink::Ipvlan { .. }) => {
            let macvlan = links.iter().find(|link| link.kind == LinkKind::Macvlan && link.parent == parent);
            match macvlan {
                Some(other) => format!(
                    "{on} already carries macvlan links ({}); ipvlan and macvlan can't share a parent",
                    other.name
                ),
                None => format!(
                    "{on} is used otherwise, by a bridge, a bond, or macvlan links that are inside containers"
                ),
            }
        }
        (Errno::EXIST, NewLink::Vlan { id, .. }) => {
            format!("{on} already has VLAN {id}, or an interface {name}")
        }
        (Errno::EXIST, NewLink::Ipvlan { .. } | NewLink::Dummy { .. }) => {
            format!("an interface {name} exists already")
        }
        (Errno::NODEV, _) => "the parent interface is gone".to_owned(),
        (Errno::INVAL, NewLink::Ipvlan { mtu: Some(mtu), .. }) => {
            format!(
                "{on} can't carry ipvlan links, being loopback or not Ethernet, or the MTU {mtu} doesn't fit it"
            )
        }
        (Errno::INVAL, NewLink::Ipvlan { .. } | NewLink::Vlan { .. }) => {
            format!("{on} can't carry such links, being loopback or not Ethernet")
        }
        (Errno::OPNOTSUPP, NewLink::Ipvlan { .. }) => {
            "this kernel has no ipvlan driver; load it with `modprobe ipvlan`".to_owned()
        }
        (Errno::OPNOTSUPP, NewLink::Vlan { .. }) => {
            "this kernel has no VLAN driver; load it with `modprobe 8021q`".to_owned()
        }
        (Errno::OPNOTSUPP, NewLink::Dummy { .. }) => {
            "this kernel has no dummy driver; load it with `modprobe dummy`".to_owned()
        }
        _ => return meaning(errno),
    };
    format!("{words} (errno {errno})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Flag, Mode, Route};

    fn add(prefix: &str, hop: &str) -> RouteOp {
        RouteOp::Add(Route {
            prefix: prefix.parse().unwrap(),
            gateway: Some(hop.parse().unwrap()),
            link: Some(2),
            protocol: 214,
            metric: 7,
            source: None,
            mtu: None,
        })
    }

    #[test]
    fn a_next_hop_out_of_reach_is_named_with_its_interface() {
        assert_eq!(
            route_meaning(UNREACHABLE, Some("No way"), &add("10.1.51.0/24", "10.1.1.51"), "eth2"),
            "the next hop 10.1.1.51 is not on a subnet of eth2, or eth2 is down (errno 101)"
        );
    }

    #[test]
    fn the_kernels_words_are_told_where_they_know_more() {
        let op = add("10.1.51.0/24", "10.1.1.51");
        assert_eq!(
            route_meaning(95, Some("IPv4: route type not supported"), &op, "eth2"),
            "the kernel says \"IPv4: route type not supported\" (errno 95)"
        );
        assert!(
            route_meaning(INVALID, Some("Invalid prefix"), &op, "eth2")
                .ends_with("; it says \"Invalid prefix\" (errno 22)")
        );
        assert_eq!(route_meaning(1, Some("No"), &op, "eth2"), meaning(1));
    }

    #[test]
    fn a_macvlan_on_the_parent_is_named() {
        let link = |index, name: &str, kind, parent| Link {
            index,
            name: name.into(),
            kind,
            parent,
            alias: String::new(),
            mtu: 1500,
            up: true,
            loopback: false,
            mac: None,
        };
        let links = [
            link(2, "eth2", LinkKind::Other(String::new()), None),
            link(3, "vm0", LinkKind::Macvlan, Some(2)),
        ];
        let new = NewLink::Ipvlan { parent: 2, mode: Mode::L3, flag: Flag::Bridge, mtu: None };
        assert_eq!(
            link_meaning(BUSY, "ipvl0", &new, &links),
            "eth2 already carries macvlan links (vm0); ipvlan and macvlan can't share a parent (errno 16)"
        );
    }

    #[test]
    fn every_error_number_has_a_lower_case_clause() {
        for errno in 1..=133 {
            let text = meaning(errno);
            assert!(!text.is_empty() && !text.starts_with(|c: char| c.is_uppercase()), "{errno}: {text}");
        }
    }
}
