use std::{
    net::{IpAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use ipvland_store::{Key, Nudge, Revision};
use proptest::prelude::*;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Nudges,
    datagram::{Datagram, Kind, LONGEST, Letter, Seal},
    ear::{Hearing, Memory},
    peers::Peers,
};
use crate::{
    config::NudgeConfig,
    fleet::{Source, View},
    host::Reach,
    record::{Record, Underlay},
    status::Board,
};

fn record(host: IpAddr, id: Option<&str>) -> Record {
    Record {
        host,
        id: id.map(str::to_owned),
        name: format!("of {host}"),
        next_hops: vec![host],
        networks: Vec::new(),
        blocks: Vec::new(),
        underlay: Underlay::Direct,
        meta: Default::default(),
        unknown: Default::default(),
    }
}

fn view(revision: &str, records: impl IntoIterator<Item = Record>) -> Arc<View> {
    let records = records.into_iter().map(|record| (Record::key(record.host), Ok(Arc::new(record))));
    Arc::new(View {
        source: Source::Store,
        revision: Some(Revision::new(revision)),
        records: Arc::new(records.collect()),
        readings: 1,
        ..View::default()
    })
}

fn letter(round: u64, sender: &str, revision: &str) -> Letter {
    Letter::nudge(round, &Key::parse(sender).unwrap(), &Revision::new(revision)).unwrap()
}

#[test]
fn a_nudge_is_read_as_it_was_written_by_its_receiver_alone() {
    let seal = Seal::of("b's id");
    let bytes = letter(7, "10.1.1.48.json", "3f1c").sealed(&seal);
    let read = Datagram::read(&bytes).unwrap();
    assert_eq!(
        (read.kind, read.round, read.sender, read.revision),
        (Kind::Nudge, 7, "10.1.1.48.json", "3f1c")
    );
    assert!(read.is_sealed(&seal) && read.is_sealed(&Seal::of("b's id")));
    assert!(!read.is_sealed(&Seal::of("c's id")) && !read.is_sealed(&Seal::of("")));
    let answer = Letter::answer(7, &Key::parse("10.1.1.51.json").unwrap()).unwrap().sealed(&seal);
    let read = Datagram::read(&answer).unwrap();
    assert_eq!((read.kind, read.round, read.sender, read.revision), (Kind::Answer, 7, "10.1.1.51.json", ""));
    assert!(read.is_sealed(&seal) && answer.len() <= bytes.len());
    let longest = letter(1, &"k".repeat(64), &"r".repeat(128)).sealed(&seal);
    assert_eq!(longest.len(), LONGEST);
    assert!(Datagram::read(&longest).unwrap().is_sealed(&seal));
    for revision in ["", &"r".repeat(129), "two words", "ü"] {
        let key = Key::parse("10.1.1.48.json").unwrap();
        assert!(Letter::nudge(1, &key, &Revision::new(revision)).is_none(), "{revision:?}");
    }
}

/// Pinned, since the daemons of a fleet are not all upgraded at one time. The signature was worked out by another implementation.
#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    let bytes = letter(0x0102_0304_0506_0708, "10.1.1.48.json", "3f1c").sealed(&Seal::of("an id"));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, PINNED);
}

const PINNED: &str = "6970766c010101020304050607080e31302e312e312e34382e6a736f6e0433663163cff619e78733\
    0388ebf0d40d34de4125de37f77dda232a853f30590a7eacf4f4";

proptest! {
    #[test]
    fn one_bit_off_is_no_nudge(bit in 0usize..8 * 66) {
        let seal = Seal::of("id");
        let mut bytes = letter(9, "10.1.1.48.json", "3f1c").sealed(&seal);
        let at = bit % (8 * bytes.len());
        bytes[at / 8] ^= 1 << (at % 8);
        prop_assert!(!Datagram::read(&bytes).is_some_and(|read| read.is_sealed(&seal)));
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), head in any::<bool>()) {
        let mut bytes = bytes;
        if head && bytes.len() > 6 {
            bytes[..6].copy_from_slice(b"ipvl\x01\x01");
        }
        if let Some(read) = Datagram::read(&bytes) {
            prop_assert!(bytes.len() <= LONGEST && !read.revision.is_empty());
        }
    }

    #[test]
    fn a_part_is_no_nudge(length in 0usize..74) {
        let bytes = letter(9, "10.1.1.48.json", "3f1c").sealed(&Seal::of("id"));
        prop_assert!(length >= bytes.len() || Datagram::read(&bytes[..length]).is_none());
    }
}

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 48));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 51));

