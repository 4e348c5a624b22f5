//! From a commit on host A to the route in host B's kernel, by two real daemons.

use std::time::Duration;

use ipnet::IpNet;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::{
    curve::Curve,
    fleet::{Committer, Daemon, Segment, Shop, place::Place},
    how::{Hint, How},
    namespace::Namespace,
    peer::{BareEtcd, EtcdRoute, Get, GitProgram, Peer as _, PlainStore, stock},
    report::{Part, eprint},
    route::{
        bird::Bird,
        raw::{Heard, Raw},
    },
    row::{Row, Target, Unit},
    sample::Sample,
};

use super::routes::count;

/// What the stock path takes against ours on one machine: 190 ms and 70.
const STOCK: f64 = 70.0 / 190.0;

/// How long everybody is left alone between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// How long after a foreign route a daemon has looked at all of them: it gathers what else there is, and leaves 300 ms
/// between two such looks.
const SETTLED: Duration = Duration::from_millis(500);

/// Two daemons before one store.
struct Pair {
    a: Daemon,
    b: Daemon,
    ears: Raw,
    _folders: [TempDir; 2],
}

/// What a size gives.
struct Told {
    records: usize,
    told: Sample,
    /// The processor time that B takes for one changed record, in milliseconds.
    processor: Sample,
}

/// Times Git.
pub(crate) async fn git(how: &How, segment: &Segment) -> Part {
    let shop = Shop::git();
    let mut part = Part::default();
    let mut curve = curve();
    let mut sizes = Vec::new();
    for records in how.records.iter().copied() {
        eprint(&format!("git: {records} records"));
        let names = ["fleet", "alone", "stock"].map(|name| format!("{name}-{records}"));
        let place = shop.place(&names[0], records).await;
        let [alone, stock] = [&names[1], &names[2]].map(|name| shop.copy(&names[0], name));
        let mut pair = block_in_place(|| Pair::start(how, segment, &place, records));
        let url = stock.table["repo"].as_str().expect("a URL").to_owned();
        let program = GitProgram::new(url.clone());
        let mut plain = PlainStore::open(&alone).await;
        let (mut told, mut processor) = (Vec::new(), Vec::new());
        let [mut alone, mut pushes] = [const { Vec::new() }; 2];
        for round in 0..how.rounds {
            let (took, used) = block_in_place(|| pair.round(how, round));
            told.push(took);
            processor.push(used);
            let [push, fetch] = plain.write_and_read(round).await;
            alone.push(push + fetch);
            pushes.push(program.push_and_fetch(round).await);
        }
        drop(plain);
        let home = tempfile::tempdir().expect("a directory");
        let stock = Sample::new(stock::push_and_fetch(&url, how.rounds, home.path()).await);
        let [told, alone, pushes] = [told, alone, pushes].map(Sample::new);
        let what = format!("Git, hinted: commit on A to route in B's kernel, {} records", count(records));
        let row = || Row::new("git", &what, Unit::Ms, told.clone());
        part.row(row().against("push + fetch, timed alone", &alone).target(Target::Times(1.3)));
        part.row(
            row().against("git2 as it comes, push + fetch", &stock).target(Target::Times(round2(STOCK))),
        );
        part.row(row().against("git push + git fetch", &pushes));
        for (line, sample) in [
            ("ipvland, Git, hinted", &told),
            ("push + fetch, timed alone", &alone),
            ("git2 as it comes, push + fetch", &stock),
            ("git push + git fetch", &pushes),
        ] {
            curve.add(line, records, sample.median());
        }
        sizes.push(Told { records, told, processor: each(processor) });
    }
    against_the_least(&sizes, &mut part);
    let bgp = block_in_place(|| bgp(how, segment));
    let least = sizes.first().expect("a size");
    part.row(
        Row::new("git", format!("the same, {} records", count(least.records)), Unit::Ms, least.told.clone())
            .against("BIRD with BGP, configure to route", &bgp),
    );
    no_change(&shop, how, &mut part).await;
    part.curves.push(curve);
    part
}

