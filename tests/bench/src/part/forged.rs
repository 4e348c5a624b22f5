//! A host that is flooded with nudges that nobody of the fleet has sent.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use servers::process::{Running, free_port};
use tokio::task::block_in_place;

use crate::{
    fleet::{Daemon, Segment, Shop, segment::SERVER},
    how::{Hint, How},
    process::Used,
    relay::Relay,
    report::{Part, eprint},
    row::{Row, Target, Unit},
    sample::Sample,
};

use super::routes::count;

/// How many datagrams a second are sent.
const RATE: usize = 100_000;

/// How many are sent before the sender looks at the clock.
const BURST: usize = 100;

/// How long each flood is.
const FLOOD: Duration = Duration::from_secs(5);

/// How many records the fleet has.
const RECORDS: usize = 10;

/// Takes the looks and the processor time of a daemon under a flood, and the processor time of somebody who only reads.
pub(crate) async fn measure(how: &How, segment: &Segment) -> Part {
    assert!(how.hint == Hint::Daemon, "without nudges there is nothing to forge: leave --hint out");
    eprint("nudges: a flood of forged ones");
    let shop = Shop::git();
    let place = shop.place("fleet", RECORDS).await;
    let Shop::Git(server) = &shop else { panic!("this is Git") };
    let relay = Relay::start(server.address());
    let mut through = place.clone();
    let url = place.table["repo"].as_str().expect("a URL");
    let port = format!("{SERVER}:{}", server.address().port());
    through.table =
        json!({ "repo": url.replace(&port, &format!("{SERVER}:{}", relay.port())), "interval": "1h" });

    block_in_place(|| {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let mut b = Daemon::start(&how.ipvland, &segment.b, &through, folders[1].path());
        let mut a = Daemon::start(&how.ipvland, &segment.a, &place, folders[0].path());
        Daemon::settle(&mut [&mut a, &mut b], RECORDS + 1);
        let port = nudge_port(b.process());
        drop(b);
        let genuine = overhear(segment, port, &a);
        let mut b = Daemon::start(&how.ipvland, &segment.b, &through, folders[1].path());
        b.wait_for_routes(RECORDS + 2);
        std::thread::sleep(Duration::from_secs(2));

        let looks = relay.looks();
        let used = b.used();
        let sent = flood(segment, SocketAddr::new(segment.b.address, port), &genuine);
        let used = b.used().since(&used);
        let looks = relay.looks() - looks;

        let bare = free_port();
        let receiver = receiver(segment, bare);
        let read = Used::so_far(receiver.id());
        flood(segment, SocketAddr::new(segment.b.address, bare), &genuine);
        let read = Used::so_far(receiver.id()).since(&read);

        let mut part = Part::default();
        let seconds = FLOOD.as_secs_f64();
        let rate = count((sent as f64 / seconds / 1e3).round() as usize * 1000);
        let what = format!("forged nudges, {rate} a second");
        let per_second = Sample::of([looks as f64 / seconds]);
        let row = Row::new("nudges", format!("{what}: looks a second"), Unit::Count, per_second);
        part.row(row.target(Target::Most(1.0)));
        let share = |used: Duration| Sample::of([used.as_secs_f64() / seconds * 100.0]);
        part.row(
            Row::new("nudges", format!("{what}: of one core"), Unit::Percent, share(used))
                .against("a receiver that only reads them", &share(read))
                .target(Target::Beyond(10.0)),
        );
        part
    })
}

/// Returns the port that a daemon listens for datagrams on: its namespace has no other.
fn nudge_port(process: u32) -> u16 {
    let ports = ["udp", "udp6"].into_iter().flat_map(|table| {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        let local = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // Its own end, with nobody at the other.
            let (_, port) = fields.get(1)?.rsplit_once(':')?;
            let (_, other) = fields.get(2)?.rsplit_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            (other == "0000" && port > 0).then_some(port)
        });
        local.collect::<Vec<_>>()
    });
    ports.min().expect("the daemon listens for no datagrams: it has no nudges")
}

/// Returns the nudge that A sends to B when it publishes, heard in the place of B's daemon.
fn overhear(segment: &Segment, port: u16, a: &Daemon) -> Vec<u8> {
    let ears = segment.b.namespace.inside(|| UdpSocket::bind(("0.0.0.0", port)).expect("a socket"));
    ears.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    a.create_network(1, "192.168.9.0/24".parse().expect("a prefix"));
    let mut datagram = [0; 2048];
    let length = ears.recv(&mut datagram).expect("A nudges the hosts that the records name");
    datagram[..length].to_vec()
}

/// Sends forged datagrams at the rate for a while, and returns how many: a genuine one again, one with a bit turned, and
/// one of the same length that makes no sense.
fn flood(segment: &Segment, to: SocketAddr, genuine: &[u8]) -> usize {
    let mut turned = genuine.to_vec();
    if let Some(last) = turned.last_mut() {
        *last ^= 1;
    }
    let noise: Vec<u8> = (0..genuine.len()).map(|number| number.wrapping_mul(167) as u8).collect();
    let datagrams = [turned, genuine.to_vec(), noise];
    let any: IpAddr = [0, 0, 0, 0].into();
    let socket = segment.crowd.inside(|| UdpSocket::bind((any, 0)).expect("a socket"));
    socket.connect(to).expect("a way to B");
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < FLOOD {
        let due = (begun.elapsed().as_secs_f64() * RATE as f64) as usize;
        while sent < due {
            for _ in 0..BURST {
                // A refusal is the word of a port that is closed, or of a full queue: the flood goes on.
                _ = socket.send(&datagrams[sent % datagrams.len()]);
                sent += 1;
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Starts somebody on B who reads datagrams and does nothing with them.
fn receiver(segment: &Segment, port: u16) -> Running {
    let program = std::env::current_exe().expect("the program's own file");
    let mut command = segment.b.namespace.command(program);
    let running = Running::start(command.args(["receive", &port.to_string()]).stdin(Stdio::null()));
    let begun = Instant::now();
    // As above: another port than the nudges'.
    while !listens(running.id(), port) {
        assert!(begun.elapsed() < Duration::from_secs(5), "the bare receiver does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

fn listens(process: u32, port: u16) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/udp")).unwrap_or_default();
    text.contains(&format!(":{port:04X} "))
}

/// Reads datagrams until it is killed.
pub(crate) fn receive(port: u16) -> ! {
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a socket");
    let mut datagram = [0; 2048];
    loop {
        _ = socket.recv(&mut datagram);
    }
}
