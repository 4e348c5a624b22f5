//! Links, addresses, routes and events of a real kernel, in namespaces of their own. Needs root.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod namespace;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use ipvland::{
    fleet::{Source, View},
    kernel::{
        Kernel, KernelEvent, LinkKind, Neighbour, NeighbourOp, Netlink, NewLink, ROUTE_PROTOCOL, Route,
        RouteOp,
    },
    network::Networks,
    record::Record,
    status::Board,
    syncer::Syncer,
};
use ipvland_store::Key;
use namespace::ip;
use tokio::sync::watch;

/// Makes `eth2` with addresses, up, its peer `far`.
async fn host() -> (Netlink, u32) {
    ip("link set lo up");
    ip("link add eth2 type veth peer name far");
    ip("address add 10.1.1.48/24 dev eth2");
    ip("address add 2001:db8:1::48/64 dev eth2 nodad");
    ip("link set far up");
    ip("link set eth2 up");
    let netlink = Netlink::connect().unwrap();
    let links = netlink.links().await.unwrap();
    let index = links.iter().find(|link| link.name == "eth2").unwrap().index;
    (netlink, index)
}

fn ours(prefix: &str, hop: &str, link: u32, metric: u32) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        gateway: Some(hop.parse().unwrap()),
        link: Some(link),
        protocol: ROUTE_PROTOCOL,
        metric,
        source: None,
        mtu: None,
    }
}

async fn our_routes(netlink: &Netlink) -> Vec<Route> {
    let mut routes = netlink.routes().await.unwrap();
    routes.retain(|route| route.protocol == ROUTE_PROTOCOL);
    routes.sort();
    routes
}

#[test]
fn an_empty_namespace_has_no_routes() {
    namespace::run("an_empty_namespace_has_no_routes", || async {
        let netlink = Netlink::connect().unwrap();
        assert_eq!(netlink.routes().await.unwrap(), []);
        let links = netlink.links().await.unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.loopback && !link.up), "{links:?}");
    });
}

#[test]
fn dumps_at_once_all_get_an_answer() {
    namespace::run("dumps_at_once_all_get_an_answer", || async {
        let (netlink, _) = host().await;
        for _ in 0..200 {
            let (links, addresses, routes) =
                tokio::join!(netlink.links(), netlink.addresses(), netlink.routes());
            assert_eq!(links.unwrap().len(), 3);
            assert!(!addresses.unwrap().is_empty() && !routes.unwrap().is_empty());
        }
    });
}

#[test]
fn links_and_addresses_are_read() {
    namespace::run("links_and_addresses_are_read", || async {
        let (netlink, index) = host().await;
        ip("link set eth2 alias hello");
        ip("link set eth2 mtu 1400");
        ip("address add 10.7.0.1/24 dev eth2 scope link");
        ip("link add br0 type bridge");
        let links = netlink.links().await.unwrap();
        let eth2 = links.iter().find(|link| link.index == index).unwrap();
        assert_eq!((eth2.alias.as_str(), eth2.mtu, eth2.up, eth2.parent), ("hello", 1400, true, None));
        assert_eq!(eth2.kind, LinkKind::Other("veth".into()));
        let bridge = links.iter().find(|link| link.name == "br0").unwrap();
        assert_eq!((&bridge.kind, bridge.up), (&LinkKind::Other("bridge".into()), false));
        let addresses = netlink.addresses().await.unwrap();
        let global: Vec<_> =
            addresses.iter().filter(|a| a.link == index && a.global).map(|a| a.net.to_string()).collect();
        assert_eq!(global, ["10.1.1.48/24", "2001:db8:1::48/64"]);
        assert!(addresses.iter().any(|a| a.net.to_string() == "10.7.0.1/24" && !a.global));
    });
}

