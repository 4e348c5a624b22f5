//! Each kind of trouble, before a server that sends back what it gets.

use tokio::time::{Instant, timeout};

use super::*;

/// Starts a server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn connected() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

async fn answer(client: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(words).await?;
    let mut answer = vec![0; words.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

async fn is_silent(client: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(200), client.read_u8()).await.is_err()
}

async fn end_of(client: &mut TcpStream) -> io::ErrorKind {
    let ended = timeout(Duration::from_secs(5), async {
        loop {
            if let Err(why) = client.read_u8().await {
                return why.kind();
            }
        }
    });
    ended.await.expect("the connection ends")
}

#[tokio::test]
async fn in_calm_all_passes_is_counted_and_ends_are_handed_on() {
    let (proxy, mut client) = connected().await;
    let words = vec![b'x'; 100_000];
    let (mut from, mut to) = client.split();
    let mut got = Vec::new();
    let (sent, read) = tokio::join!(
        async {
            to.write_all(&words).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut got)
    );
    sent.unwrap();
    assert_eq!(read.unwrap(), 100_000);
    assert!(got == words);
    let passed = Passed { connections: 1, broken: 0, to_server: 100_000, to_client: 100_000 };
    assert_eq!(proxy.passed(), passed);
}

#[tokio::test]
async fn a_delay_holds_up_each_chunk() {
    let (proxy, mut client) = connected().await;
    proxy.set(Traffic::Delay(Duration::from_millis(100)));
    let start = Instant::now();
    assert_eq!(answer(&mut client, b"hello").await.unwrap(), b"hello");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "there and back takes twice a half at least: {took:?}");
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_further_connections_work() {
    let (proxy, mut client) = connected().await;
    answer(&mut client, b"hello").await.unwrap();
    proxy.break_open(Break::Reset);
    assert_eq!(end_of(&mut client).await, io::ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(answer(&mut next, b"hello").await.unwrap(), b"hello");
    assert_eq!((proxy.passed().connections, proxy.passed().broken), (2, 1));
}

#[tokio::test]
async fn while_it_refuses_open_connections_go_on() {
    let (proxy, mut client) = connected().await;
    answer(&mut client, b"hello").await.unwrap();
    proxy.set(Traffic::Refuse);
    if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
        assert_eq!(end_of(&mut refused).await, io::ErrorKind::ConnectionReset);
    }
    assert_eq!(answer(&mut client, b"hello").await.unwrap(), b"hello");
    proxy.set(Traffic::Calm);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(answer(&mut next, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_black_hole_swallows_and_resets_what_lost_bytes_when_it_ends() {
    let (proxy, mut client) = connected().await;
    let mut idle = TcpStream::connect(proxy.address()).await.unwrap();
    answer(&mut client, b"hello").await.unwrap();
    answer(&mut idle, b"hello").await.unwrap();
    proxy.set(Traffic::BlackHole);
    client.write_all(b"lost").await.unwrap();
    assert!(is_silent(&mut client).await);
    proxy.set(Traffic::Calm);
    assert_eq!(end_of(&mut client).await, io::ErrorKind::ConnectionReset);
    assert_eq!(answer(&mut idle, b"still there").await.unwrap(), b"still there");
}

#[tokio::test]
async fn half_closed_one_end_is_told_and_then_nothing_passes() {
    let (proxy, mut client) = connected().await;
    answer(&mut client, b"hello").await.unwrap();
    proxy.break_open(Break::HalfCloseToClient);
    assert_eq!(end_of(&mut client).await, io::ErrorKind::UnexpectedEof);
    client.write_all(b"into the void").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(proxy.passed().to_server, 5);

    // Also where the server closes its end because of that.
    for how in [Break::HalfCloseToServer, Break::Silence] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        answer(&mut client, b"hello").await.unwrap();
        proxy.break_open(how);
        client.write_all(b"into the void").await.unwrap();
        assert!(is_silent(&mut client).await, "{how:?}");
    }
    assert_eq!(proxy.passed().to_server, 15);
}

#[tokio::test]
async fn a_break_after_some_bytes_loses_the_answer_and_not_the_request() {
    let (proxy, mut client) = connected().await;
    answer(&mut client, b"before").await.unwrap();
    proxy.set(Traffic::BreakAfter(7, Break::Reset));
    let error = answer(&mut client, b"hello").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let passed = proxy.passed();
    assert_eq!((passed.to_server, passed.to_client), (6 + 5, 6 + 2));
}

#[tokio::test]
async fn a_server_that_is_away_is_a_reset_and_dropping_the_proxy_ends_all() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(free).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end_of(&mut client).await, io::ErrorKind::ConnectionReset);

    let (proxy, mut client) = connected().await;
    answer(&mut client, b"hello").await.unwrap();
    drop(proxy);
    end_of(&mut client).await;
}