/// Times etcd.
pub(crate) async fn etcd(how: &How, segment: &Segment) -> Part {
    // Each has an etcd to itself, so that nobody's writes move another's revision.
    let [shop, beside] = [(); 2].map(|()| Shop::etcd());
    let endpoint = beside.named("beside").table["endpoints"][0].as_str().expect("a URL").to_owned();
    let bare = BareEtcd::new(vec![endpoint.clone()], "/beside".to_owned()).await;
    let mut part = Part::default();
    let mut curve = curve();
    for records in how.records.iter().copied() {
        eprint(&format!("etcd: {records} records"));
        let place = shop.place(&format!("fleet-{records}"), records).await;
        let mut pair = block_in_place(|| Pair::start(how, segment, &place, records));
        let committer = Committer::open(&place).await;
        let floor = EtcdRoute::new(&endpoint, "/route", &segment.b.namespace, segment.a.address).await;
        let [mut asked, mut told, mut peer, mut least] = [const { Vec::new() }; 4];
        for round in 0..how.rounds {
            asked.push(block_in_place(|| pair.round(how, round)).0);
            told.push(committer.round(&mut pair.ears, round).await);
            peer.push(bare.tell(round).await);
            let prefix = format!("172.31.{}.0/24", round % 256).parse().expect("a prefix");
            least.push(floor.tell(&mut pair.ears, prefix).await);
            // B's daemon hears of that route as well, and looks at all routes once: what is timed next need not wait for that.
            tokio::time::sleep(SETTLED).await;
        }
        let [asked, told, peer, least] = [asked, told, peer, least].map(Sample::new);
        curve.add("ipvland, etcd", records, asked.median());
        curve.add("bare put to watch", records, peer.median());
        curve.add("bare put, watch elsewhere and one route", records, least.median());
        let row = |what: &str, sample| {
            let what = format!("etcd: {what} to route in B's kernel, {} records", count(records));
            Row::new("etcd", what, Unit::Ms, sample)
        };
        let commit = || row("commit", told.clone());
        part.row(commit().against("bare put to watch", &peer).target(Target::Times(1.5)));
        part.row(commit().against("bare put, watch elsewhere and one route", &least));
        part.row(row("Docker's request on A", asked).against("bare put to watch", &peer));
    }
    part.curves.push(curve);
    part
}

/// Begins the curve that both stores are drawn in.
fn curve() -> Curve {
    Curve::new("convergence", "From a commit on one host to the route on another", "hosts in the store", "ms")
}

impl Pair {
    fn start(how: &How, segment: &Segment, place: &Place, records: usize) -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        segment.clear();
        let mut b = Daemon::start(&how.ipvland, &segment.b, place, folders[1].path());
        let mut a = Daemon::start(&how.ipvland, &segment.a, place, folders[0].path());
        // The records' and each other's.
        Daemon::settle(&mut [&mut a, &mut b], records + 1);
        let ears = segment.b.namespace.inside(Raw::listen);
        std::thread::sleep(PAUSE);
        Self { a, b, ears, _folders: folders }
    }

    /// Lets A publish a prefix and take it back, and returns how long it took until B's kernel had the route, and the
    /// processor time that B used for both changes.
    fn round(&mut self, how: &How, round: usize) -> (Duration, Duration) {
        let number = round + 1;
        let prefix: IpNet = format!("192.168.{}.0/24", 10 + round % 200).parse().expect("a prefix");
        let used = self.b.used();
        let begun = std::time::Instant::now();
        self.a.create_network(number, prefix);
        self.hint(how);
        let heard = self.ears.wait_for(Heard::New(prefix)).unwrap_or_else(|why| self.fail(&why));
        let took = heard - begun;
        self.a.delete_network(number);
        if how.hint == Hint::Sync {
            // The answer to Docker doesn't wait for the store.
            std::thread::sleep(PAUSE * 3);
        }
        self.hint(how);
        self.ears.wait_for(Heard::Gone(prefix)).unwrap_or_else(|why| self.fail(&why));
        std::thread::sleep(PAUSE);
        (took, self.b.used().since(&used))
    }

    fn hint(&self, how: &How) {
        if how.hint == Hint::Sync {
            self.b.sync();
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}; the daemon on A:\n{}\nthe daemon on B:\n{}", self.a.log(), self.b.log())
    }
}