#[test]
fn routes_are_added_replaced_and_removed() {
    namespace::run("routes_are_added_replaced_and_removed", || async {
        let (netlink, link) = host().await;
        let mut four = ours("10.1.51.0/24", "10.1.1.51", link, 4711);
        let mut six = ours("2001:db8:51::/64", "2001:db8:1::51", link, 4712);
        for result in netlink.change_routes(&[RouteOp::Add(four.clone()), RouteOp::Add(six.clone())]).await {
            result.unwrap();
        }
        assert_eq!(our_routes(&netlink).await, [four.clone(), six.clone()]);
        assert!(ip("route show 10.1.51.0/24").contains("via 10.1.1.51 dev eth2 proto 214 metric 4711"));

        let again = netlink.change_routes(&[RouteOp::Add(four.clone())]).await.remove(0).unwrap_err();
        assert_eq!(again.errno, Some(17));
        let (old_four, old_six) = (four.clone(), six.clone());
        four.gateway = Some("10.1.1.52".parse().unwrap());
        six.gateway = Some("2001:db8:1::52".parse().unwrap());
        for result in
            netlink.change_routes(&[RouteOp::Replace(four.clone()), RouteOp::Replace(six.clone())]).await
        {
            result.unwrap();
        }
        assert_eq!(our_routes(&netlink).await, [four.clone(), six.clone()]);

        // What differs in the next hop alone is another route.
        for result in netlink.change_routes(&[RouteOp::Remove(old_four), RouteOp::Remove(old_six)]).await {
            result.unwrap();
        }
        assert_eq!(our_routes(&netlink).await, [four.clone(), six.clone()]);
        for result in netlink.change_routes(&[RouteOp::Remove(four.clone()), RouteOp::Remove(six)]).await {
            result.unwrap();
        }
        assert_eq!(our_routes(&netlink).await, []);
        netlink.change_routes(&[RouteOp::Remove(four)]).await.remove(0).unwrap();
    });
}

#[test]
fn a_route_of_somebody_elses_is_never_removed() {
    namespace::run("a_route_of_somebody_elses_is_never_removed", || async {
        let (netlink, link) = host().await;
        ip("route add 10.1.51.0/24 via 10.1.1.51 dev eth2 metric 4711");
        ip("route add 2001:db8:51::/64 via 2001:db8:1::51 dev eth2 metric 4712 proto static");
        ip("route add blackhole 10.1.52.0/24");
        ip("route add 10.1.53.0/24 nexthop via 10.1.1.1 nexthop via 10.1.1.2");
        for (prefix, hop, metric) in
            [("10.1.51.0/24", "10.1.1.51", 4711), ("2001:db8:51::/64", "2001:db8:1::51", 4712)]
        {
            let op = RouteOp::Remove(ours(prefix, hop, link, metric));
            netlink.change_routes(&[op]).await.remove(0).unwrap();
        }
        let routes = netlink.routes().await.unwrap();
        for prefix in ["10.1.51.0/24", "2001:db8:51::/64", "10.1.52.0/24", "10.1.53.0/24"] {
            assert!(routes.iter().any(|route| route.prefix.to_string() == prefix), "{prefix}: {routes:?}");
        }
        for prefix in ["10.1.52.0/24", "10.1.53.0/24"] {
            let route = routes.iter().find(|route| route.prefix.to_string() == prefix).unwrap();
            assert_eq!((route.gateway, route.link), (None, None));
        }
    });
}

#[test]
fn refusals_are_sentences_and_stop_no_other_route() {
    namespace::run("refusals_are_sentences_and_stop_no_other_route", || async {
        let (netlink, link) = host().await;
        let ops = [
            RouteOp::Add(ours("10.1.51.0/24", "10.99.0.1", link, 1)),
            RouteOp::Add(ours("10.1.52.0/24", "10.1.1.52", link, 1)),
            RouteOp::Add(ours("10.1.53.0/24", "10.1.1.53", 9999, 1)),
            RouteOp::Add(ours("2001:db8:54::/64", "2001:db8:1::48", link, 1)),
        ];
        let results = netlink.change_routes(&ops).await;
        assert_eq!(
            results[0].as_ref().unwrap_err().to_string(),
            "cannot add the route to 10.1.51.0/24 via 10.99.0.1 on eth2: the next hop 10.99.0.1 is not on a subnet of eth2, \
             or eth2 is down (errno 101)"
        );
        assert_eq!(results[1], Ok(()));
        // A link that is gone is no way to the next hop either.
        assert_eq!(results[2].as_ref().unwrap_err().errno, Some(101));
        assert_eq!(results[3].as_ref().unwrap_err().errno, Some(22));
        assert_eq!(our_routes(&netlink).await, [ours("10.1.52.0/24", "10.1.1.52", link, 1)]);
    });
}

