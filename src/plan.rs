//! From wanted and installed routes to the changes of the table: pure functions.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::kernel::{LinkIndex, ROUTE_PROTOCOL, Route, RouteOp};

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
/// The kernel keeps next hops of one device in a hash bucket that is chosen by metric, among others, but not by gateway
/// (`fib_info_hashfn` in its `net/ipv4/fib_semantics.c`), and compares each new one with all in its bucket. With one
/// metric, 10,000 routes with distinct gateways take 40 times as long as with these; with 4,096 metrics, 10,000 routes take
/// as long, but 30,000 a quarter longer, and 90,000 half as long again.
pub const METRICS: u32 = 65536;

/// Returns the metric of the route for a prefix.
///
/// It depends on the prefix alone, so that a change of the next hop is one atomic replacement. The hash is FNV-1a
/// (draft-eastlake-fnv) over the address and the length: the same in every version and build, so that a daemon after an
/// upgrade finds its routes as it left them.
pub fn metric(prefix: IpNet) -> u32 {
    let length = prefix.prefix_len();
    let hash = match prefix.network() {
        IpAddr::V4(address) => fnv1a(&address.octets(), length),
        IpAddr::V6(address) => fnv1a(&address.octets(), length),
    };
    // The low bits of FNV-1a are its weakest; folding the high half in spreads neighbours well.
    METRIC_BASE + (hash ^ (hash >> 16)) % METRICS
}

fn fnv1a(address: &[u8], length: u8) -> u32 {
    let bytes = address.iter().copied().chain([length]);
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Returns our route for a prefix: by the parent, with our protocol number and a metric spread by prefix.
pub fn route(prefix: IpNet, next_hop: IpAddr, parent: LinkIndex) -> Route {
    Route {
        prefix,
        gateway: Some(next_hop),
        link: Some(parent),
        protocol: ROUTE_PROTOCOL,
        metric: metric(prefix),
        source: None,
        mtu: None,
    }
}

/// Compares wanted with installed routes, in whatever order they are. [`merge`] says how.
pub fn plan(wanted: &[Route], installed: &[Route]) -> Plan {
    let mut wanted = wanted.to_vec();
    let mut installed = installed.to_vec();
    wanted.sort_unstable();
    installed.sort_unstable();
    merge(wanted, &installed)
}

/// Compares wanted with installed routes, both sorted by prefix, in one walk over the two.
///
/// Routes with our protocol number are made equal to what is wanted; others are never touched. A prefix that another
/// protocol routes, with whatever metric and by whatever link, is left to it. Of several wanted routes with one prefix
/// the first counts.
pub fn merge(wanted: impl IntoIterator<Item = Route>, installed: &[Route]) -> Plan {
    let mut wanted = wanted.into_iter().peekable();
    let mut installed = installed;
    let mut steps = Steps::default();
    loop {
        // By far the most prefixes are as they ought to be.
        if let (Some(ours), [there, rest @ ..]) = (wanted.peek(), installed)
            && ours == there
            && rest.first().is_none_or(|next| next.prefix != there.prefix)
        {
            while wanted.next_if(|route| route.prefix == there.prefix).is_some() {}
            installed = rest;
            continue;
        }
        let prefix = match (wanted.peek(), installed.first()) {
            (Some(wanted), Some(installed)) => wanted.prefix.min(installed.prefix),
            (Some(wanted), None) => wanted.prefix,
            (None, Some(installed)) => installed.prefix,
            (None, None) => break,
        };
        let ours = wanted.next_if(|route| route.prefix == prefix);
        while wanted.next_if(|route| route.prefix == prefix).is_some() {}
        let (there, rest) =
            installed.split_at(installed.iter().take_while(|route| route.prefix == prefix).count());
        installed = rest;
        steps.compare(ours, there);
    }
    let Steps { doubles, additions: mut ops, removals, foreign } = steps;
    // Additions are most of it where many routes come, and mostly stay where they are.
    ops.splice(0..0, doubles);
    ops.extend(removals);
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

/// The changes of all prefixes, in the order that [`Plan::ops`] asks for.
#[derive(Default)]
struct Steps {
    doubles: Vec<RouteOp>,
    additions: Vec<RouteOp>,
    removals: Vec<RouteOp>,
    foreign: Vec<Foreign>,
}

impl Steps {
    /// Compares what is wanted for one prefix with what is there.
    fn compare(&mut self, wanted: Option<Route>, installed: &[Route]) {
        let is_ours = |route: &&Route| route.protocol == ROUTE_PROTOCOL;
        // The foreign route that the kernel prefers.
        let theirs = installed.iter().filter(|route| !is_ours(route)).min_by(|a, b| rank(a).cmp(&rank(b)));
        let mut ours: Vec<&Route> = installed.iter().filter(is_ours).collect();
        ours.sort_unstable();
        let remove = |route: &&Route| RouteOp::Remove((*route).clone());
        let (Some(wanted), None) = (&wanted, theirs) else {
            self.removals.extend(ours.iter().map(remove));
            if let (Some(ours), Some(theirs)) = (wanted, theirs) {
                self.foreign.push(Foreign { theirs: theirs.clone(), ours });
            }
            return;
        };
        let (same, other): (Vec<&Route>, Vec<&Route>) =
            ours.into_iter().partition(|route| route.metric == wanted.metric);
        if same.contains(&wanted) {
            self.removals.extend(same.iter().filter(|route| **route != wanted).map(remove));
        } else if let Some((_, others)) = same.split_first() {
            self.doubles.extend(others.iter().map(remove));
            self.additions.push(RouteOp::Replace(wanted.clone()));
        } else {
            self.additions.push(RouteOp::Add(wanted.clone()));
        }
        self.removals.extend(other.iter().map(remove));
    }
}

fn rank(route: &Route) -> (u32, &Route) {
    (route.metric, route)
}
