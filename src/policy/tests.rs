//! The judgement, sentence by sentence, and against an oracle that compares every prefix with every other.

use proptest::{collection::vec, prelude::*};
use serde_json::Map;

mod changes;

use super::*;
use crate::record::{RecordNetwork, Underlay};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn local() -> Local {
    Local {
        own: Some(Record::key(ip("10.1.1.48"))),
        parent: "eth2".into(),
        underlay: vec![net("10.1.1.48/24"), net("fd00:1::48/64"), net("fe80::1/64")],
        elsewhere: vec![("docker0".into(), net("172.17.0.1/16"))],
    }
}

fn record(host: IpAddr, hops: &[IpAddr], prefixes: Vec<IpNet>) -> Record {
    Record {
        host,
        id: None,
        name: String::new(),
        next_hops: hops.to_vec(),
        networks: vec![RecordNetwork { name: "blue".into(), prefixes, unknown: Map::new() }],
        blocks: Vec::new(),
        underlay: Underlay::Direct,
        meta: Map::new(),
        unknown: Map::new(),
    }
}

fn fleet(hosts: &[(&str, &[&str])]) -> Records {
    let records = hosts.iter().map(|(host, prefixes)| {
        let prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
        (Record::key(ip(host)), Ok(Arc::new(record(ip(host), &[ip(host)], prefixes))))
    });
    records.collect()
}

fn refusals(judgement: &Judgement) -> Vec<String> {
    let refused = judgement.refused.iter();
    refused
        .map(|r| format!("{} {}: {}", r.file, r.prefix.map_or("-".into(), |p| p.to_string()), r.reason))
        .collect()
}

/// Judges one prefix of the host 10.1.1.51 with the next hops given.
fn one(prefix: &str, hops: &[&str]) -> Result<Accepted, String> {
    let hops: Vec<IpAddr> = hops.iter().map(|hop| ip(hop)).collect();
    let record = record(ip("10.1.1.51"), &hops, vec![net(prefix)]);
    let records = Records::from([(Record::key(record.host), Ok(Arc::new(record)))]);
    let mut judgement = judge(&records, &[], &local());
    judgement.accepted.pop().ok_or_else(|| judgement.refused.remove(0).reason)
}

#[test]
fn each_prefix_takes_the_first_next_hop_of_its_family() {
    let hops = ["10.1.1.51", "10.1.1.52", "fd00:1::51"];
    assert_eq!(one("10.1.51.0/24", &hops).unwrap().next_hop, ip("10.1.1.51"));
    assert_eq!(one("fd00:51::/64", &hops).unwrap().next_hop, ip("fd00:1::51"));
}

#[test]
fn what_would_cut_hosts_off_is_refused() {
    for (prefix, reason) in [
        ("0.0.0.0/0", "it is a default route and would cut hosts off"),
        ("::/0", "it is a default route and would cut hosts off"),
        ("0.0.0.0/1", "it overlaps the unspecified range 0.0.0.0/8"),
        ("127.0.0.1/32", "it overlaps the loopback range 127.0.0.0/8"),
        ("169.254.1.0/24", "it overlaps the link-local range 169.254.0.0/16"),
        ("239.1.0.0/16", "it overlaps the multicast range 224.0.0.0/4"),
        ("255.255.255.255/32", "it overlaps the reserved range 240.0.0.0/4"),
        ("::1/128", "it overlaps the loopback and mapped range ::/8"),
        ("::ffff:10.1.51.0/120", "it overlaps the loopback and mapped range ::/8"),
        ("fe80::/64", "it overlaps the link-local range fe80::/10"),
        ("ff05::/16", "it overlaps the multicast range ff00::/8"),
        ("32.0.0.0/6", "it is wider than a /8, more than one host can own"),
        ("2000::/3", "it is wider than a /16, more than one host can own"),
        ("10.1.1.0/24", "it overlaps eth2's subnet 10.1.1.0/24"),
        ("10.1.1.64/26", "it overlaps eth2's subnet 10.1.1.0/24"),
        ("10.0.0.0/8", "it overlaps eth2's subnet 10.1.1.0/24"),
        ("172.17.0.0/16", "it is equal to this host's subnet 172.17.0.0/16 on docker0"),
        ("172.17.3.0/24", "it is part of this host's subnet 172.17.0.0/16 on docker0"),
    ] {
        assert_eq!(one(prefix, &["10.1.1.51", "fd00:1::51"]).unwrap_err(), reason, "{prefix}");
        assert_eq!(check_prefix(net(prefix), &local()).unwrap_err().0, reason, "{prefix}");
    }
    assert_eq!(check_prefix(net("10.1.51.9/24"), &local()), Ok(()));
    assert!(one("172.16.0.0/12", &["10.1.1.51"]).is_ok(), "a connected subnet inside it still wins");
}

