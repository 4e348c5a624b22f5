//! The plan on a model of the kernel's table.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;

fn route(prefix: u8, gateway: u8, link: LinkIndex, protocol: u8, metric: u32) -> Route {
    Route {
        prefix: format!("10.{prefix}.0.0/16").parse().unwrap(),
        gateway: Some(std::net::Ipv4Addr::new(192, 0, 2, gateway).into()),
        link: Some(link),
        protocol,
        metric,
        source: None,
        mtu: None,
    }
}

fn any_route(protocols: &'static [u8]) -> impl Strategy<Value = Route> {
    let protocol = prop::sample::select(protocols);
    (0u8..5, 0u8..3, 2u32..4, protocol, 0u32..3)
        .prop_map(|(prefix, gateway, link, protocol, metric)| route(prefix, gateway, link, protocol, metric))
}

/// Applies one change as the kernel would, and fails where it would, or where the change isn't ours to make.
fn apply(table: &mut BTreeSet<Route>, op: &RouteOp) {
    let (RouteOp::Add(route) | RouteOp::Replace(route) | RouteOp::Remove(route)) = op;
    assert_eq!(route.protocol, ROUTE_PROTOCOL, "{op:?} touches a route that isn't ours");
    let same: Vec<Route> =
        table.iter().filter(|r| (r.prefix, r.metric) == (route.prefix, route.metric)).cloned().collect();
    match op {
        RouteOp::Add(_) => assert!(same.is_empty(), "{op:?} finds {same:?}"),
        RouteOp::Replace(_) => {
            assert_eq!(same.len(), 1, "{op:?} finds {same:?}");
            assert_eq!(same[0].protocol, ROUTE_PROTOCOL);
            table.remove(&same[0]);
        }
        RouteOp::Remove(_) => {
            assert!(table.remove(route), "{op:?} finds nothing");
            return;
        }
    }
    table.insert(route.clone());
}

proptest! {
    #[test]
    fn a_plan_makes_the_table_what_is_wanted(
        wanted in vec(any_route(&[ROUTE_PROTOCOL]), 0..8),
        installed in vec(any_route(&[ROUTE_PROTOCOL, ROUTE_PROTOCOL, 2, 4]), 0..12),
    ) {
        let mut unique: BTreeMap<IpNet, Route> = BTreeMap::new();
        for route in &wanted {
            let slot = unique.entry(route.prefix).or_insert_with(|| route.clone());
            *slot = route.min(slot).clone();
        }
        let start: BTreeSet<Route> = installed.iter().cloned().collect();
        let installed: Vec<Route> = start.iter().cloned().collect();
        let theirs: BTreeSet<Route> = start.iter().filter(|r| r.protocol != ROUTE_PROTOCOL).cloned().collect();
        let expected: BTreeSet<Route> = unique
            .values()
            .filter(|ours| !theirs.iter().any(|t| t.prefix == ours.prefix))
            .chain(&theirs)
            .cloned()
            .collect();

        let first = plan(&wanted, &installed);
        let mut table = start.clone();
        for op in &first.ops {
            apply(&mut table, op);
            for prefix in unique.keys().filter(|p| start.iter().any(|r| r.prefix == **p)) {
                prop_assert!(table.iter().any(|r| r.prefix == *prefix), "{prefix} is without a route after {op:?}");
            }
        }
        prop_assert_eq!(&table, &expected);
        for foreign in &first.foreign {
            prop_assert!(theirs.contains(&foreign.theirs));
            prop_assert_eq!(&unique[&foreign.theirs.prefix], &foreign.ours);
        }
        let blocked = unique.keys().filter(|p| theirs.iter().any(|t| t.prefix == **p)).count();
        prop_assert_eq!(first.foreign.len(), blocked);

        let table: Vec<Route> = table.into_iter().collect();
        let second = plan(&wanted, &table);
        prop_assert_eq!(second.ops, vec![]);
        prop_assert_eq!(second.foreign, first.foreign);
    }
}

#[test]
fn a_new_next_hop_is_one_replacement() {
    let (old, new) = (route(1, 1, 2, ROUTE_PROTOCOL, 9), route(1, 2, 2, ROUTE_PROTOCOL, 9));
    assert_eq!(plan(std::slice::from_ref(&new), &[old]).ops, [RouteOp::Replace(new)]);
}

#[test]
fn a_route_with_another_metric_goes_after_ours_came() {
    let (old, new) = (route(1, 1, 2, ROUTE_PROTOCOL, 8), route(1, 1, 2, ROUTE_PROTOCOL, 9));
    let ops = plan(std::slice::from_ref(&new), std::slice::from_ref(&old)).ops;
    assert_eq!(ops, [RouteOp::Add(new), RouteOp::Remove(old)]);
}

#[test]
fn the_metric_of_a_prefix_never_changes_and_spreads() {
    // Fixed values: another hash would replace every route of every host at an upgrade.
    assert_eq!(metric("10.1.48.0/24".parse().unwrap()), 17356);
    assert_eq!(metric("2001:db8:48::/64".parse().unwrap()), 48070);
    let spread: BTreeSet<u32> = (0..=255u8)
        .flat_map(|a| (0..40u8).map(move |b| metric(format!("10.{b}.{a}.0/24").parse().unwrap())))
        .collect();
    assert!(spread.len() > 9_000, "{} metrics for 10,240 prefixes", spread.len());
    assert!(spread.iter().all(|m| (METRIC_BASE..METRIC_BASE + METRICS).contains(m)));
}
