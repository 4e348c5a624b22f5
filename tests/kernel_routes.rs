//! Many routes of a real kernel, in namespaces of their own: batches, refusals, lost answers, order and events. Needs root.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod namespace;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream::BoxStream};
use ipnet::IpNet;
use ipvland::{
    kernel::{Kernel, KernelEvent, Netlink, ROUTE_PROTOCOL, Route, RouteOp},
    plan::metric,
};
use namespace::ip;
use rustix::{net::sockopt, process};

/// Makes `eth2` with addresses, up, on which the kernel does nothing by itself.
async fn host() -> (Netlink, u32) {
    ip("link set lo up");
    ip("link add eth2 type veth peer name far");
    for link in ["eth2", "far"] {
        ip(&format!("link set {link} addrgenmode none"));
        ip(&format!("link set {link} up"));
    }
    ip("address add 10.1.0.48/16 dev eth2");
    ip("address add 2001:db8:1::48/64 dev eth2 nodad");
    let netlink = Netlink::connect().unwrap();
    let links = netlink.links().await.unwrap();
    let index = links.iter().find(|link| link.name == "eth2").unwrap().index;
    (netlink, index)
}

fn route(prefix: IpNet, gateway: IpAddr, link: u32) -> Route {
    let metric = metric(prefix);
    Route {
        prefix,
        gateway: Some(gateway),
        link: Some(link),
        protocol: ROUTE_PROTOCOL,
        metric,
        source: None,
        mtu: None,
    }
}

/// The route to the `n`th /24 from 20.0.0.0 on, with a gateway that few others have.
fn four(n: u32, link: u32) -> Route {
    let prefix = Ipv4Addr::from(0x1400_0000 + (n << 8));
    let gateway = Ipv4Addr::from(0x0a01_0100 + n % 65_000);
    route(IpNet::new(prefix.into(), 24).unwrap(), gateway.into(), link)
}

/// The route to the `n`th /64 from 2001:db9:: on.
fn six(n: u32, link: u32) -> Route {
    let prefix = Ipv6Addr::from((0x2001_0db9 << 96) + (u128::from(n) << 64));
    let gateway = Ipv6Addr::from((0x2001_0db8_0001 << 80) + 0x1000 + u128::from(n % 65_000));
    route(IpNet::new(prefix.into(), 64).unwrap(), gateway.into(), link)
}

/// A route to TEST-NET-1 by a next hop that is nowhere near.
fn unreachable(n: u8, link: u32) -> Route {
    route(IpNet::from(IpAddr::from([192, 0, 2, n])), "10.99.0.1".parse().unwrap(), link)
}

async fn our_routes(netlink: &Netlink) -> Vec<Route> {
    let mut routes = netlink.routes().await.unwrap();
    routes.retain(|route| route.protocol == ROUTE_PROTOCOL);
    routes
}

fn errnos(results: &[ipvland::kernel::Result<()>]) -> Vec<Option<i32>> {
    results.iter().map(|result| result.as_ref().err().and_then(|error| error.errno)).collect()
}

#[test]
fn a_hundred_thousand_routes_come_and_go() {
    namespace::run("a_hundred_thousand_routes_come_and_go", || async {
        let (netlink, link) = host().await;
        let mut routes: Vec<_> = (0..100_000).map(|n| four(n, link)).collect();
        // The limit on IPv6 routes that came from routers is no limit on ours.
        routes.extend((0..10_000).map(|n| six(n, link)));
        let adds: Vec<_> = routes.iter().cloned().map(RouteOp::Add).collect();
        let results = netlink.change_routes(&adds).await;
        assert_eq!(results.len(), adds.len());
        assert_eq!(results.into_iter().find(Result::is_err), None);
        // They were made in the order of their prefixes.
        assert!(our_routes(&netlink).await == routes, "the table differs from what was asked for");
        let removes: Vec<_> = routes.into_iter().map(RouteOp::Remove).collect();
        assert_eq!(netlink.change_routes(&removes).await.into_iter().find(Result::is_err), None);
        assert_eq!(our_routes(&netlink).await, []);
    });
}