#[test]
fn thousands_of_routes_are_all_answered() {
    namespace::run("thousands_of_routes_are_all_answered", || async {
        let (netlink, link) = host().await;
        let routes: Vec<_> = (0..5000u32)
            .map(|n| {
                ours(
                    &format!("10.{}.{}.0/24", 100 + n / 250, n % 250),
                    &format!("10.1.1.{}", 50 + n % 200),
                    link,
                    n + 1,
                )
            })
            .collect();
        let adds: Vec<_> = routes.iter().cloned().map(RouteOp::Add).collect();
        assert!(netlink.change_routes(&adds).await.iter().all(Result::is_ok));
        assert_eq!(our_routes(&netlink).await.len(), 5000);
        let removes: Vec<_> = routes.into_iter().map(RouteOp::Remove).collect();
        assert!(netlink.change_routes(&removes).await.iter().all(Result::is_ok));
        assert_eq!(our_routes(&netlink).await, []);
    });
}

#[test]
fn events_tell_links_addresses_and_routes() {
    namespace::run("events_tell_links_addresses_and_routes", || async {
        let (netlink, _) = host().await;
        let mut events = netlink.events();
        for (change, wanted) in [
            ("link set far mtu 1450", KernelEvent::Link),
            ("address add 10.7.0.1/24 dev far", KernelEvent::Address),
            ("address add 2001:db8:7::1/64 dev far", KernelEvent::Address),
            ("route add 10.8.0.0/24 via 10.1.1.9", KernelEvent::Route),
            ("route add 2001:db8:8::/64 via 2001:db8:1::9", KernelEvent::Route),
        ] {
            // What earlier changes left over is no answer to this one.
            while tokio::time::timeout(Duration::from_millis(300), events.next()).await.is_ok() {}
            ip(change);
            let seen = tokio::time::timeout(Duration::from_secs(5), async {
                while events.next().await != Some(wanted) {}
            });
            seen.await.unwrap_or_else(|_| panic!("no {wanted:?} after `ip {change}`"));
        }
    });
}

#[test]
fn a_link_goes_once_and_is_not_missed_twice() {
    namespace::run("a_link_goes_once_and_is_not_missed_twice", || async {
        let (netlink, _) = host().await;
        ip("link add br0 type bridge");
        let find = |links: Vec<ipvland::kernel::Link>| links.into_iter().find(|link| link.name == "br0");
        let index = find(netlink.links().await.unwrap()).unwrap().index;
        netlink.delete_link(index).await.unwrap();
        assert_eq!(find(netlink.links().await.unwrap()), None);
        netlink.delete_link(index).await.unwrap();
    });
}

#[test]
fn a_link_that_cannot_be_made_leaves_nothing() {
    namespace::run("a_link_that_cannot_be_made_leaves_nothing", || async {
        let (netlink, _) = host().await;
        let before = netlink.links().await.unwrap();
        let error = netlink
            .add_link("eth9.20", "ipvland:parent", NewLink::Vlan { parent: 9999, id: 20 })
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("cannot add the VLAN link eth9.20 on interface 9999: "),
            "{error}"
        );
        assert_eq!(netlink.links().await.unwrap().len(), before.len());
    });
}

/// The records of hosts 10.1.1.N, each with the prefix 10.1.N.0/24.
fn fleet(hosts: &[u8]) -> Arc<View> {
    let record = |n: &u8| {
        let text = format!(
            r#"{{"version": 1, "host": "10.1.1.{n}", "id": "id {n}", "name": "web-{n}", "next_hops": ["10.1.1.{n}"],
            "networks": [{{"name": "blue", "prefixes": ["10.1.{n}.0/24"]}}], "underlay": {{"kind": "direct"}}}}"#
        );
        let key = Key::parse(&format!("10.1.1.{n}.json")).unwrap();
        let record = Record::parse(&key, text.as_bytes()).map(Arc::new);
        (key, record)
    };
    let records = Arc::new(hosts.iter().map(record).collect());
    Arc::new(View { source: Source::Store, records, ..View::default() })
}

