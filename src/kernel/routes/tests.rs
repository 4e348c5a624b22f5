//! The bytes against the message crate's own writer and reader, and sockets that fail.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
        RouteType, RouteVia,
    },
};
use netlink_sys::Socket;
use proptest::prelude::*;
use rtnetlink::packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::kernel::{ROUTE_PROTOCOL, errno};

/// Writes a route with the message crate, as the kernel is to understand it.
fn written(route: &Route, remove: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family =
        if route.prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    header.destination_prefix_length = route.prefix.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::from(route.protocol);
    header.kind = RouteType::Unicast;
    header.scope = match route.gateway {
        _ if remove => RouteScope::NoWhere,
        Some(_) => RouteScope::Universe,
        None => RouteScope::Link,
    };
    message.attributes.push(RouteAttribute::Destination(route.prefix.network().into()));
    match (route.gateway, route.prefix) {
        (Some(IpAddr::V6(hop)), IpNet::V4(_)) => {
            message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(hop)))
        }
        (Some(hop), _) => message.attributes.push(RouteAttribute::Gateway(hop.into())),
        (None, _) => {}
    }
    message.attributes.extend(route.link.map(RouteAttribute::Oif));
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message.attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

/// Reads a message of the message crate, as the daemon is to understand it.
fn read(message: &RouteMessage) -> Option<Route> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let header = &message.header;
    let find = |pick: &dyn Fn(&RouteAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let prefix = find(&|attribute| match attribute {
        RouteAttribute::Destination(to) => ip(to),
        _ => None,
    });
    let gateway = find(&|attribute| match attribute {
        RouteAttribute::Gateway(hop) => ip(hop),
        RouteAttribute::Via(RouteVia::Inet6(hop)) => Some(IpAddr::V6(*hop)),
        _ => None,
    });
    let source = find(&|attribute| match attribute {
        RouteAttribute::PrefSource(source) => ip(source),
        _ => None,
    });
    let number = |pick: &dyn Fn(&RouteAttribute) -> Option<u32>| message.attributes.iter().find_map(pick);
    let link = number(&|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let metric = number(&|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let mtu = number(&|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
        _ => None,
    });
    let table = number(&|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let refuses = matches!(header.kind, RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit);
    let known = refuses || header.kind == RouteType::Unicast;
    let main = table.unwrap_or(header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN);
    Some(Route {
        prefix: IpNet::new(prefix.unwrap_or(unspecified), header.destination_prefix_length).ok()?,
        gateway: gateway.filter(|_| !refuses),
        link: link.filter(|_| !refuses),
        protocol: header.protocol.into(),
        metric: metric.unwrap_or_default(),
        source,
        mtu,
    })
    .filter(|_| known && main)
}

fn emitted(message: &RouteMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|bits| IpAddr::V4(bits.into()))
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))
}

prop_compose! {
    fn rest()(link in proptest::option::of(any::<u32>()), protocol: u8, metric: u32, mtu in proptest::option::of(any::<u32>()))
        -> (Option<u32>, u8, u32, Option<u32>) {
        (link, protocol, metric, mtu)
    }
}

/// Routes of either family, with or without each part, IPv4 by way of IPv6 (RFC 8950) among them.
fn routes() -> impl Strategy<Value = Route> {
    let four = (any::<u32>(), 0..=32u8)
        .prop_map(|(bits, length)| IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap()).trunc());
    let six = (any::<u128>(), 0..=128u8)
        .prop_map(|(bits, length)| IpNet::V6(Ipv6Net::new(bits.into(), length).unwrap()).trunc());
    let option = proptest::option::of::<BoxedStrategy<IpAddr>>;
    let four = (four, option(prop_oneof![v4(), v6()].boxed()), option(v4().boxed()));
    let six = (six, option(v6().boxed()), option(v6().boxed()));
    (prop_oneof![four.boxed(), six.boxed()], rest()).prop_map(
        |((prefix, gateway, source), (link, protocol, metric, mtu))| Route {
            prefix,
            gateway,
            link,
            protocol,
            metric,
            source,
            mtu,
        },
    )
}

