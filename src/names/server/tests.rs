//! The responder on real sockets, before a real DNS server of other names.

use std::collections::BTreeMap;

use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype,
        iana::{Class, Rcode},
    },
    rdata::{A, AllRecordData},
};

use super::*;
use crate::{
    fleet::NamesFiles,
    names::table::judge,
    policy::Records,
    record::{Names, NamesRecord},
};

/// The table of a fleet in which `web.net1` is on two hosts.
fn table(more: usize) -> Arc<Table> {
    let mut files = NamesFiles::new();
    for (host, id, inside) in [("10.1.1.48", "a", "10.1.48"), ("10.1.1.51", "b", "10.1.51")] {
        let mut names = BTreeMap::from([(
            "web".to_owned(),
            [format!("{inside}.7"), format!("2001:db8::{}", id)].iter().map(|a| a.parse().unwrap()).collect(),
        )]);
        names.insert("old".to_owned(), [format!("{inside}.9").parse().unwrap()].into());
        let many = (0..more).map(|n| format!("{inside}.{}", n + 10).parse().unwrap()).collect();
        names.insert("many".to_owned(), many);
        let host = host.parse().unwrap();
        let record =
            NamesRecord { host, id: id.to_owned(), names: Names::from([("net1".to_owned(), names)]) };
        files.insert(NamesRecord::key(host), Ok(Arc::new(record)));
    }
    Arc::new(judge(&files, &Records::new(), "a", None).table)
}

struct Running {
    address: SocketAddr,
    guests: watch::Sender<Guests>,
    _table: watch::Sender<Arc<Table>>,
    _own: watch::Sender<Vec<SocketAddr>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(upstream: Vec<SocketAddr>) -> Running {
    let (table, guests) =
        (watch::Sender::new(table(60)), watch::Sender::new(Guests::new([].into_iter(), [].into_iter())));
    let own = watch::Sender::new(Vec::new());
    let shared = Shared::new(
        table.subscribe(),
        guests.subscribe(),
        Upstream::new(upstream, "/nowhere".into()),
        own.subscribe(),
    );
    let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = sockets.udp.local_addr().unwrap();
    let task = tokio::spawn(sockets.serve(Arc::new(shared)));
    Running { address, guests, _table: table, _own: own, task }
}

/// A DNS server of other names, on UDP and TCP. `big.example` has more addresses than go into a datagram, and
/// `broken.example` fails.
async fn other_names() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let reply = |query: &[u8], limit: usize| {
        let query = Message::from_octets(query.to_vec()).unwrap();
        let name = query.sole_question().unwrap().qname().to_string();
        let code = match name.as_str() {
            "unknown.example" => Rcode::NXDOMAIN,
            "broken.example" => Rcode::SERVFAIL,
            _ => Rcode::NOERROR,
        };
        let count = if name == "big.example" { 200 } else { usize::from(code == Rcode::NOERROR) };
        let mut builder = MessageBuilder::new_vec();
        builder.set_push_limit(limit);
        let mut answer = builder.start_answer(&query, code).unwrap();
        for n in 0..count {
            let qname: Name<Vec<u8>> = name.parse().unwrap();
            let record = (qname, Class::IN, 60, A::from_octets(192, 0, 2, u8::try_from(n).unwrap()));
            if answer.push(record).is_err() {
                answer.header_mut().set_tc(true);
                break;
            }
        }
        answer.finish()
    };
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            // A forged answer before the right one: another id, and another address.
            let mut forged = reply(&buffer[..length], 512);
            forged[0] ^= 0xff;
            let last = forged.len() - 1;
            forged[last] ^= 0xff;
            udp.send_to(&forged, from).await.unwrap();
            udp.send_to(&reply(&buffer[..length], 512), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let query = read_framed(&mut stream).await.unwrap();
            write_framed(&mut stream, &reply(&query, 65_535)).await.unwrap();
        }
    });
    address
}

fn query(name: &str, kind: Rtype) -> Vec<u8> {
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_id(4711);
    question.header_mut().set_rd(true);
    question.push((name.parse::<Name<Vec<u8>>>().unwrap(), kind)).unwrap();
    question.finish()
}

