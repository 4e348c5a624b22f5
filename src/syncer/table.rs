//! The kernel's routes as the last full pass saw them, and as passes changed them since.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::kernel::{Route, RouteOp};

/// Routes, ours and others', that can be looked up by prefix.
///
/// It is what a quick pass compares with. Who else writes routes makes an event, which ends its use.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Sorted by prefix.
    routes: Vec<Route>,
    /// All routes of each prefix that was changed since, so that a change moves no other route.
    changed: BTreeMap<IpNet, Vec<Route>>,
}

/// How many changed prefixes are put in their place among the others at once.
const MOST_CHANGED: usize = 1024;

impl Table {
    /// Takes the routes of a dump.
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        // The kernel lists them nearly in this order.
        if !routes.is_sorted_by_key(|route| route.prefix) {
            routes.sort_by_key(|route| route.prefix);
        }
        Self { routes, changed: BTreeMap::new() }
    }

    /// Returns the routes as they were dumped, sorted by prefix.
    pub(super) fn dumped(&self) -> &[Route] {
        &self.routes
    }

    /// Returns the routes of a prefix.
    pub(super) fn of(&self, prefix: IpNet) -> &[Route] {
        self.changed.get(&prefix).map_or_else(|| self.dumped_of(prefix), Vec::as_slice)
    }

    fn dumped_of(&self, prefix: IpNet) -> &[Route] {
        let from = self.routes.partition_point(|route| route.prefix < prefix);
        let routes = self.routes.get(from..).unwrap_or_default();
        let count = routes.iter().take_while(|route| route.prefix == prefix).count();
        routes.get(..count).unwrap_or_default()
    }

    /// Takes over changes that the kernel has made.
    pub(super) fn apply<'a>(&mut self, ops: impl IntoIterator<Item = &'a RouteOp>) {
        for op in ops {
            let prefix = op.route().prefix;
            if !self.changed.contains_key(&prefix) {
                let dumped = self.dumped_of(prefix).to_vec();
                self.changed.insert(prefix, dumped);
            }
            let Some(routes) = self.changed.get_mut(&prefix) else { continue };
            match op {
                RouteOp::Add(route) => routes.push(route.clone()),
                RouteOp::Replace(new) => {
                    routes.retain(|old| old.metric != new.metric || old.protocol != new.protocol);
                    routes.push(new.clone());
                }
                RouteOp::Remove(gone) => routes.retain(|route| route != gone),
            }
        }
        if self.changed.len() > MOST_CHANGED {
            self.put_in_place();
        }
    }

    fn put_in_place(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        self.routes.retain(|route| !changed.contains_key(&route.prefix));
        self.routes.extend(changed.into_values().flatten());
        // Two sorted runs: one walk.
        self.routes.sort_by_key(|route| route.prefix);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn route(prefix: u16, gateway: u8, metric: u32) -> Route {
        Route {
            prefix: format!("10.{}.{}.0/24", prefix >> 8, prefix & 0xff).parse().unwrap(),
            gateway: Some(std::net::Ipv4Addr::new(192, 0, 2, gateway).into()),
            link: Some(2),
            protocol: 214,
            metric,
            source: None,
            mtu: None,
        }
    }

    proptest! {
        #[test]
        fn it_is_the_table_after_the_changes(
            first in vec((0u16..40, 0u8..3, 0u32..3), 0..60),
            changes in vec((0u16..40, 0u8..3, 0u32..3), 0..60),
            places in any::<bool>(),
        ) {
            let mut real: BTreeMap<(IpNet, u32), Route> = BTreeMap::new();
            for (prefix, gateway, metric) in first {
                let route = route(prefix, gateway, metric);
                real.insert((route.prefix, metric), route);
            }
            let mut dump: Vec<Route> = real.values().cloned().collect();
            dump.reverse();
            let mut table = Table::new(dump);
            for (prefix, gateway, metric) in changes {
                let new = route(prefix, gateway, metric);
                let op = match real.get(&(new.prefix, metric)) {
                    None => RouteOp::Add(new.clone()),
                    Some(old) if *old == new => RouteOp::Remove(new.clone()),
                    Some(_) => RouteOp::Replace(new.clone()),
                };
                match op {
                    RouteOp::Remove(_) => real.remove(&(new.prefix, metric)),
                    _ => real.insert((new.prefix, metric), new),
                };
                table.apply([&op]);
                if places {
                    table.put_in_place();
                }
            }
            for number in 0..40 {
                let prefix = route(number, 0, 0).prefix;
                let mut shown = table.of(prefix).to_vec();
                shown.sort();
                let is: Vec<Route> = real.values().filter(|route| route.prefix == prefix).cloned().collect();
                let mut is = is;
                is.sort();
                prop_assert_eq!(shown, is);
            }
        }
    }
}