/// The hearing of host B, which knows A.
fn hearing(nudge: &Nudge) -> (Hearing, Arc<Peers>) {
    let (_, views) = watch::channel(view("0", [record(A, Some("a's id")), record(B, Some("b's id"))]));
    let (_, own) = watch::channel(Some(Record::key(B)));
    let peers = Arc::new(Peers::default());
    (Hearing::new("b's id", nudge.clone(), views, own, Arc::clone(&peers), 4214), peers)
}

#[test]
fn a_valid_nudge_is_a_hint_and_answered_and_a_repeated_one_is_neither() {
    let nudge = Nudge::new();
    let (hearing, peers) = hearing(&nudge);
    let mut memory = Memory::new();
    let bytes = letter(9, "10.1.1.48.json", "3f1c").sealed(&Seal::of("b's id"));
    let (answer, to) = hearing.take(&mut memory, &bytes, A).unwrap();
    assert_eq!(to.to_string(), "10.1.1.48:4214");
    assert!(answer.len() <= bytes.len());
    let read = Datagram::read(&answer).unwrap();
    assert!(read.is_sealed(&Seal::of("b's id")));
    assert_eq!((read.kind, read.round, read.sender), (Kind::Answer, 9, "10.1.1.51.json"));
    assert_eq!((nudge.counts().hints, peers.living()), (1, vec![A]));
    for _ in 0..1000 {
        assert_eq!(hearing.take(&mut memory, &bytes, A), None);
    }
    assert_eq!(
        (nudge.counts().hints, hearing.counts.repeated.get(), hearing.counts.heard.get()),
        (1, 1000, 1)
    );
}

#[test]
fn what_is_forged_or_for_another_host_is_counted_and_nothing_else() {
    let nudge = Nudge::new();
    let (hearing, peers) = hearing(&nudge);
    let mut memory = Memory::new();
    let good = letter(9, "10.1.1.48.json", "3f1c");
    let mut forged = good.sealed(&Seal::of("b's id"));
    *forged.last_mut().unwrap() ^= 1;
    let for_another = good.sealed(&Seal::of("a's id"));
    let too_long = [forged.clone(), vec![0; LONGEST]].concat();
    // Nobody has asked for this answer, signed as it may be.
    let unasked = Letter::answer(0, &Record::key(A)).unwrap().sealed(&Seal::of("a's id"));
    for bytes in [&forged[..], &for_another, &too_long, b"", b"ipvl", &unasked] {
        assert_eq!(hearing.take(&mut memory, bytes, A), None);
    }
    assert_eq!((hearing.counts.refused.get(), nudge.counts().hints, peers.alive()), (6, 0, 0));
    // An answer counts that repeats our round, and that its host has signed.
    let round = hearing.new_round();
    let answer = |round, id| Letter::answer(round, &Record::key(A)).unwrap().sealed(&Seal::of(id));
    for bytes in [answer(round, "b's id"), answer(round ^ 1, "a's id")] {
        assert_eq!(hearing.take(&mut memory, &bytes, A), None);
    }
    assert_eq!((peers.alive(), hearing.counts.refused.get()), (0, 8));
    hearing.new_round();
    assert_eq!(hearing.take(&mut memory, &answer(round, "a's id"), A), None);
    assert_eq!((peers.living(), hearing.counts.answers.get()), (vec![A], 1));
}

