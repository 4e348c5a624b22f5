//! How fast a daemon starts, and what it holds resident.

use std::time::Duration;

use ipvland::kernel::Route;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::{
    fleet::{Daemon, Segment, Shop, place::Place},
    how::How,
    process,
    report::{Part, eprint},
    route::{
        address,
        bird::{self, Bird},
        prefix,
        raw::Raw,
    },
    row::{Row, Target, Unit},
    sample::Sample,
};

use super::routes::count;

/// What a daemon may hold resident, in MiB.
const RESIDENT: f64 = 30.0;

/// How long a start may take, and how long after it the routes may come, in milliseconds.
const START: f64 = 200.0;

/// How long a daemon is left alone before its memory is read: what it needed to begin is given back by then.
const SETTLED: Duration = Duration::from_secs(2);

/// Starts a daemon that knows nothing yet, waits for its routes, and returns its state directory with it.
fn first_start(how: &How, segment: &Segment, place: &Place, records: usize) -> (TempDir, Daemon) {
    let folder = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::start(&how.ipvland, &segment.b, place, folder.path());
    daemon.wait_for_routes(records);
    (folder, daemon)
}

/// Takes the memory of a daemon with many records, beside BIRD's.
pub(crate) async fn memory(how: &How, segment: &Segment) -> Part {
    let records = how.most_records();
    eprint(&format!("memory: {records} records"));
    let shop = Shop::git();
    let place = shop.place("fleet", records).await;
    let mut part = Part::default();
    block_in_place(|| {
        let (folder, first) = first_start(how, segment, &place, records);
        let fresh = settled(first.process());
        drop(first);
        let mut again = Daemon::start(&how.ipvland, &segment.b, &place, folder.path());
        again.wait_for_routes(records);
        let warm = settled(again.process());
        drop(again);
        segment.clear();
        let bird = bird(segment, records);
        let peer = Sample::of([settled(bird.process())[0]]);
        let name = count(records);
        for (what, [resident, most]) in [("from nothing", fresh), ("from its cache", warm)] {
            let what = format!("resident with {name} records, started {what}");
            part.row(
                Row::new("memory", &what, Unit::Mib, Sample::of([resident]))
                    .against("BIRD, static, as many routes", &peer)
                    .target(Target::Most(RESIDENT)),
            );
            part.row(Row::new("memory", format!("{what}: most so far"), Unit::Mib, Sample::of([most])));
        }
    });
    part
}

/// Times the start of a daemon that ran before, as at boot: the kernel has none of its routes.
pub(crate) async fn start(how: &How, segment: &Segment) -> Part {
    let records = how.most_records();
    eprint(&format!("start: {records} records"));
    let shop = Shop::git();
    let place = shop.place("fleet", records).await;
    let mut part = Part::default();
    block_in_place(|| {
        let (folder, first) = first_start(how, segment, &place, records);
        std::thread::sleep(SETTLED);
        drop(first);
        let [mut ready, mut routes, mut peer] = [const { Vec::new() }; 3];
        for _ in 0..how.rounds {
            segment.clear();
            let mut daemon = Daemon::start(&how.ipvland, &segment.b, &place, folder.path());
            let there = daemon.wait_for_routes(records);
            ready.push(daemon.ready);
            routes.push((there - daemon.started).saturating_sub(daemon.ready));
            std::thread::sleep(Duration::from_millis(500));
            drop(daemon);
            segment.clear();
            peer.push(bird_start(segment, records));
        }
        let peer = Sample::new(peer);
        let name = count(records);
        part.row(
            Row::new(
                "start",
                format!("start to ready, warm cache, {name} records"),
                Unit::Ms,
                Sample::new(ready),
            )
            .against("BIRD, static, start to all routes", &peer)
            .target(Target::Most(START)),
        );
        part.row(
            Row::new("start", format!("ready to all {name} routes"), Unit::Ms, Sample::new(routes))
                .against("BIRD, static, start to all routes", &peer)
                .target(Target::Most(START)),
        );
    });
    part
}

/// Returns what a process holds resident, and the most that it held.
fn settled(process: u32) -> [f64; 2] {
    std::thread::sleep(SETTLED);
    ["VmRSS", "VmHWM"].map(|key| process::memory(process, key))
}

/// Starts a BIRD on B with as many routes, and waits for them.
fn bird(segment: &Segment, routes: usize) -> Bird {
    let statics: Vec<_> = (0..routes).map(route).collect();
    let bird = Bird::start(Some(&segment.b.namespace), &segment.b.address.to_string(), "", &statics);
    bird::wait(&mut segment.b.namespace.inside(Raw::open), routes);
    bird
}

fn bird_start(segment: &Segment, routes: usize) -> Duration {
    let begun = std::time::Instant::now();
    let bird = bird(segment, routes);
    let took = begun.elapsed();
    drop(bird);
    segment.clear();
    took
}

fn route(number: usize) -> Route {
    Route {
        prefix: prefix(number),
        gateway: Some(address(number).into()),
        link: None,
        protocol: bird::PROTOCOL,
        metric: 0,
        source: None,
        mtu: None,
    }
}