type Answer = Message<Vec<u8>>;

async fn ask_as(from: &str, server: SocketAddr, query: &[u8]) -> Option<Answer> {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut buffer = [0; 65_535];
    let received = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.ok()?.unwrap();
    Some(Message::from_octets(buffer[..received].to_vec()).unwrap())
}

async fn ask(server: SocketAddr, name: &str, kind: Rtype) -> Answer {
    ask_as("127.0.0.1", server, &query(name, kind)).await.expect("an answer")
}

async fn ask_tcp(server: SocketAddr, name: &str, kind: Rtype) -> Answer {
    let mut stream = TcpStream::connect(server).await.unwrap();
    write_framed(&mut stream, &query(name, kind)).await.unwrap();
    Message::from_octets(read_framed(&mut stream).await.unwrap()).unwrap()
}

fn addresses(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.header().id(), 4711);
    let records = answer.answer().unwrap().map(|record| record.unwrap());
    let mut found: Vec<_> = records
        .map(|record| match record.to_any_record::<AllRecordData<_, _>>().unwrap().data() {
            AllRecordData::A(a) => a.addr().to_string(),
            AllRecordData::Aaaa(a) => a.addr().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn names_of_containers_are_answered() {
    let running = start(Vec::new()).await;
    let server = running.address;
    for name in ["web.net1", "WEB.Net1"] {
        let answer = ask(server, name, Rtype::A).await;
        assert_eq!(addresses(&answer), ["10.1.48.7", "10.1.51.7"]);
        assert!(answer.header().ra() && answer.header().rd() && answer.header().aa());
        assert_eq!(answer.sole_question().unwrap().qname().to_string(), name, "the question as it was asked");
        let ttl = answer.answer().unwrap().next().unwrap().unwrap().ttl();
        assert_eq!(ttl.as_secs(), 5);
    }
    assert_eq!(addresses(&ask(server, "web.net1", Rtype::AAAA).await), ["2001:db8::a", "2001:db8::b"]);
    assert_eq!(addresses(&ask_tcp(server, "web.net1", Rtype::A).await), ["10.1.48.7", "10.1.51.7"]);
}

#[tokio::test]
async fn a_name_without_the_family_has_no_records_and_is_there() {
    let running = start(Vec::new()).await;
    let server = running.address;
    for kind in [Rtype::AAAA, Rtype::MX, Rtype::TXT] {
        let answer = ask(server, "old.net1", kind).await;
        assert_eq!((answer.header().rcode(), addresses(&answer).len()), (Rcode::NOERROR, 0), "{kind}");
    }
}

#[tokio::test]
async fn more_addresses_than_fit_are_cut_with_a_mark_and_whole_by_tcp() {
    let running = start(Vec::new()).await;
    let server = running.address;
    let cut = ask(server, "many.net1", Rtype::A).await;
    assert!(cut.header().tc() && cut.as_slice().len() <= 512);
    assert!(addresses(&cut).len() > 20);
    let whole = ask_tcp(server, "many.net1", Rtype::A).await;
    assert_eq!((whole.header().tc(), addresses(&whole).len()), (false, 120));

    let mut builder = Message::from_octets(query("many.net1", Rtype::A)).map(|query| {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_id(4711);
        builder.push(query.sole_question().unwrap()).unwrap();
        builder.additional()
    });
    let builder = builder.as_mut().unwrap();
    let large = builder.opt(|opt| {
        opt.set_udp_payload_size(4096);
        Ok(())
    });
    large.unwrap();
    let answer = ask_as("127.0.0.1", server, builder.as_slice()).await.unwrap();
    assert!(answer.header().tc() && answer.as_slice().len() <= 1232 && answer.as_slice().len() > 512);
}

#[tokio::test]
async fn all_other_names_are_forwarded() {
    let running = start(vec![other_names().await]).await;
    let server = running.address;
    for name in ["www.example", "db.net1", "net1", "a.web.net1", "web.net2"] {
        assert_eq!(addresses(&ask(server, name, Rtype::A).await), ["192.0.2.0"], "{name}");
    }
    assert_eq!(ask(server, "unknown.example", Rtype::A).await.header().rcode(), Rcode::NXDOMAIN);
    assert_eq!(addresses(&ask_tcp(server, "www.example", Rtype::A).await), ["192.0.2.0"]);
}

#[tokio::test]
async fn a_forwarded_answer_that_was_cut_keeps_its_mark_and_is_whole_by_tcp() {
    let running = start(vec![other_names().await]).await;
    let server = running.address;
    assert!(ask(server, "big.example", Rtype::A).await.header().tc());
    let whole = ask_tcp(server, "big.example", Rtype::A).await;
    assert_eq!((whole.header().tc(), addresses(&whole).len()), (false, 200));
}

#[tokio::test]
async fn a_server_that_is_silent_or_fails_gives_way_to_the_next() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let running = start(vec![silent_address, other_names().await]).await;
    let server = running.address;
    assert_eq!(addresses(&ask(server, "www.example", Rtype::A).await), ["192.0.2.0"]);
    assert_eq!(ask(server, "broken.example", Rtype::A).await.header().rcode(), Rcode::SERVFAIL);

    let running = start(vec![silent_address, silent_address]).await;
    let server = running.address;
    assert_eq!(ask(server, "www.example", Rtype::A).await.header().rcode(), Rcode::SERVFAIL);
    let running = start(Vec::new()).await;
    let server = running.address;
    assert_eq!(ask(server, "www.example", Rtype::A).await.header().rcode(), Rcode::SERVFAIL);
}

#[tokio::test]
async fn strangers_get_no_answer() {
    let networks = ["10.1.48.0/24".parse().unwrap()].into_iter();
    let guests = Guests::new(networks, ["10.1.1.48".parse().unwrap()].into_iter());
    for (source, may) in [
        ("10.1.48.7", true),
        ("::ffff:10.1.48.7", true),
        ("10.1.1.48", true),
        ("127.0.0.9", true),
        ("::1", true),
        ("10.1.51.7", false),
        ("10.1.1.51", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(guests.may_ask(source.parse().unwrap()), may, "{source}");
    }

    // On the sockets: 127.0.0.1 is a stranger for once.
    let running = start(vec![other_names().await]).await;
    running
        .guests
        .send_replace(Guests { subnets: Vec::new(), addresses: ["127.0.0.5".parse().unwrap()].into() });
    for name in ["web.net1", "www.example"] {
        let asked = query(name, Rtype::A);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&asked, running.address).await.unwrap();
        let mut buffer = [0; 512];
        let late = timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
        assert!(late.is_err(), "a stranger was answered");
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let refused = async {
            write_framed(&mut stream, &asked).await?;
            read_framed(&mut stream).await
        };
        assert!(refused.await.is_err(), "a stranger was answered by TCP");
        assert!(ask_as("127.0.0.5", running.address, &asked).await.is_some(), "a guest gets an answer");
    }
}

#[tokio::test]
async fn what_is_no_query_harms_nobody() {
    let running = start(Vec::new()).await;
    let server = running.address;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answer = query("web.net1", Rtype::A);
    answer[2] |= 0x80;
    let mut looped = query("web.net1", Rtype::A);
    looped.truncate(12);
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    for bad in [&b""[..], &[0; 11], &[0xff; 600], &answer, &looped] {
        socket.send_to(bad, server).await.unwrap();
    }
    assert_eq!(addresses(&ask(server, "web.net1", Rtype::A).await).len(), 2);
    let mut two = query("web.net1", Rtype::A);
    two[5] = 2;
    let code = ask_as("127.0.0.1", server, &two).await.unwrap().header().rcode();
    assert_eq!(code, Rcode::FORMERR);
    let mut update = query("web.net1", Rtype::A);
    update[2] = 5 << 3;
    assert_eq!(ask_as("127.0.0.1", server, &update).await.unwrap().header().rcode(), Rcode::NOTIMP);
}

#[tokio::test]
async fn a_taken_port_is_an_error_and_no_end() {
    let taken = Sockets::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Sockets::bind(taken.udp.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