#[test]
fn a_next_hop_that_leads_nowhere_is_refused() {
    for (prefix, hop, reason) in [
        ("fd00:51::/64", "10.1.1.51", "the record has no IPv6 next hop"),
        ("10.1.51.0/24", "10.9.9.9", "next hop 10.9.9.9 is not on eth2's subnet 10.1.1.0/24"),
        ("10.1.51.0/24", "10.1.51.1", "it holds its own next hop 10.1.51.1"),
        ("10.1.51.0/24", "10.1.1.48", "next hop 10.1.1.48 is an address of this host itself"),
        ("10.1.51.0/24", "10.1.1.255", "next hop 10.1.1.255 is no host's address in 10.1.1.0/24"),
        ("10.1.51.0/24", "224.0.0.9", "next hop 224.0.0.9 is in the multicast range 224.0.0.0/4"),
        ("fd00:51::/64", "fe80::9", "next hop fe80::9 is in the link-local range fe80::/10"),
    ] {
        assert_eq!(one(prefix, &[hop]).unwrap_err(), reason);
    }
    let v4_only = Local { underlay: vec![net("10.1.1.48/24"), net("fe80::1/64")], ..local() };
    let record = record(ip("10.1.1.51"), &[ip("fd00:1::51")], vec![net("fd00:51::/64")]);
    let records = Records::from([(Record::key(record.host), Ok(Arc::new(record)))]);
    assert_eq!(judge(&records, &[], &v4_only).refused[0].reason, "eth2 has no IPv6 address");
}

#[test]
fn of_overlapping_hosts_the_lowest_address_wins_also_over_our_own() {
    let records = fleet(&[
        ("10.1.1.9", &["10.2.0.0/16"]),
        ("10.1.1.48", &["10.2.1.0/24", "10.3.0.0/24"]),
        ("10.1.1.51", &["10.3.0.0/16", "10.4.0.0/16", "10.4.1.0/24", "10.4.0.0/16"]),
    ]);
    let judgement = judge(&records, &[], &local());
    let accepted: Vec<String> =
        judgement.accepted.iter().map(|a| format!("{} {}", a.host, a.prefix)).collect();
    assert_eq!(accepted, ["10.1.1.9 10.2.0.0/16", "10.1.1.51 10.4.0.0/16", "10.1.1.51 10.4.1.0/24"]);
    assert_eq!(
        refusals(&judgement),
        [
            "10.1.1.48.json 10.2.1.0/24: it overlaps 10.2.0.0/16 of 10.1.1.9.json, whose host has the lower address",
            "10.1.1.51.json 10.3.0.0/16: it overlaps 10.3.0.0/24 of 10.1.1.48.json, whose host has the lower address",
        ]
    );
}

