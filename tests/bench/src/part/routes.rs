//! How fast routes get into the kernel, and stay as they are.

use std::time::{Duration, Instant};

use ipvland::kernel::{ROUTE_PROTOCOL, Route};
use tokio::task::block_in_place;

use crate::{
    curve::Curve,
    how::How,
    namespace::{Namespace, join},
    report::{Part, eprint},
    route::{
        UNDERLAY, address,
        bird::{self, Bird},
        ip_batch::IpBatch,
        ours::Ours,
        raw::Raw,
    },
    row::{Row, Target, Unit},
    sample::{Sample, time},
};

/// The link that routes leave by.
const LINK: &str = "eth2";

/// Above so many routes with distinct gateways, those who keep to one metric take minutes.
const MOST_QUADRATIC: usize = 10_000;

/// How often a figure is taken that takes seconds.
const SLOW_ROUNDS: usize = 3;

/// Makes the namespace that [`measure`] runs in.
pub(crate) fn namespace() -> Namespace {
    let (here, there) = (Namespace::new("routes"), Namespace::new("segment"));
    join((&here, LINK), (&there, LINK));
    // The first of the addresses that no host of the fleet has.
    here.ip(&format!("address add 10.100.0.1/{} dev {LINK}", UNDERLAY.prefix_len()));
    here
}

/// Takes all figures, in the namespace that we are in.
pub(crate) async fn measure(how: &How) -> Part {
    let link = index_of(LINK);
    let mut bench = Bench { link, raw: Raw::open(), rounds: how.rounds };
    let mut part = Part::default();
    let name = count(how.routes);

    let distinct = bench.fill(how.routes, how.routes).await;
    let what = format!("{name} routes, distinct gateways, from empty");
    part.row(
        Row::new("routes", &what, Unit::Ms, distinct.ours.clone())
            .against("raw batch, spread metrics", &distinct.raw_spread)
            .target(Target::Times(1.2)),
    );
    part.row(
        Row::new("routes", &what, Unit::Ms, distinct.ours.clone())
            .against("BIRD, static", &distinct.bird)
            .target(Target::Faster(20.0)),
    );
    part.row(
        Row::new("routes", &what, Unit::Ms, distinct.ours.clone())
            .against("raw batch, one metric", &distinct.raw),
    );
    part.row(
        Row::new("routes", &what, Unit::Ms, distinct.ours.clone()).against("ip -batch", &distinct.ip_batch),
    );

    let single = bench.fill(how.routes, 1).await;
    let what = format!("{name} routes, one gateway");
    let peers = [
        ("raw batch", &single.raw, Target::Times(1.3)),
        ("BIRD, static", &single.bird, Target::Faster(2.5)),
        ("ip -batch", &single.ip_batch, Target::Faster(4.0)),
    ];
    for (peer, sample, target) in peers {
        let row = Row::new("routes", &what, Unit::Ms, single.ours.clone());
        part.row(row.against(peer, sample).target(target));
    }

    let (few, many) = bench.two_sizes(how.routes, how.many).await;
    part.row(
        Row::new("routes", format!("{} routes against {name}", count(how.many)), Unit::Ms, many)
            .against(format!("ours, {name}"), &few)
            .target(Target::Times(3.5)),
    );
    bench.nothing_to_do(how.routes, &mut part).await;
    bench.link_down(how.routes, &mut part).await;
    part.curves.push(bench.curve(&how.curve).await);
    part
}

/// How long the kernel is left alone after the routes of a link went: it frees them afterwards, which whoever is timed next
/// would pay for.
const SETTLE: Duration = Duration::from_millis(100);

struct Bench {
    link: u32,
    raw: Raw,
    rounds: usize,
}

/// How long the same routes took by each.
struct Fill {
    ours: Sample,
    raw_spread: Sample,
    raw: Sample,
    bird: Sample,
    ip_batch: Sample,
}

impl Bench {
    /// Takes the routes away: the kernel drops those of a link that goes down.
    fn clear(&mut self) {
        self.raw.set_link(self.link, false);
        self.raw.set_link(self.link, true);
        let left = self.raw.count(ROUTE_PROTOCOL) + self.raw.count(bird::PROTOCOL);
        assert_eq!(left, 0, "routes are left of a round");
        std::thread::sleep(SETTLE);
    }

    /// Times a way to so many routes from an empty table, and sees that they are there.
    fn check(&mut self, took: Duration, routes: usize, protocol: u8) -> Duration {
        assert_eq!(self.raw.count(protocol), routes, "routes are missing");
        self.clear();
        took
    }

    async fn ours(&mut self, ours: &Ours) -> Duration {
        let mut written = 0;
        let took = time(async { written = ours.pass().await }).await;
        self.check(took, written, ROUTE_PROTOCOL)
    }

    fn raw(&mut self, routes: &[Route]) -> Duration {
        block_in_place(|| {
            let begun = Instant::now();
            self.raw.add(routes);
            let took = begun.elapsed();
            self.check(took, routes.len(), ROUTE_PROTOCOL)
        })
    }

    fn bird(&mut self, routes: &[Route]) -> Duration {
        block_in_place(|| {
            let bird = Bird::start(None, &address(1).to_string(), "", &[]);
            let begun = bird.configure(routes);
            let took = bird::wait(&mut self.raw, routes.len()) - begun;
            drop(bird);
            self.check(took, routes.len(), bird::PROTOCOL)
        })
    }

    fn ip_batch(&mut self, batch: &IpBatch, routes: usize) -> Duration {
        block_in_place(|| {
            let took = batch.run();
            self.check(took, routes, ROUTE_PROTOCOL)
        })
    }

