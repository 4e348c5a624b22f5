//! The lines of the log about routes.

use crate::kernel::{LinkIndex, RouteOp};

/// How many changes of one pass are told by a line each. More take longer to write than to make.
const MOST_LINES: usize = 1000;

/// Logs changes that were made: a line each, or one for all where they are many, and then those for debugging.
pub(super) fn tell<'a>(
    done: impl Iterator<Item = &'a RouteOp> + Clone,
    name: impl Fn(Option<LinkIndex>) -> String,
) {
    let [mut added, mut changed, mut removed] = [0_usize; 3];
    for op in done.clone() {
        match op {
            RouteOp::Add(_) => added += 1,
            RouteOp::Replace(_) => changed += 1,
            RouteOp::Remove(_) => removed += 1,
        }
    }
    let many = added + changed + removed > MOST_LINES;
    if many {
        tracing::info!(added, changed, removed, "many routes written; the log at debug names each");
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
    }
    for op in done {
        let route = op.route();
        let what = match op {
            RouteOp::Add(_) => "route added",
            RouteOp::Replace(_) => "route changed",
            RouteOp::Remove(_) => "route removed",
        };
        let next_hop = route.gateway.map(|hop| hop.to_string()).unwrap_or_default();
        let (prefix, interface) = (route.prefix, name(route.link));
        if many {
            tracing::debug!(%prefix, next_hop, interface, "{what}");
        } else {
            tracing::info!(%prefix, next_hop, interface, "{what}");
        }
    }
}