#[test]
fn whole_files_are_refused_by_name() {
    let mut records = fleet(&[("10.1.1.51", &["10.1.51.0/24"])]);
    let double = Record::clone(records.values().next().unwrap().as_ref().unwrap());
    let vxlan = Record {
        host: ip("10.1.1.7"),
        underlay: Underlay::Unknown("vxlan".into(), Map::new()),
        ..double.clone()
    };
    records.insert(Key::parse("10.1.1.51").unwrap(), Ok(Arc::new(double)));
    records.insert(Record::key(vxlan.host), Ok(Arc::new(vxlan)));
    records.insert(Key::parse("x.json").unwrap(), Err(Reason("the file is empty".into())));
    let strays = [Stray { name: "sub".into(), reason: "it is a directory".into() }];
    let judgement = judge(&records, &strays, &local());
    assert_eq!(judgement.accepted[0].key.as_str(), "10.1.1.51.json");
    assert_eq!(
        refusals(&judgement),
        [
            "10.1.1.51 -: 10.1.1.51.json is about the same host 10.1.1.51; remove one of them",
            "10.1.1.7.json -: the underlay \"vxlan\" is not known to this ipvland (known: direct)",
            "sub -: it is a directory",
            "x.json -: the file is empty",
        ]
    );
}

#[test]
fn a_claim_meets_other_hosts_prefixes_only() {
    let records = fleet(&[("10.1.1.48", &["10.1.48.0/24"]), ("10.1.1.51", &["0.0.0.0/0", "10.1.51.0/24"])]);
    let own = Record::key(ip("10.1.1.48"));
    assert_eq!(overlap(&records, Some(&own), &[net("10.1.48.0/24")]), None);
    let found = overlap(&records, Some(&own), &[net("10.1.48.0/24"), net("10.1.51.128/25")]);
    assert_eq!(found, Some((net("10.1.51.128/25"), net("10.1.51.0/24"), Record::key(ip("10.1.1.51")))));
    assert!(overlap(&records, None, &[net("10.1.48.0/24")]).is_some());
}

/// Prefixes that are likely to overlap, or to be refused: few bits, many lengths, both families.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (prop::sample::select(vec![10u8, 172, 224, 44]), 0u8..4, 0u8..4, 0u8..=32)
        .prop_map(|(a, b, c, length)| IpNet::new(IpAddr::from([a, b, c << 6, 0]), length).unwrap().trunc());
    let v6 = (prop::sample::select(vec![0xfd00u16, 0x2001, 0xfe80]), 0u16..4, 8u8..=64).prop_map(
        |(a, b, length)| IpNet::new(IpAddr::from([a, b, b, 0, 0, 0, 0, 0]), length).unwrap().trunc(),
    );
    prop_oneof![3 => v4, 1 => v6]
}

fn hosts() -> impl Strategy<Value = Vec<Record>> {
    let host = prop_oneof![
        4 => (40u8..60).prop_map(|n| IpAddr::from([10, 1, 1, n])),
        1 => (40u16..60).prop_map(|n| IpAddr::from([0xfd00, 1, 0, 0, 0, 0, 0, n])),
    ];
    let hop =
        prop_oneof![5 => (40u8..60).prop_map(|n| IpAddr::from([10, 1, 1, n])), 1 => Just(ip("10.9.9.9"))];
    let one = (host, hop, vec(prefix(), 0..6))
        .prop_map(|(host, hop, prefixes)| record(host, &[hop, ip("fd00:1::99")], prefixes));
    vec(one, 0..12)
}

fn records(hosts: &[Record]) -> Records {
    hosts.iter().map(|record| (Record::key(record.host), Ok(Arc::new(record.clone())))).collect()
}

/// Compares address ranges, not prefixes: another way to the same answer.
fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.addr().is_ipv4() == b.addr().is_ipv4() && a.network() <= b.broadcast() && b.network() <= a.broadcast()
}