#[test]
fn answers_are_given_at_a_bounded_rate_and_to_hosts_of_the_fleet() {
    let nudge = Nudge::new();
    let (hearing, _) = hearing(&nudge);
    let mut memory = Memory::new();
    let begun = Instant::now();
    let answers = (1..=10_000u64).filter(|round| {
        let bytes = letter(*round, "10.1.1.48.json", "3f1c").sealed(&Seal::of("b's id"));
        hearing.take(&mut memory, &bytes, A).is_some()
    });
    let answers = answers.count() as u64;
    let most = 128 + begun.elapsed().as_secs() * 100 + 100;
    assert!((128..=most).contains(&answers), "{answers} answers");
    let stranger = letter(20_000, "192.0.2.1.json", "9a02").sealed(&Seal::of("b's id"));
    assert_eq!(hearing.take(&mut Memory::new(), &stranger, A), None, "a third party would get it");
}

/// A daemon's nudges on a loopback address of its own.
struct Host {
    nudge: Nudge,
    views: watch::Sender<Arc<View>>,
    board: Board,
    _own: watch::Sender<Option<Key>>,
    _reach: watch::Sender<Option<Reach>>,
    _parts: JoinSet<&'static str>,
}

fn loopback(number: u8) -> IpAddr {
    IpAddr::from([127, 4, 2, number])
}

fn id(number: u8) -> String {
    format!("the id of {number}")
}

impl Host {
    fn start(number: u8, port: u16, first: Arc<View>) -> Self {
        let address = loopback(number);
        let (nudge, board, mut parts) = (Nudge::new(), Board::default(), JoinSet::new());
        let views = watch::Sender::new(first);
        let own = watch::Sender::new(Some(Record::key(address)));
        let reach = watch::Sender::new(Some(Reach { address, next_hops: vec![address] }));
        let config =
            NudgeConfig { enabled: true, port, listen: None, webhook: None, webhook_secret_file: None };
        let nudges = Nudges {
            config,
            id: id(number),
            nudge: nudge.clone(),
            views: views.subscribe(),
            own: own.subscribe(),
            reach: reach.subscribe(),
            board: board.clone(),
        };
        nudges.start(&mut parts);
        Self { nudge, views, board, _own: own, _reach: reach, _parts: parts }
    }

    /// Says that the store is polled, as its first poller does.
    fn is_polled(&self) {
        drop(ipvland_store::poll::poll(
            self.views.borrow().revision.clone().unwrap(),
            Duration::from_secs(3600),
            self.nudge.clone(),
            |_| async { Ok(None) },
        ));
    }