#[test]
fn each_refusal_is_told_of_its_own_route() {
    namespace::run("each_refusal_is_told_of_its_own_route", || async {
        let (netlink, link) = host().await;
        let mut ops: Vec<_> = (0..3000).map(|n| RouteOp::Add(four(n, link))).collect();
        let own_address = Some("2001:db8:1::48".parse().unwrap());
        let refused = [
            (0, RouteOp::Add(unreachable(1, link)), 101),
            (1022, RouteOp::Add(unreachable(2, link)), 101),
            // The first of these to be asked for is in.
            (1023, RouteOp::Add(four(7, link)), 17),
            (1024, RouteOp::Add(Route { gateway: own_address, ..six(1, link) }), 22),
            (1500, RouteOp::Add(Route { link: Some(9999), ..six(2, link) }), 19),
            (2047, RouteOp::Replace(unreachable(3, link)), 101),
            (2999, RouteOp::Add(four(8, link)), 17),
        ];
        for (place, op, _) in &refused {
            ops[*place] = op.clone();
        }
        // What is gone already is no error.
        ops[5] = RouteOp::Remove(four(4000, link));
        ops[1501] = RouteOp::Remove(six(4000, link));
        // In order: this one is in for a while.
        ops[1700] = RouteOp::Remove(four(1699, link));
        let results = netlink.change_routes(&ops).await;
        let told = errnos(&results);
        for (place, told) in told.iter().enumerate() {
            let expected = refused.iter().find(|(at, ..)| *at == place).map(|(.., errno)| *errno);
            assert_eq!(*told, expected, "change {place}: {:?}", results[place]);
        }
        let expected: BTreeSet<_> = ops
            .iter()
            .zip(&results)
            .filter_map(|(op, result)| match op {
                RouteOp::Add(route) if result.is_ok() && *route != four(1699, link) => Some(route.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(expected.len(), 3000 - refused.len() - 4);
        assert_eq!(our_routes(&netlink).await.into_iter().collect::<BTreeSet<_>>(), expected);
    });
}

#[test]
fn the_kernels_own_words_are_told_where_they_say_more() {
    namespace::run("the_kernels_own_words_are_told_where_they_say_more", || async {
        let (netlink, link) = host().await;
        let own_address = Some("2001:db8:1::48".parse().unwrap());
        let ops = [RouteOp::Add(Route { gateway: own_address, ..six(1, link) })];
        let error = netlink.change_routes(&ops).await.remove(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot add the route to 2001:db9:0:1::/64 via 2001:db8:1::48 on eth2: the kernel refuses 2001:db8:1::48 as a \
             next hop on eth2; it may be an address of this host, or not a single host's; it says \"Gateway can not be a \
             local address\" (errno 22)"
        );
    });
}

/// Returns the netlink sockets of this process, by the numbers of their descriptors.
fn sockets() -> BTreeSet<i32> {
    let table = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let inodes: BTreeSet<_> =
        table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9)).collect();
    let is_netlink = |fd: &i32| {
        let name = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        name.strip_prefix("socket:[")
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|n| inodes.contains(n))
    };
    let names = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_netlink).collect()
}

/// Returns a handle on an open socket of this process.
fn handle(fd: i32) -> OwnedFd {
    let me = process::pidfd_open(process::getpid(), process::PidfdFlags::empty()).unwrap();
    process::pidfd_getfd(&me, fd, process::PidfdGetfdFlags::empty()).unwrap()
}

