//! Times the parts that touch neither disk, network nor kernel: `cargo bench -p bench`.
#![allow(missing_docs, reason = "the macros of criterion write functions without docs")]
#![allow(clippy::expect_used, reason = "a benchmark that can't run ends, and says why")]

use std::{collections::BTreeMap, hint::black_box, net::Ipv4Addr, sync::Arc};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use ipvland::{
    plan,
    policy::{self, Local, Records},
    record::Record,
};
use ipvland_store::Key;
use serde_json::json;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).expect("a number of a host");
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + number)
}

fn prefix(number: usize) -> IpNet {
    let number = u32::try_from(number).expect("a number of a host");
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + (number << 8));
    Ipv4Net::new(address, 24).expect("a prefix").into()
}

fn key(number: usize) -> Key {
    Record::key(address(number).into())
}

/// A record as the daemon writes it.
fn bytes(number: usize) -> String {
    let record = json!({
        "version": 1,
        "host": address(number),
        "id": format!("{number:032x}"),
        "name": format!("web-{number}"),
        "next_hops": [address(number)],
        "networks": [{ "name": "blue", "prefixes": [prefix(number)] }],
        "underlay": { "kind": "direct" },
        "meta": {},
    });
    serde_json::to_string_pretty(&record).expect("a record is JSON") + "\n"
}

fn fleet(size: usize) -> Records {
    let parse = |number| Record::parse(&key(number), bytes(number).as_bytes()).map(Arc::new);
    (0..size).map(|number| (key(number), parse(number))).collect()
}

fn local() -> Local {
    let net = |text: &str| text.parse::<IpNet>().expect("a subnet");
    Local {
        own: Some(key(0)),
        parent: "eth2".to_owned(),
        underlay: vec![net("10.100.0.1/9")],
        elsewhere: vec![("docker0".to_owned(), net("172.17.0.1/16"))],
    }
}

fn record(c: &mut Criterion) {
    let (key, bytes) = (key(7), bytes(7));
    c.bench_function("record/parse", |b| b.iter(|| Record::parse(black_box(&key), bytes.as_bytes())));
    let record = Record::parse(&key, bytes.as_bytes()).expect("a record");
    c.bench_function("record/write", |b| b.iter(|| black_box(&record).to_bytes()));
}

fn judge(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/judge");
    for size in SIZES {
        let (records, local) = (fleet(size), local());
        group.throughput(Throughput::Elements(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &records, |b, records| {
            b.iter(|| policy::judge(records, &[], &local));
        });
    }
    group.finish();
}

fn plans(c: &mut Criterion) {
    c.bench_function("plan/metric", |b| b.iter(|| plan::metric(black_box(prefix(7)))));
    let mut group = c.benchmark_group("plan");
    for size in SIZES {
        let accepted = policy::judge(&fleet(size), &[], &local()).accepted;
        let route = |accepted: &policy::Accepted| plan::route(accepted.prefix, accepted.next_hop, 7);
        let mut wanted: Vec<_> = accepted.iter().map(route).collect();
        wanted.sort_unstable();
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("from empty", size), |b| b.iter(|| plan::plan(&wanted, &[])));
        group.bench_function(BenchmarkId::new("nothing to do", size), |b| {
            b.iter(|| plan::plan(&wanted, &wanted));
        });
        group.bench_function(BenchmarkId::new("all go", size), |b| b.iter(|| plan::plan(&[], &wanted)));
    }
    group.finish();
}

fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    for size in SIZES {
        let records: BTreeMap<Key, bytes::Bytes> =
            (0..size).map(|number| (key(number), bytes::Bytes::from(bytes(number)))).collect();
        group.bench_function(BenchmarkId::new("clone", size), |b| {
            b.iter_batched(|| (), |()| records.clone(), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn registry(c: &mut Criterion) {
    let registry = ipvland_backends::registry();
    let table = json!({ "repo": "https://user:password@git.example/net/overlay.git", "interval": "10s" });
    c.bench_function("registry/make", |b| b.iter(ipvland_backends::registry));
    c.bench_function("registry/check a table", |b| b.iter(|| registry.check("git", black_box(&table))));
    c.bench_function("store/parse a key", |b| b.iter(|| Key::parse(black_box("10.1.1.48.json"))));
}

criterion_group!(pure, record, judge, plans, snapshots, registry);
criterion_main!(pure);
