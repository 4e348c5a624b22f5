//! From wanted and installed routes to the changes of the table: pure functions.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{
    kernel::{LinkIndex, ROUTE_PROTOCOL, Route, RouteOp},
    policy::Accepted,
};

/// A prefix that somebody else routes already: theirs stays, ours is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The route that we found.
    pub theirs: Route,
    /// The route that we would have installed.
    pub ours: Route,
}

/// What is to be done to make the table equal to what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in order: additions and replacements before removals, so that a prefix that stays wanted is never
    /// without a route. Only second routes with one prefix and metric go first, as a replacement would be ambiguous.
    pub ops: Vec<RouteOp>,
    /// The prefixes that are left to somebody else.
    pub foreign: Vec<Foreign>,
}

/// The lowest metric of our routes.
///
/// Above what operators, DHCP clients and the kernel give by themselves (0 for IPv4, 1,024 for IPv6, 100 to 1,024 from
/// network managers), so that anybody else's route for the same prefix wins.
pub const METRIC_BASE: u32 = 4096;

/// How many metrics our routes are spread over, from [`METRIC_BASE`] up.
///
/// The kernel keeps next hops of one device in a hash bucket that is chosen by metric, among others, but not by gateway:
/// with one metric, 10,000 routes with distinct gateways take over a second, and with these 36 ms.
pub const METRICS: u32 = 4096;

/// Returns the metric of the route for a prefix.
///
/// It depends on the prefix alone, so that a change of the next hop is one atomic replacement. The hash is FNV-1a
/// (draft-eastlake-fnv) over the address and the length: the same in every version and build, so that a daemon after an
/// upgrade finds its routes as it left them.
pub fn metric(prefix: IpNet) -> u32 {
    let length = prefix.prefix_len();
    let hash = match prefix.network() {
        std::net::IpAddr::V4(address) => fnv1a(&address.octets(), length),
        std::net::IpAddr::V6(address) => fnv1a(&address.octets(), length),
    };
    // The low bits of FNV-1a are its weakest; folding the high half in spreads neighbours well.
    METRIC_BASE + (hash ^ (hash >> 16)) % METRICS
}

fn fnv1a(address: &[u8], length: u8) -> u32 {
    let bytes = address.iter().copied().chain([length]);
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Returns the routes for what was accepted: by the parent, with our protocol number and a metric spread by prefix.
pub fn wanted(accepted: &[Accepted], parent: LinkIndex) -> Vec<Route> {
    let routes = accepted.iter().map(|accepted| Route {
        prefix: accepted.prefix,
        gateway: Some(accepted.next_hop),
        link: Some(parent),
        protocol: ROUTE_PROTOCOL,
        metric: metric(accepted.prefix),
        source: None,
        mtu: None,
    });
    routes.collect()
}

/// Compares wanted with installed routes.
///
/// Routes with our protocol number are made equal to what is wanted; others are never touched. A prefix that another
/// protocol routes, with whatever metric and by whatever link, is left to it. Of several wanted routes with one prefix
/// the first in order counts.
pub fn plan(wanted: &[Route], installed: &[Route]) -> Plan {
    let mut prefixes: BTreeMap<IpNet, Prefix<'_>> = BTreeMap::new();
    for route in wanted {
        let slot = &mut prefixes.entry(route.prefix).or_default().wanted;
        *slot = Some(slot.map_or(route, |other| other.min(route)));
    }
    for route in installed {
        let prefix = prefixes.entry(route.prefix).or_default();
        if route.protocol == ROUTE_PROTOCOL {
            prefix.ours.push(route);
        } else {
            let slot = &mut prefix.theirs;
            *slot = Some(slot.map_or(route, |other| if rank(route) < rank(other) { route } else { other }));
        }
    }
    let (mut doubles, mut additions, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    let mut foreign = Vec::new();
    for prefix in prefixes.values_mut() {
        prefix.ours.sort_unstable();
        let ours = &prefix.ours;
        let remove = |route: &&Route| RouteOp::Remove((*route).clone());
        let (Some(wanted), None) = (prefix.wanted, prefix.theirs) else {
            removals.extend(ours.iter().map(remove));
            if let (Some(wanted), Some(theirs)) = (prefix.wanted, prefix.theirs) {
                foreign.push(Foreign { theirs: theirs.clone(), ours: wanted.clone() });
            }
            continue;
        };
        let (same, other): (Vec<&Route>, Vec<&Route>) =
            ours.iter().copied().partition(|route| route.metric == wanted.metric);
        if same.contains(&wanted) {
            removals.extend(same.iter().filter(|route| **route != wanted).map(remove));
        } else if let Some((_, others)) = same.split_first() {
            doubles.extend(others.iter().map(remove));
            additions.push(RouteOp::Replace(wanted.clone()));
        } else {
            additions.push(RouteOp::Add(wanted.clone()));
        }
        removals.extend(other.iter().map(remove));
    }
    let ops = doubles.into_iter().chain(additions).chain(removals).collect();
    Plan { ops, foreign }
}

impl Plan {
    /// Drops every change of a route that is there, for records that may be older than the kernel's routes. Routes that
    /// don't come from records, `but`, are changed all the same.
    pub fn additions_only(mut self, but: impl Fn(&Route) -> bool) -> Self {
        self.ops.retain(|op| matches!(op, RouteOp::Add(_)) || but(op.route()));
        self
    }
}

/// What is known of one prefix.
#[derive(Default)]
struct Prefix<'a> {
    wanted: Option<&'a Route>,
    ours: Vec<&'a Route>,
    /// The foreign route that the kernel prefers.
    theirs: Option<&'a Route>,
}

fn rank(route: &Route) -> (u32, &Route) {
    (route.metric, route)
}