#[test]
fn answers_that_were_lost_are_read_from_the_table() {
    namespace::run("answers_that_were_lost_are_read_from_the_table", || async {
        let (netlink, link) = host().await;
        let before = sockets();
        let first: Vec<_> = (0..300).map(|n| RouteOp::Add(four(n, link))).collect();
        assert_eq!(netlink.change_routes(&first).await.into_iter().find(Result::is_err), None);
        let writer: Vec<_> = sockets().difference(&before).copied().collect();
        assert_eq!(writer.len(), 1, "the changes went over one new socket");
        // Room for two or three answers from now on; the kernel takes no less.
        let socket = handle(writer[0]);
        sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        drop(socket);
        let mut ops = Vec::new();
        for n in 0..500 {
            let last = u8::try_from(n % 250).unwrap();
            ops.push(match n % 5 {
                0 => RouteOp::Add(unreachable(last, link)),
                1 => RouteOp::Add(four(1000 + n, link)),
                2 => RouteOp::Remove(four(n % 300, link)),
                3 => RouteOp::Remove(four(5000 + n, link)),
                _ => RouteOp::Replace(six(n, link)),
            });
        }
        let results = netlink.change_routes(&ops).await;
        let refused: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_err()).collect();
        assert!(refused.iter().all(|(place, _)| place % 5 == 0), "{refused:?}");
        assert_eq!(refused.len(), 100);
        let lost = refused.iter().filter(|(_, result)| {
            result.as_ref().is_err_and(|error| error.to_string().contains("the kernel's answer was lost"))
        });
        let lost = lost.count();
        assert!((90..100).contains(&lost), "the first refusals fit the buffer, and {lost} were lost");
        assert_eq!(refused[0].1.as_ref().unwrap_err().errno, Some(101));
        let table: BTreeSet<_> = our_routes(&netlink).await.into_iter().collect();
        for op in &ops {
            let route = op.route();
            let expected = matches!(op, RouteOp::Add(_) | RouteOp::Replace(_))
                && route.gateway != Some("10.99.0.1".parse().unwrap());
            assert_eq!(table.contains(route), expected, "{op:?}");
        }
        // The next changes go over a new socket, which has room for all answers, and whose events are not told either.
        let mut events = quiet(&netlink).await;
        let results = netlink.change_routes(&ops).await;
        let expected = |place: usize| match place % 5 {
            0 => Some(101),
            1 => Some(17),
            _ => None,
        };
        assert_eq!(errnos(&results), (0..500).map(expected).collect::<Vec<_>>());
        assert_eq!(told_with_a_link(&mut events).await, []);
    });
}

/// Subscribes, once what the kernel does by itself about new links and addresses is done.
async fn quiet(netlink: &Netlink) -> BoxStream<'static, KernelEvent> {
    let mut events = netlink.events();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if told_with_a_link(&mut events).await.is_empty() {
            return events;
        }
    }
}

/// Changes a link and returns what else was told up to then.
async fn told_with_a_link(events: &mut BoxStream<'static, KernelEvent>) -> Vec<KernelEvent> {
    ip("link set lo alias x");
    ip("link set lo alias y");
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap() {
            KernelEvent::Link => break,
            other => told.push(other),
        }
    }
    // The link's event came over the same socket after the others, whose marks were set before its own.
    while let Some(Some(other)) = events.next().now_or_never() {
        told.extend(Some(other).filter(|other| *other != KernelEvent::Link));
    }
    told
}

