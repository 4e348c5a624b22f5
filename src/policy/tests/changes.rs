//! Whatever became of records, one by one: a judge that was told each says what one says that sees the last of them alone.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Something that may happen between two updates.
#[derive(Debug, Clone)]
enum Step {
    /// A host's file has another record, under its key, or in another spelling.
    Put(Record, bool),
    /// A host's file can't be read.
    Spoil(IpAddr),
    /// A file is gone.
    Remove(IpAddr, bool),
    /// Something else lies among the records.
    Strays(Vec<Stray>),
    /// The judge sees what has happened since it looked last.
    Look,
    /// This host is another, or its interfaces have other addresses.
    Move(Local),
}

fn host() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (46u8..54).prop_map(|n| IpAddr::from([10, 1, 1, n])),
        1 => (46u16..50).prop_map(|n| IpAddr::from([0xfd00, 1, 0, 0, 0, 0, 0, n])),
    ]
}

fn some_record() -> impl Strategy<Value = Record> {
    let hop = prop_oneof![
        6 => (40u8..60).prop_map(|n| IpAddr::from([10, 1, 1, n])),
        1 => Just(ip("10.9.9.9")),
    ];
    let underlay =
        prop_oneof![9 => Just(Underlay::Direct), 1 => Just(Underlay::Unknown("vxlan".into(), Map::new()))];
    (host(), hop, vec(prefix(), 0..5), underlay, "[a-c]?").prop_map(
        |(host, hop, prefixes, underlay, network)| {
            let mut record = record(host, &[hop, ip("fd00:1::99")], prefixes.clone());
            // A prefix may stand in two networks of one record.
            record.networks.push(RecordNetwork { name: network, prefixes, unknown: Map::new() });
            Record { underlay, ..record }
        },
    )
}

fn some_local() -> impl Strategy<Value = Local> {
    let own = prop_oneof![3 => host().prop_map(|host| Some(Record::key(host))), 1 => Just(None)];
    let underlay = prop::sample::subsequence(
        vec![net("10.1.1.48/24"), net("10.1.1.49/25"), net("fd00:1::48/64"), net("44.0.0.1/10")],
        0..4,
    );
    let elsewhere = vec(prefix().prop_map(|net| ("docker0".to_owned(), net)), 0..2);
    (own, underlay, elsewhere).prop_map(|(own, underlay, elsewhere)| Local {
        own,
        parent: "eth2".into(),
        underlay,
        elsewhere,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let strays = vec("[a-c]", 0..3).prop_map(|names| {
        let strays = names.into_iter().map(|name| Stray { reason: format!("it is {name}"), name });
        strays.collect::<BTreeSet<_>>().into_iter().collect()
    });
    prop_oneof![
        8 => (some_record(), prop::bool::weighted(0.2)).prop_map(|(record, other)| Step::Put(record, other)),
        1 => host().prop_map(Step::Spoil),
        3 => (host(), prop::bool::weighted(0.3)).prop_map(|(host, other)| Step::Remove(host, other)),
        1 => strays.prop_map(Step::Strays),
        5 => Just(Step::Look),
        1 => some_local().prop_map(Step::Move),
    ]
}

/// The key of a host's file, or one that names the same host otherwise.
fn key(host: IpAddr, other: bool) -> Key {
    if other { Key::parse(&host.to_string()).unwrap() } else { Record::key(host) }
}

/// What a reader of the changes knows.
#[derive(Debug, Default, PartialEq)]
struct Reader {
    routes: BTreeMap<IpNet, IpAddr>,
    refused: BTreeMap<(String, Option<IpNet>), String>,
}

impl Reader {
    fn of(judge: &Judge) -> Self {
        let refused = judge.refused().into_iter().map(|it| ((it.file, it.prefix), it.reason));
        Self { routes: judge.routes().collect(), refused: refused.collect() }
    }

    fn amend(&mut self, judge: &Judge, changes: Changes) {
        for prefix in changes.prefixes {
            match judge.next_hop(prefix) {
                Some(next_hop) => self.routes.insert(prefix, next_hop),
                None => self.routes.remove(&prefix),
            };
        }
        for (place, why) in changes.refused {
            match why {
                Some(why) => self.refused.insert(place, why),
                None => self.refused.remove(&place),
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changes_one_by_one_end_where_a_judgement_of_all_does(
        first in vec(some_record(), 0..8),
        here in some_local(),
        steps in vec(step(), 1..40),
    ) {
        let mut records: Records = records(&first);
        let (mut strays, mut local) = (Vec::new(), here);
        let mut judge = Judge::new(local.clone());
        judge.update(&records, &strays, None);
        let mut reader = Reader::of(&judge);
        let mut changed = BTreeSet::new();
        for step in steps.into_iter().chain([Step::Look]) {
            match step {
                Step::Put(record, other) => {
                    changed.insert(key(record.host, other));
                    records.insert(key(record.host, other), Ok(Arc::new(record)));
                }
                Step::Spoil(host) => {
                    changed.insert(key(host, false));
                    records.insert(key(host, false), Err(Reason("the file is empty".into())));
                }
                Step::Remove(host, other) => {
                    changed.insert(key(host, other));
                    records.remove(&key(host, other));
                }
                Step::Strays(now) => strays = now,
                Step::Move(now) => {
                    local = now;
                    judge = Judge::new(local.clone());
                    judge.update(&records, &strays, None);
                    reader = Reader::of(&judge);
                    changed.clear();
                }
                Step::Look => {
                    let update = judge.update(&records, &strays, Some(&std::mem::take(&mut changed)));
                    let Update::Only(changes) = update else { panic!("it was judged anew") };
                    reader.amend(&judge, changes);
                    prop_assert_eq!(judge.judgement(), super::judge(&records, &strays, &local));
                    prop_assert_eq!(&reader, &Reader::of(&judge));
                }
            }
        }
    }
}

#[test]
fn a_host_that_goes_lets_the_next_win_and_so_on() {
    let hosts: [(&str, &[&str]); 4] = [
        ("10.1.1.50", &["10.2.0.0/16"]),
        ("10.1.1.51", &["10.2.1.0/24", "10.3.0.0/16"]),
        ("10.1.1.52", &["10.2.1.128/25", "10.4.0.0/16"]),
        ("10.1.1.53", &["10.2.2.0/24", "10.9.0.0/16"]),
    ];
    let mut records = fleet(&hosts);
    let mut judge = Judge::new(local());
    assert_eq!(judge.update(&records, &[], None), Update::Anew);
    let first = Record::key(ip("10.1.1.50"));
    records.remove(&first);
    let Update::Only(changes) = judge.update(&records, &[], Some(&[first].into())) else { panic!() };
    let prefixes: Vec<String> = changes.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.2.0.0/16", "10.2.1.0/24", "10.2.1.128/25", "10.2.2.0/24"], "and no other");
    assert_eq!(judge.next_hop(net("10.2.1.0/24")), Some(ip("10.1.1.51")));
    assert_eq!(judge.next_hop(net("10.2.1.128/25")), None);
    let lost = changes.refused[&("10.1.1.52.json".to_owned(), Some(net("10.2.1.128/25")))].clone();
    assert_eq!(
        lost.as_deref(),
        Some("it overlaps 10.2.1.0/24 of 10.1.1.51.json, whose host has the lower address")
    );
    assert_eq!(changes.refused[&("10.1.1.53.json".to_owned(), Some(net("10.2.2.0/24")))], None);
}