    /// Times two numbers of routes with distinct gateways in turn.
    async fn two_sizes(&mut self, few: usize, many: usize) -> (Sample, Sample) {
        let [few, many] = [few, many].map(|routes| Ours::new(self.link, routes, routes));
        let (mut few_took, mut many_took) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            few_took.push(self.ours(&few).await);
            many_took.push(self.ours(&many).await);
        }
        (Sample::new(few_took), Sample::new(many_took))
    }

    /// Times everybody in turn.
    async fn fill(&mut self, routes: usize, gateways: usize) -> Fill {
        eprint(&format!("routes: {routes} with {gateways} gateways"));
        let ours = Ours::new(self.link, routes, gateways);
        let spread = ours.wanted().collect::<Vec<_>>();
        let plain = one_metric(&spread);
        let batch = IpBatch::new(&plain, LINK);
        let [mut own, mut raw_spread, mut raw, mut bird, mut ip_batch] = [const { Vec::new() }; 5];
        for round in 0..self.rounds {
            own.push(self.ours(&ours).await);
            raw_spread.push(self.raw(&spread));
            if gateways == 1 || round < SLOW_ROUNDS {
                raw.push(self.raw(&plain));
                bird.push(self.bird(&plain));
                ip_batch.push(self.ip_batch(&batch, routes));
            }
        }
        let [ours, raw_spread, raw, bird, ip_batch] = [own, raw_spread, raw, bird, ip_batch].map(Sample::new);
        Fill { ours, raw_spread, raw, bird, ip_batch }
    }

    /// Times a pass that finds all as it should be, and counts what the kernel tells of writes meanwhile.
    async fn nothing_to_do(&mut self, routes: usize, part: &mut Part) {
        let ours = Ours::new(self.link, routes, routes);
        ours.pass().await;
        let mut ears = Raw::listen();
        let (mut passes, mut dumps, mut planned) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.rounds * 10 {
            passes.push(time(async { planned += ours.pass().await }).await);
            let begun = Instant::now();
            let there = block_in_place(|| self.raw.count(ROUTE_PROTOCOL));
            dumps.push(begun.elapsed());
            assert_eq!(there, routes, "a pass with nothing to do lost routes");
        }
        let writes = ears.changes(ROUTE_PROTOCOL);
        assert_eq!(planned, writes, "the kernel tells of other writes than were made");
        self.clear();
        let what = format!("full pass, nothing to do, {} routes", count(routes));
        part.row(
            Row::new("routes", &what, Unit::Ms, Sample::new(passes))
                .against("raw dump", &Sample::new(dumps))
                .target(Target::Times(1.5)),
        );
        let row = Row::new("routes", format!("{what}: writes"), Unit::Count, Sample::of([writes as f64]));
        part.row(row.target(Target::Most(0.0)));
    }

    /// Times the kernel when the link goes down, with our routes and with plain ones.
    async fn link_down(&mut self, routes: usize, part: &mut Part) {
        let ours = Ours::new(self.link, routes, routes);
        let plain = one_metric(&ours.wanted().collect::<Vec<_>>());
        let (mut own, mut peer) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            ours.pass().await;
            own.push(self.down());
            if round < SLOW_ROUNDS {
                block_in_place(|| self.raw.add(&plain));
                peer.push(self.down());
            }
        }
        part.row(
            Row::new(
                "routes",
                format!("link down with {} routes", count(routes)),
                Unit::Ms,
                Sample::new(own),
            )
            .against("plain routes, one metric", &Sample::new(peer))
            .target(Target::Times(2.0)),
        );
    }

    fn down(&mut self) -> Duration {
        let begun = Instant::now();
        self.raw.set_link(self.link, false);
        let took = begun.elapsed();
        self.raw.set_link(self.link, true);
        self.clear();
        took
    }

    /// Times everybody over sizes, distinct gateways.
    async fn curve(&mut self, sizes: &[usize]) -> Curve {
        let mut curve =
            Curve::new("routes", "Routes with distinct gateways, from an empty table", "routes", "ms");
        for size in sizes.iter().copied() {
            let ours = Ours::new(self.link, size, size);
            let (mut own, mut raw_spread) = (Vec::new(), Vec::new());
            let spread = ours.wanted().collect::<Vec<_>>();
            for _ in 0..SLOW_ROUNDS {
                own.push(self.ours(&ours).await);
                raw_spread.push(self.raw(&spread));
            }
            curve.add("ipvland", size, Sample::new(own).median());
            curve.add("raw netlink batch, spread metrics", size, Sample::new(raw_spread).median());
            if size <= MOST_QUADRATIC {
                let plain = one_metric(&spread);
                let took = [
                    ("raw netlink batch, one metric", self.raw(&plain)),
                    ("BIRD", self.bird(&plain)),
                    ("ip -batch", self.ip_batch(&IpBatch::new(&plain, LINK), size)),
                ];
                took.iter().for_each(|(name, took)| curve.add(name, size, took.as_secs_f64() * 1e3));
            }
        }
        curve
    }
}

/// The same routes as everybody else writes them.
fn one_metric(routes: &[Route]) -> Vec<Route> {
    routes.iter().map(|route| Route { metric: 0, ..route.clone() }).collect()
}

/// Returns a number with its thousands apart.
pub(crate) fn count(number: usize) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", number / 1000, number % 1000)
}

/// Returns the number of a link of the namespace that we are in.
fn index_of(link: &str) -> u32 {
    let listed = crate::namespace::ip(&format!("-o link show dev {link}"));
    let number = listed.split(':').next().and_then(|number| number.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no link {link} in this namespace"))
}