proptest! {
    #[test]
    fn a_change_reads_in_the_message_crate_as_it_writes_it(route in routes(), sequence: u32) {
        for (op, flags) in [
            (RouteOp::Add(route.clone()), NLM_F_CREATE | NLM_F_EXCL),
            (RouteOp::Replace(route.clone()), NLM_F_CREATE | NLM_F_REPLACE),
            (RouteOp::Remove(route.clone()), 0),
        ] {
            let mut bytes = b"before".to_vec();
            wire::put_change(&mut bytes, &op, sequence);
            prop_assert!(bytes.len() - 6 <= wire::LONGEST_CHANGE);
            wire::ask_for_answer(&mut bytes, 6);
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes[6..]).unwrap();
            prop_assert_eq!(message.header.length as usize, bytes.len() - 6);
            prop_assert_eq!(message.header.sequence_number, sequence);
            prop_assert_eq!(message.header.flags, NLM_F_REQUEST | NLM_F_ACK | flags);
            let (message, remove) = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => (message, false),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(message)) => (message, true),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(remove, matches!(op, RouteOp::Remove(_)));
            prop_assert_eq!(message, written(&route, remove));
        }
    }

    #[test]
    fn a_route_reads_as_the_message_crate_reads_it(
        route in routes(),
        kind in 0..12u8,
        header_table in prop_oneof![Just(254u8), Just(0), any::<u8>()],
        table in proptest::option::of(prop_oneof![Just(254u32), any::<u32>()]),
    ) {
        let mut message = written(&route, false);
        message.header.kind = RouteType::from(kind);
        message.header.table = header_table;
        message.attributes.extend(table.map(RouteAttribute::Table));
        // What we don't know is passed over, also before what we do.
        message.attributes.insert(0, RouteAttribute::Realm(netlink_packet_route::route::RouteRealm { source: 1, destination: 2 }));
        let bytes = emitted(&message);
        prop_assert_eq!(parse::route(&bytes), read(&message));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for message in parse::messages(&bytes) {
            let _ = (parse::route(message.payload), parse::verdict(&message), parse::dump_errno(&message));
        }
        let _ = parse::route(&bytes);
    }
}

#[test]
fn the_question_for_a_table_is_the_message_crates() {
    for (family, named) in [(wire::INET, AddressFamily::Inet), (wire::INET6, AddressFamily::Inet6)] {
        let mut bytes = Vec::new();
        wire::put_dump(&mut bytes, family, 7);
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap();
        assert_eq!(message.header.flags, NLM_F_REQUEST | NLM_F_DUMP);
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = named;
        wanted.header.table = RouteHeader::RT_TABLE_MAIN;
        assert_eq!(message.payload, NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetRoute(wanted)));
    }
}

/// An error message, whose request is echoed as `echo` and followed by words.
fn error(errno: i32, flags: u16, echo: &[u8], words: &str) -> Vec<u8> {
    let mut bytes = vec![0; wire::HEADER];
    bytes.extend((-errno).to_ne_bytes());
    bytes.extend(echo);
    if flags & wire::ATTRIBUTES != 0 {
        bytes.extend([8u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat());
        bytes.extend(20u32.to_ne_bytes());
        bytes.extend(u16::try_from(4 + words.len() + 1).unwrap().to_ne_bytes());
        bytes.extend(1u16.to_ne_bytes());
        bytes.extend(words.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&wire::ERROR.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&7u32.to_ne_bytes());
    bytes
}

#[test]
fn an_error_brings_the_kernels_words_with_and_without_the_request() {
    let mut request = Vec::new();
    wire::put_dump(&mut request, wire::INET, 7);
    let words = "Nexthop has invalid gateway";
    for (flags, echo, expected) in [
        (wire::CAPPED | wire::ATTRIBUTES, &request[..wire::HEADER], Some(words)),
        (wire::ATTRIBUTES, &request[..], Some(words)),
        (wire::CAPPED, &request[..wire::HEADER], None),
        (0, &request[..], None),
    ] {
        let bytes = error(101, flags, echo, &format!("{words}."));
        let message = parse::messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.sequence), (wire::ERROR, 7));
        let verdict = parse::verdict(&message).unwrap();
        assert_eq!((verdict.errno, verdict.words.as_deref()), (101, expected));
    }
}

#[test]
fn the_end_of_a_dump_says_whether_it_failed_half_way() {
    for (told, expected) in [(-105i32, 105), (0, 0)] {
        let payload = told.to_ne_bytes();
        let message = parse::Message { kind: wire::DONE, flags: 0, sequence: 7, port: 0, payload: &payload };
        assert_eq!(parse::dump_errno(&message), expected);
    }
}

/// Lists with dumps that go as told, each after it gave a route; returns how many dumps there were, and of what families.
fn list_with(mut ends: Vec<Result<bool, Failure>>) -> (Vec<u8>, Result<Vec<Route>, Failure>) {
    ends.reverse();
    let mut families = Vec::new();
    let listed = dump::gather(|family, routes| {
        families.push(family);
        let number = if family == wire::INET { 1 } else { 2 };
        routes.push(gone(number).route().clone());
        ends.pop().unwrap().map(dump::Interrupted)
    });
    (families, listed)
}