proptest! {
    #[test]
    fn it_agrees_with_comparing_everything_with_everything(hosts in hosts()) {
        let (records, local) = (records(&hosts), local());
        let judgement = judge(&records, &[], &local);
        let mut sorted: Vec<&Record> = records.values().map(|r| r.as_deref().unwrap()).collect();
        sorted.sort_by_key(|record| record.host);
        let mut kept: Vec<(IpNet, IpAddr)> = Vec::new();
        for record in sorted {
            let key = Record::key(record.host);
            for (_, prefix) in record.prefixes() {
                let accepted = judgement.accepted.iter().filter(|a| a.key == key && a.prefix == prefix).count();
                let refused: Vec<&Refused> =
                    judgement.refused.iter().filter(|r| r.file == key.as_str() && r.prefix == Some(prefix)).collect();
                let own = local.own.as_ref() == Some(&key);
                prop_assert_eq!(accepted + refused.len(), usize::from(!(own && refused.is_empty())));
                let lost = refused.first().is_some_and(|r| r.reason.contains("whose host has the lower address"));
                let contests = reserved::check_prefix(prefix).is_ok()
                    && !local.underlay.iter().any(|subnet| overlaps(&subnet.trunc(), &prefix))
                    && local.next_hop(record, prefix).is_ok();
                let loses = contests && kept.iter().any(|(other, host)| *host != record.host && overlaps(other, &prefix));
                prop_assert_eq!(lost, loses, "{} of {}", prefix, key);
                if contests && !loses {
                    kept.push((prefix, record.host));
                }
            }
        }
    }

    #[test]
    fn accepted_prefixes_of_different_hosts_never_overlap(hosts in hosts()) {
        let judgement = judge(&records(&hosts), &[], &local());
        for (index, a) in judgement.accepted.iter().enumerate() {
            for b in &judgement.accepted[index + 1..] {
                prop_assert!(a.prefix < b.prefix);
                prop_assert!(a.key == b.key || !overlaps(&a.prefix, &b.prefix), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn the_order_of_prefixes_does_not_matter(hosts in hosts()) {
        let turned: Records = records(&hosts)
            .into_iter()
            .map(|(key, record)| {
                let mut record = Record::clone(&record.unwrap());
                record.networks[0].prefixes.reverse();
                (key, Ok(Arc::new(record)))
            })
            .collect();
        prop_assert_eq!(judge(&turned, &[], &local()), judge(&records(&hosts), &[], &local()));
    }

    #[test]
    fn hosts_of_a_segment_decide_alike(hosts in hosts()) {
        let records = records(&hosts);
        let lost = |number: u8| {
            let address = IpAddr::from([10, 1, 1, number]);
            let underlay = vec![IpNet::new(address, 24).unwrap(), net("fd00:1::77/64")];
            let local = Local { own: Some(Record::key(address)), underlay, ..local() };
            let mut refused = judge(&records, &[], &local).refused;
            refused.retain(|r| r.reason.contains("whose host has the lower address"));
            refused
        };
        prop_assert_eq!(lost(41), lost(58));
    }

    #[test]
    fn what_was_accepted_is_accepted_again(hosts in hosts()) {
        let local = local();
        let before = records(&hosts);
        let first = judge(&before, &[], &local);
        // Only the prefixes that were not refused are left in each record.
        let after: Records = before
            .into_iter()
            .map(|(key, record)| {
                let mut record = Record::clone(&record.unwrap());
                record.networks[0].prefixes.retain(|prefix| {
                    !first.refused.iter().any(|r| r.file == key.as_str() && r.prefix == Some(*prefix))
                });
                (key, Ok(Arc::new(record)))
            })
            .collect();
        prop_assert_eq!(judge(&after, &[], &local), Judgement { accepted: first.accepted, refused: vec![] });
    }

    #[test]
    fn nothing_makes_it_panic(hosts in hosts(), underlay in vec(prefix(), 0..3), own in any::<bool>()) {
        let own = own.then(|| Key::parse("not-an-address").unwrap());
        let elsewhere = underlay.iter().map(|net| ("x".to_owned(), *net)).collect();
        judge(&records(&hosts), &[], &Local { own, parent: String::new(), underlay, elsewhere });
    }
}