#[test]
fn own_changes_are_not_told_and_others_are() {
    namespace::run("own_changes_are_not_told_and_others_are", || async {
        let (netlink, link) = host().await;
        let mut events = quiet(&netlink).await;
        for _ in 0..3 {
            let routes: Vec<_> =
                (0..5000).map(|n| four(n, link)).chain((0..1000).map(|n| six(n, link))).collect();
            let adds: Vec<_> = routes.iter().cloned().map(RouteOp::Add).collect();
            assert_eq!(netlink.change_routes(&adds).await.into_iter().find(Result::is_err), None);
            assert_eq!(told_with_a_link(&mut events).await, []);
            // Somebody else changes a route, another one of ours, and one in the midst of our own changes.
            for change in [
                "route add 10.8.0.0/24 via 10.1.1.9",
                "route del 20.0.1.0/24",
                "-6 route del 2001:db9:0:1::/64",
            ] {
                ip(change);
                assert_eq!(told_with_a_link(&mut events).await, [KernelEvent::Route], "ip {change}");
            }
            let removes: Vec<_> = routes.into_iter().map(RouteOp::Remove).collect();
            let (results, _) = tokio::join!(
                netlink.change_routes(&removes),
                tokio::task::spawn_blocking(|| ip("route del 10.8.0.0/24 via 10.1.1.9"))
            );
            assert_eq!(results.into_iter().find(Result::is_err), None);
            assert_eq!(told_with_a_link(&mut events).await, [KernelEvent::Route]);
        }
        // Another kernel's writer is somebody else.
        let other = Netlink::connect().unwrap();
        other.change_routes(&[RouteOp::Add(four(1, link))]).await.remove(0).unwrap();
        assert_eq!(told_with_a_link(&mut events).await, [KernelEvent::Route]);
    });
}

#[test]
fn routes_come_in_the_order_of_their_prefixes_and_metrics() {
    namespace::run("routes_come_in_the_order_of_their_prefixes_and_metrics", || async {
        let (netlink, _) = host().await;
        for prefix in [
            "0.0.0.0/0",
            "20.0.0.0/8",
            "20.0.0.0/16",
            "20.0.0.0/24",
            "20.0.1.0/24",
            "20.0.0.0/32",
            "9.0.0.0/8",
        ] {
            for metric in [700, 30, 4000] {
                ip(&format!("route add {prefix} via 10.1.1.9 metric {metric}"));
            }
        }
        for prefix in
            ["::/0", "2001:db9::/32", "2001:db9::/48", "2001:db9::/64", "2001:db9:1::/48", "2001:db7::/32"]
        {
            for metric in [700, 30, 4000] {
                ip(&format!("-6 route add {prefix} via 2001:db8:1::9 metric {metric}"));
            }
        }
        for kind in ["blackhole", "unreachable", "prohibit"] {
            ip(&format!("route add {kind} 30.0.0.0/24 metric {}", kind.len()));
        }
        let routes = netlink.routes().await.unwrap();
        let order: Vec<_> = routes.iter().map(|route| (route.prefix, route.metric)).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert!(order.len() >= 13 * 3 + 3);
        let refusing = routes.iter().filter(|route| route.prefix.to_string() == "30.0.0.0/24");
        assert!(refusing.clone().all(|route| route.gateway.is_none() && route.link.is_none()));
        assert_eq!(refusing.count(), 3);
    });
}

#[test]
fn a_table_that_changes_meanwhile_is_listed_all_the_same() {
    namespace::run("a_table_that_changes_meanwhile_is_listed_all_the_same", || async {
        let (netlink, link) = host().await;
        let steady: Vec<_> = (0..3000).map(|n| RouteOp::Add(four(n, link))).collect();
        assert_eq!(netlink.change_routes(&steady).await.into_iter().find(Result::is_err), None);
        let passing: Vec<_> = (10_000..12_000)
            .flat_map(|n| [RouteOp::Add(four(n, link)), RouteOp::Remove(four(n, link))])
            .collect();
        let (results, listed) = tokio::join!(netlink.change_routes(&passing), async {
            let mut listed = Vec::new();
            for _ in 0..30 {
                listed.push(our_routes(&netlink).await);
            }
            listed
        });
        assert_eq!(results.into_iter().find(Result::is_err), None);
        for routes in listed {
            let steady = routes.iter().filter(|route| route.prefix < four(10_000, link).prefix);
            assert_eq!(steady.count(), 3000);
        }
        assert_eq!(our_routes(&netlink).await.len(), 3000);
    });
}
