//! Our own way from believed prefixes to routes in the kernel, by the public parts of `ipvland`.

use ipvland::{
    kernel::{Kernel, LinkIndex, Netlink, Route, RouteOp},
    plan,
    policy::Accepted,
};
use ipvland_store::Key;

use super::{address, prefix};

/// What a host believes of a fleet.
pub(crate) struct Ours {
    kernel: Netlink,
    accepted: Vec<Accepted>,
    link: LinkIndex,
}

impl Ours {
    /// Stands before the kernel of the namespace that we are in, with prefixes of so many hosts behind so many gateways.
    pub(crate) fn new(link: LinkIndex, routes: usize, gateways: usize) -> Self {
        let accepted = (0..routes).map(|number| {
            let next_hop = address(number % gateways);
            Accepted {
                key: Key::parse(&format!("{}.json", address(number))).expect("an address is a key"),
                host: format!("web-{number}"),
                network: "blue".to_owned(),
                prefix: prefix(number),
                next_hop: next_hop.into(),
            }
        });
        let mut accepted: Vec<_> = accepted.collect();
        // As the daemon keeps them.
        accepted.sort_by_key(|accepted| accepted.prefix);
        Self { kernel: Netlink::connect().expect("a netlink socket"), accepted, link }
    }

    /// Returns the routes that it wants.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Route> {
        self.accepted.iter().map(|accepted| plan::route(accepted.prefix, accepted.next_hop, self.link))
    }

    /// Makes the kernel's routes so, as a full pass of the daemon does, and returns how many were written.
    pub(crate) async fn pass(&self) -> usize {
        let plan = plan::merge(self.wanted(), &self.kernel.routes().await.expect("the kernel's routes"));
        self.write(&plan.ops).await;
        plan.ops.len()
    }

    async fn write(&self, ops: &[RouteOp]) {
        for result in self.kernel.change_routes(ops).await {
            result.expect("a route is taken");
        }
    }
}