async fn eventually(netlink: &Netlink, wanted: &[&str], when: &str) {
    let mut shown = Vec::new();
    for _ in 0..100 {
        shown = our_routes(netlink).await.iter().map(|route| route.prefix.to_string()).collect();
        if shown == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{when}: {shown:?} instead of {wanted:?}");
}

#[test]
fn the_syncer_keeps_a_real_table() {
    namespace::run("the_syncer_keeps_a_real_table", || async {
        let (netlink, _) = host().await;
        ip("route add 10.1.53.0/24 via 10.1.1.1 dev eth2");
        let (view, views) = watch::channel(fleet(&[48, 51, 52, 53]));
        let (_own, owns) = watch::channel(Some(Key::parse("10.1.1.48.json").unwrap()));
        let (leave, leaves) = watch::channel(false);
        let (_nets, nets) = watch::channel(Networks::default());
        let board = Board::default();
        let syncer = Syncer {
            view: views,
            kernel: Arc::new(Netlink::connect().unwrap()),
            parent: Some("eth2".into()),
            own: owns,
            networks: nets,
            machine: "id".into(),
            leave: leaves,
            board: board.clone(),
        };
        let task = tokio::spawn(syncer.run());
        eventually(&netlink, &["10.1.51.0/24", "10.1.52.0/24"], "at first").await;
        let foreign =
            board.read().routes.into_iter().find(|route| route.prefix.to_string() == "10.1.53.0/24").unwrap();
        assert_eq!(foreign.state, "foreign", "{foreign:?}");

        ip("link set eth2 down");
        eventually(&netlink, &[], "with the link down").await;
        ip("link set eth2 up");
        eventually(
            &netlink,
            &["10.1.51.0/24", "10.1.52.0/24", "10.1.53.0/24"],
            "the link came back, theirs did not",
        )
        .await;
        ip("route del 10.1.51.0/24");
        eventually(&netlink, &["10.1.51.0/24", "10.1.52.0/24", "10.1.53.0/24"], "after a deletion by hand")
            .await;
        view.send_replace(fleet(&[48, 51, 54]));
        eventually(&netlink, &["10.1.51.0/24", "10.1.54.0/24"], "after a change of the records").await;

        leave.send_replace(true);
        eventually(&netlink, &[], "after leaving").await;
        task.abort();
    });
}

#[test]
fn a_route_by_a_link_alone_keeps_its_source_and_mtu() {
    namespace::run("a_route_by_a_link_alone_keeps_its_source_and_mtu", || async {
        let (netlink, link) = host().await;
        ip("address add 10.1.1.49/24 dev eth2");
        for (prefix, source, mtu) in
            [("10.1.48.7/32", "10.1.1.48", Some(1400)), ("2001:db8:48::7/128", "2001:db8:1::48", None)]
        {
            let route = Route {
                gateway: None,
                source: Some(source.parse().unwrap()),
                mtu,
                ..ours(prefix, source, link, 4711)
            };
            netlink.change_routes(&[RouteOp::Add(route.clone())]).await.remove(0).unwrap();
            assert_eq!(our_routes(&netlink).await, std::slice::from_ref(&route));
            let other = Route { source: None, mtu: None, ..route.clone() };
            netlink.change_routes(&[RouteOp::Replace(other.clone())]).await.remove(0).unwrap();
            assert_eq!(our_routes(&netlink).await, std::slice::from_ref(&other));
            netlink.change_routes(&[RouteOp::Replace(route.clone())]).await.remove(0).unwrap();
            assert_eq!(our_routes(&netlink).await, std::slice::from_ref(&route));
            netlink.change_routes(&[RouteOp::Remove(route)]).await.remove(0).unwrap();
            assert_eq!(our_routes(&netlink).await, []);
        }
        let foreign = Route {
            gateway: None,
            source: Some("10.99.0.1".parse().unwrap()),
            ..ours("10.1.48.7/32", "10.99.0.1", link, 1)
        };
        assert_eq!(
            netlink.change_routes(&[RouteOp::Add(foreign)]).await.remove(0).unwrap_err().to_string(),
            "cannot add the route to 10.1.48.7/32 on eth2: the kernel refuses it on eth2; the source that it names may be no \
             address of this host any more; it says \"Invalid prefsrc address\" (errno 22)"
        );
    });
}

#[test]
fn an_address_of_our_own_is_usable_at_once_and_routes_nothing() {
    namespace::run("an_address_of_our_own_is_usable_at_once_and_routes_nothing", || async {
        let (netlink, link) = host().await;
        let before = netlink.routes().await.unwrap();
        for net in ["10.1.1.250/32", "2001:db8:1::5e:1/128"] {
            let net = net.parse().unwrap();
            let there = || async {
                let addresses = netlink.addresses().await.unwrap();
                addresses
                    .iter()
                    .any(|address| (address.link, address.net, address.global) == (link, net, true))
            };
            for _ in 0..2 {
                netlink.add_address(link, net).await.unwrap();
                assert!(there().await, "{net}");
            }
            assert_eq!(netlink.routes().await.unwrap(), before);
            for _ in 0..2 {
                netlink.delete_address(link, net).await.unwrap();
                assert!(!there().await, "{net}");
            }
        }
        let error = netlink.add_address(9999, "10.1.1.250/32".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.errno, Some(19), "{error}");
    });
}

#[test]
fn permanent_neighbours_are_listed_and_learned_ones_are_not() {
    namespace::run("permanent_neighbours_are_listed_and_learned_ones_are_not", || async {
        let (netlink, link) = host().await;
        ip("neighbour add 10.1.1.9 lladdr 02:00:00:00:00:09 dev eth2 nud reachable");
        ip("neighbour add 10.1.1.10 lladdr 02:00:00:00:00:0a dev far nud permanent");
        let neighbour = |mac| Neighbour { link, address: "10.1.1.200".parse().unwrap(), mac };
        for mac in [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]] {
            let put = NeighbourOp::Put(neighbour(mac));
            netlink.change_neighbours(&[put]).await.remove(0).unwrap();
            assert_eq!(netlink.neighbours(link).await.unwrap(), [neighbour(mac)]);
        }
        let gone = NeighbourOp::Remove(neighbour([2, 0, 0, 0, 0, 2]));
        for result in netlink.change_neighbours(&[gone, gone]).await {
            result.unwrap();
        }
        assert_eq!(netlink.neighbours(link).await.unwrap(), []);
        assert!(ip("neighbour show dev eth2").contains("10.1.1.9"), "somebody else's stays");
    });
}

#[test]
fn links_are_raised_and_tell_their_mac_and_settings_are_read_and_written() {
    namespace::run("links_are_raised_and_tell_their_mac_and_settings_are_read_and_written", || async {
        let (netlink, _) = host().await;
        ip("link add br0 address 02:00:00:00:00:07 type bridge");
        let find =
            || async { netlink.links().await.unwrap().into_iter().find(|link| link.name == "br0").unwrap() };
        assert_eq!((find().await.up, find().await.mac), (false, Some([2, 0, 0, 0, 0, 7])));
        netlink.raise(find().await.index).await.unwrap();
        assert!(find().await.up);
        assert_eq!(netlink.raise(9999).await.unwrap_err().errno, Some(19));
        for value in [1, 2] {
            netlink.set_setting("ipv4/conf/br0/rp_filter", value).await.unwrap();
            assert_eq!(netlink.setting("ipv4/conf/br0/rp_filter").await, Some(value));
        }
        assert_eq!(netlink.setting("ipv4/conf/gone/rp_filter").await, None);
        let error = netlink.set_setting("ipv6/conf/gone/accept_ra", 0).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot set /proc/sys/net/ipv6/conf/gone/accept_ra to 0: "), "{error}");
    });
}