/// Returns what one of the two changes of each round takes.
fn each(used: Vec<Duration>) -> Sample {
    Sample::new(used.into_iter().map(|both| both / 2))
}

/// Holds the larger fleets against the smallest.
fn against_the_least(sizes: &[Told], part: &mut Part) {
    let Some((least, others)) = sizes.split_first() else { return };
    for other in others {
        let (records, few) = (count(other.records), count(least.records));
        let row = Row::new(
            "git",
            format!("Git, hinted: {records} records against {few}"),
            Unit::Ms,
            other.told.clone(),
        );
        part.row(row.against(format!("ours, {few} records"), &least.told).target(Target::Times(2.0)));
        let what = format!("1 record of {records} changes: processor time of a host");
        let row = Row::new("git", what, Unit::Ms, other.processor.clone());
        part.row(row.against(format!("ours, {few} records"), &least.processor).target(Target::Beyond(6.0)));
    }
}

/// Times BIRD: from a change of its configuration on A to the route on B.
fn bgp(how: &How, segment: &Segment) -> Sample {
    let route = |prefix: &str| ipvland::kernel::Route {
        prefix: prefix.parse().expect("a prefix"),
        gateway: Some(crate::route::address(0).into()),
        link: None,
        protocol: 0,
        metric: 0,
        source: None,
        mtu: None,
    };
    let speaker = |at: &Namespace, own: std::net::IpAddr, number: u32, other: std::net::IpAddr, its: u32| {
        let bgp = format!(
            "protocol bgp neighbour {{ local {own} as {number}; neighbor {other} as {its}; connect delay time 1; \
             connect retry time 1; ipv4 {{ import all; export where source = RTS_STATIC; }}; }}"
        );
        Bird::start(Some(at), &own.to_string(), &bgp, &[])
    };
    let (a, b) = (&segment.a, &segment.b);
    let there = speaker(&b.namespace, b.address, 65_002, a.address, 65_001);
    let here = speaker(&a.namespace, a.address, 65_001, b.address, 65_002);
    let begun = std::time::Instant::now();
    while ![&here, &there].iter().all(|bird| bird.ask("show protocols neighbour").contains("Established")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the two BIRDs don't meet");
        std::thread::sleep(PAUSE);
    }
    let mut ears = b.namespace.inside(Raw::listen);
    let took = (0..how.rounds).map(|round| {
        let prefix = format!("192.168.{}.0/24", 10 + round % 200);
        let begun = here.configure(&[route(&prefix)]);
        let heard = ears.wait_for(Heard::New(prefix.parse().expect("a prefix")));
        heard.unwrap_or_else(|why| panic!("{why}")) - begun
    });
    Sample::new(took.collect::<Vec<_>>())
}

/// Times a look that finds nothing new, against the least that a look takes.
async fn no_change(shop: &Shop, how: &How, part: &mut Part) {
    let place = shop.place("quiet", 10).await;
    let mut plain = PlainStore::open(&place).await;
    plain.write_and_read(0).await;
    let mut get = Get::connect(place.table["repo"].as_str().expect("a URL"));
    let (mut looks, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds * 5 {
        looks.push(plain.look().await);
        gets.push(block_in_place(|| get.once()));
    }
    part.row(
        Row::new("git", "no-change poll", Unit::Ms, Sample::new(looks))
            .against("one GET of info/refs, kept connection", &Sample::new(gets))
            .target(Target::Times(1.2)),
    );
}

fn round2(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