    async fn until(&self, what: &str, is_so: impl Fn(&crate::status::NudgeStatus) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.board.read().nudges;
            if is_so(&status) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn hinted(&self, revision: &str) {
        self.until(revision, |status| status.last_hint.as_deref() == Some(revision)).await;
    }
}

/// Returns a port that no host of a test has taken.
fn free_port() -> u16 {
    UdpSocket::bind((loopback(250), 0)).unwrap().local_addr().unwrap().port()
}

fn fleet(revision: &str, hosts: std::ops::RangeInclusive<u8>) -> Arc<View> {
    let records = hosts.map(|number| record(loopback(number), Some(&id(number))));
    view(revision, records.chain([record(loopback(200), None)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_host_commits_the_others_hear_over_real_sockets() {
    let port = free_port();
    let hosts: Vec<Host> = (1..=3).map(|number| Host::start(number, port, fleet("0", 1..=9))).collect();
    for host in &hosts {
        host.until("not before a poller is there", |status| status.state == "not needed").await;
        assert_eq!(host.board.read().nudges.listen, None);
        host.is_polled();
    }
    for host in &hosts {
        host.until("it listens", |status| status.state == "on" && status.listen.is_some()).await;
    }
    hosts[0].nudge.committed(Revision::new("first"));
    hosts[1].hinted("first").await;
    hosts[2].hinted("first").await;
    hosts[0].until("both answer", |status| status.alive == 2 && status.answers >= 2).await;
    assert_eq!(hosts[0].nudge.counts().hints, 0, "nobody nudges itself");
    hosts[1].until("who nudges lives", |status| status.alive >= 1).await;
    hosts[2].nudge.committed(Revision::new("second"));
    hosts[0].hinted("second").await;
    hosts[1].hinted("second").await;
    // What is known already leads to no hint.
    let known = hosts[1].board.read().nudges.known_hints;
    hosts[0].nudge.committed(Revision::new("0"));
    hosts[1].until("known", |status| status.known_hints > known).await;
    assert_eq!(hosts[1].board.read().nudges.last_hint.as_deref(), Some("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_just_wrote_is_greeted_and_known_to_live() {
    let port = free_port();
    let old = Host::start(1, port, fleet("0", 1..=1));
    old.is_polled();
    old.until("it listens", |status| status.listen.is_some()).await;
    let new = Host::start(2, port, fleet("1", 1..=2));
    new.is_polled();
    new.until("it listens", |status| status.listen.is_some()).await;
    // The new host's first nudge may be lost, and the record of the other is all that it knows. The other learns its record.
    old.views.send_replace(fleet("1", 1..=2));
    old.until("the new host lives", |status| status.alive == 1 && status.sent >= 1).await;
    new.until("and so does the old", |status| status.alive == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let port = free_port();
    let taken = UdpSocket::bind((loopback(1), port)).unwrap();
    let host = Host::start(1, port, fleet("0", 1..=2));
    host.is_polled();
    host.until("it is told", |status| {
        status.problem.as_ref().is_some_and(|problem| problem.contains("free the port"))
            && status.listen.is_none()
    })
    .await;
    assert!(host.board.read().healthy, "polls go on");
    drop(taken);
    host.until("it listens", |status| status.problem.is_none() && status.listen.is_some()).await;
    // The address changes, and the socket follows.
    host._reach.send_replace(Some(Reach { address: loopback(7), next_hops: vec![loopback(7)] }));
    let moved = format!("127.4.2.7:{port}");
    host.until("it moved", |status| status.listen.as_ref() == Some(&moved)).await;
}

/// Says how much a forged datagram costs; the limit is generous, since this is no release build.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_datagrams_leads_to_no_look() {
    let port = free_port();
    let host = Host::start(1, port, fleet("0", 1..=2));
    host.is_polled();
    host.until("it listens", |status| status.listen.is_some()).await;
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind((loopback(66), 0)).unwrap();
        for round in 1..=20_000u64 {
            let bytes = letter(round, "127.4.2.2.json", &format!("x{round}")).sealed(&Seal::of("a guess"));
            socket.send_to(&bytes, (loopback(1), port)).unwrap();
            if round % 50 == 0 {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    });
    flood.join().unwrap();
    host.until("they are refused", |status| status.refused > 10_000).await;
    let status = host.board.read().nudges;
    assert_eq!((status.hints, status.looks, status.heard, status.alive), (0, 0, 0, 0), "{status:?}");
    // And a true one is heard nevertheless.
    let socket = UdpSocket::bind((loopback(2), 0)).unwrap();
    let bytes = letter(1, "127.4.2.2.json", "true").sealed(&Seal::of(&id(1)));
    socket.send_to(&bytes, (loopback(1), port)).unwrap();
    host.hinted("true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_at_the_start_does_not_cut_off_what_was_written_since() {
    // It hears for all hosts of the fleet, and keeps the daemon's own ear from its port, which telling does without.
    let all = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    all.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = all.local_addr().unwrap().port();
    let from_disk = View { source: Source::Disk, ..View::clone(&fleet("older", 1..=130)) };
    let host = Host::start(1, port, Arc::new(from_disk));
    host.is_polled();
    host.nudge.committed(Revision::new("written"));
    let mut told = std::collections::BTreeSet::new();
    let mut buffer = [0; LONGEST + 1];
    while told.len() < 129 {
        let (length, _) = all.recv_from(&mut buffer).expect("each of the 129 others is told");
        let read = Datagram::read(&buffer[..length]).unwrap();
        assert_eq!((read.sender, read.revision), ("127.4.2.1.json", "written"));
        // Whose it is shows by the seal.
        told.insert((2..=130).find(|number| read.is_sealed(&Seal::of(&id(*number)))).unwrap());
        if told.len() == 70 {
            host.views.send_replace(fleet("older", 1..=130));
        }
    }
    host.until("no more than one each", |status| status.sent == 129).await;
}