#[test]
fn dumps_that_are_no_good_are_taken_again_and_leave_nothing() {
    const FOUR: u8 = wire::INET;
    const SIX: u8 = wire::INET6;
    let both = || vec![gone(1).route().clone(), gone(2).route().clone()];
    let (families, listed) = list_with(vec![Ok(true), Ok(true), Ok(false), Ok(true), Ok(false)]);
    assert_eq!((families, listed.unwrap()), (vec![FOUR, FOUR, FOUR, SIX, SIX], both()));
    let (families, listed) = list_with(vec![Ok(false), Ok(true), Ok(true), Ok(true), Ok(true)]);
    assert_eq!((families, listed.unwrap()), (vec![FOUR, SIX, SIX, SIX, SIX], both()));
    let (families, listed) = list_with(vec![Err(Failure::Closed), Ok(false), Ok(false)]);
    assert_eq!((families, listed.unwrap()), (vec![FOUR, FOUR, SIX], both()));
    for number in [errno::NO_TABLE, errno::NO_FAMILY] {
        let (families, listed) = list_with(vec![Err(Failure::Errno(number)), Ok(false)]);
        assert_eq!((families, listed.unwrap()), (vec![FOUR, SIX], vec![gone(2).route().clone()]));
    }
    let (_, listed) = list_with(vec![Ok(false), Err(Failure::Closed), Err(Failure::Closed)]);
    assert!(matches!(listed, Err(Failure::Closed)));
    let (_, listed) = list_with(vec![Ok(false), Err(Failure::Errno(105))]);
    assert!(matches!(listed, Err(Failure::Errno(105))), "what a dump gave before it failed is not all");
}

fn gone(number: u8) -> RouteOp {
    // Of TEST-NET-1 and by no link that there is: nothing is changed, whoever runs this.
    RouteOp::Remove(Route {
        prefix: IpNet::from(IpAddr::from([192, 0, 2, number])),
        gateway: None,
        link: Some(0x7fff_fff0),
        protocol: ROUTE_PROTOCOL,
        metric: 4999,
        source: None,
        mtu: None,
    })
}

/// Tells whether the kernel answered: that the route is gone, that we may not, or that there is no such link.
fn is_answer(result: &Result<(), Failure>) -> bool {
    match result {
        Ok(()) => true,
        Err(Failure::Errno(number) | Failure::Told(number, _)) => [1, errno::NO_LINK].contains(number),
        Err(_) => false,
    }
}

#[tokio::test]
async fn sockets_that_died_are_opened_anew_without_a_word() {
    let table = Table::connect().unwrap();
    let before = table.list().await.unwrap();
    assert!(is_answer(&table.change(&[gone(1)]).await[0]));
    let first = table.own.0.load(Ordering::Acquire);
    assert!(table.own_port().is(first) && !table.own_port().is(0));
    // The kernel itself takes nothing on such a socket.
    let dead = || Channel::over(Socket::new(netlink_sys::protocols::NETLINK_USERSOCK).unwrap()).unwrap();
    *table.writer.lock().await = Some(dead());
    *table.reader.lock().await = Some(dead());
    let results = table.change(&[gone(1), gone(2)]).await;
    assert!(results.len() == 2 && results.iter().all(is_answer), "{results:?}");
    let second = table.own.0.load(Ordering::Acquire);
    assert!(first != second && table.own_port().is(second) && !table.own_port().is(first));
    assert_eq!(table.list().await.unwrap().len(), before.len());
}

#[tokio::test]
async fn a_socket_that_never_works_is_an_error_of_every_change() {
    let dead = || Channel::over(Socket::new(netlink_sys::protocols::NETLINK_USERSOCK)?);
    let outcomes = writer::apply(&mut None, dead, Packed::new(&[gone(1), gone(2), gone(3)], 1));
    assert_eq!(outcomes.len(), 3);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(Failure::Open(_)))),
        "{outcomes:?}"
    );
    assert!(matches!(dump::list(&mut None, dead), Err(Failure::Closed)));
}

#[test]
fn the_table_tells_what_came_of_changes_whose_answer_was_lost() {
    let (RouteOp::Remove(there) | RouteOp::Add(there) | RouteOp::Replace(there)) = gone(1);
    let (RouteOp::Remove(absent) | RouteOp::Add(absent) | RouteOp::Replace(absent)) = gone(2);
    let ops = [
        RouteOp::Add(there.clone()),
        RouteOp::Add(absent.clone()),
        RouteOp::Replace(there.clone()),
        RouteOp::Replace(absent.clone()),
        RouteOp::Remove(there.clone()),
        RouteOp::Remove(absent.clone()),
        RouteOp::Add(absent),
    ];
    let outcomes = || {
        let unknown = (0..6).map(|_| Outcome::Unknown);
        unknown.chain([Outcome::Failed(Failure::Errno(errno::UNREACHABLE))]).collect::<Vec<_>>()
    };
    let told = settle(&ops, outcomes(), Ok(vec![there]));
    let done: Vec<_> = told.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, true, false, false, true, false]);
    assert!(
        matches!(told[1], Err(Failure::Lost)) && matches!(told[6], Err(Failure::Errno(errno::UNREACHABLE)))
    );
    let untold = settle(&ops, outcomes(), Err(Failure::Late));
    assert!(untold[..6].iter().all(|result| matches!(result, Err(Failure::Late))), "{untold:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_job_that_never_ends_is_told() {
    let slot = Slot::default();
    let held = Arc::clone(&slot).lock_owned().await;
    assert!(matches!(blocking(&slot, |_| ()).await, Err(Failure::Late)));
    drop(held);
    assert!(blocking(&slot, |_| ()).await.is_ok());
}
