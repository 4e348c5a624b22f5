//! What the store says of a server that refuses it, and what hands and failovers do to it.

mod server;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use ipvland_redis::RedisStore;
use ipvland_store::{
    Batch, EndpointStore, Error, Event, Key, Nudge, Remedy, Retry, Revision, Snapshot, StoreExt, Writer,
};
use redis::cmd;
use serde_json::json;
use server::{RedisServer, SECRET};

fn put(name: &str, value: &str) -> Batch {
    Batch::new(format!("write {name}")).put(Key::parse(name).unwrap(), value.to_owned())
}

async fn write(store: &RedisStore, batch: Batch) -> Revision {
    store.transact(Retry::default(), |_: &Snapshot| Ok(Some(batch.clone()))).await.unwrap()
}

async fn refusal(store: &RedisStore) -> Error {
    let error = store.snapshot().await.unwrap_err();
    assert!(!format!("{error} {error:?} {store:?}").contains(SECRET), "{error}");
    error
}

#[tokio::test]
async fn a_login_that_is_refused_says_what_to_correct() {
    let server = RedisServer::start();
    for (otherwise, sentence) in [
        (json!({ "password": "wrong" }), "refuses the password: correct store.redis.username"),
        (json!({ "username": "nobody" }), "refuses the password: correct store.redis.username"),
        (json!({ "password": null }), "wants a password: set store.redis.password_file"),
        (
            json!({ "password": null, "password_file": "/nonexistent" }),
            "password_file /nonexistent can't be read: No such file",
        ),
    ] {
        let error = refusal(&server.open("web-1", otherwise)).await;
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, format!("{SECRET}\nnot this\n")).unwrap();
    let by_file = server.open("web-1", json!({ "password": null, "password_file": file.path() }));
    write(&by_file, put("a", "1")).await;
}

#[tokio::test]
async fn a_server_without_a_password_is_told_apart() {
    let server = RedisServer::start();
    let _: () = server.ask(cmd("CONFIG").arg("SET").arg("requirepass").arg(""));
    let error = refusal(&server.open("web-1", json!({}))).await;
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("has no password: remove store.redis.password"), "{error}");
    write(&server.open("web-1", json!({ "password": null })), put("a", "1")).await;
}

#[tokio::test]
async fn what_a_server_says_to_the_password_is_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut asked = [0; 256];
        let length = client.read(&mut asked).unwrap();
        assert!(asked[..length].windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
        // As redis answers where its configuration has renamed AUTH.
        let said = format!("-ERR unknown command 'AUTH', with args beginning with: '{SECRET}' \r\n");
        client.write_all(said.as_bytes()).unwrap();
    });
    let settings = json!({ "address": address, "password": SECRET });
    let writer = Writer { name: "web-1".into(), address: "10.1.1.48".into() };
    let store = RedisStore::new(serde_json::from_value(settings).unwrap(), writer).unwrap();
    let error = refusal(&store).await;
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("takes no login"), "{error}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_server_that_is_no_place_for_records_is_refused() {
    for (more, sentence) in [
        (
            "maxmemory 100mb\nmaxmemory-policy allkeys-lru\n",
            "may drop records to make room (maxmemory-policy allkeys-lru)",
        ),
        ("cluster-enabled yes\n", "is a Redis Cluster"),
    ] {
        let server = RedisServer::with(more);
        let error = refusal(&server.open("web-1", json!({}))).await;
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let server = RedisServer::start();
    let _: () = server.ask(cmd("SET").arg("ipvland:changes").arg("1"));
    let error = refusal(&server.open("web-1", json!({}))).await;
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("something else under the store's keys"), "{error}");
    // Another prefix and another database are other stores.
    for otherwise in [json!({ "prefix": "other" }), json!({ "database": 3 })] {
        write(&server.open("web-1", otherwise), put("a", "1")).await;
    }
    let (other, third) = (json!({ "prefix": "other" }), json!({ "database": 3 }));
    let (other, third) = (server.open("web-1", other), server.open("web-1", third));
    assert_ne!(other.snapshot().await.unwrap().revision, third.snapshot().await.unwrap().revision);
}

#[tokio::test]
async fn a_full_server_takes_no_writes_and_is_still_read() {
    let server = RedisServer::start();
    let store = server.open("web-1", json!({}));
    let base = write(&store, put("a", "1")).await;
    let _: () = server.ask(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    let error = store.commit(&base, put("a", "2")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("out of memory and takes no writes"), "{error}");
    assert_eq!(store.snapshot().await.unwrap().records["a"], "1");
    let _: () = server.ask(cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    store.commit(&base, put("a", "2")).await.unwrap();
}

#[tokio::test]
async fn a_replica_is_neither_read_nor_written() {
    let (primary, second) = (RedisServer::start(), RedisServer::start());
    let store = second.open("web-1", json!({}));
    let base = write(&store, put("a", "1")).await;
    let _: () = second.ask(cmd("CONFIG").arg("SET").arg("masterauth").arg(SECRET));
    let _: () =
        second.ask(cmd("REPLICAOF").arg(primary.address.ip().to_string()).arg(primary.address.port()));
    // The handle has its connection still.
    let errors = [
        store.snapshot().await.unwrap_err(),
        store.commit(&base, put("a", "2")).await.unwrap_err(),
        store.watch(base.clone()).next().await.unwrap().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
        assert!(error.to_string().contains("is a replica"), "{error}");
    }
}

#[tokio::test]
async fn what_a_failover_lost_is_noticed() {
    let server = RedisServer::start();
    let store = Arc::new(server.open("web-1", json!({})));
    let kept = write(&store, put("a", "1")).await;
    let copy: Vec<u8> = server.ask(cmd("DUMP").arg("ipvland:changes"));
    let lost = write(&store, put("b", "1")).await;
    let mut events = store.clone().follow(Nudge::new());
    assert!(matches!(events.next().await, Some(Ok(Event::Reset(snapshot))) if snapshot.revision == lost));
    // As on a replica that the last commit had not got to, and that takes the next one.
    let restore = cmd("RESTORE").arg("ipvland:changes").arg(0).arg(copy).arg("REPLACE").clone();
    let _: () = server.ask(&restore);
    let _: u64 = server.ask(cmd("HDEL").arg("ipvland:records").arg("b"));
    assert_eq!(store.snapshot().await.unwrap().revision, kept);
    let error = store.commit(&lost, put("c", "1")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    let newest = write(&store, put("c", "1")).await;
    match events.next().await {
        Some(Ok(Event::Reset(snapshot))) => {
            assert_eq!(snapshot.revision, newest);
            assert_eq!(snapshot.records.keys().map(Key::as_str).collect::<Vec<_>>(), ["a", "c"]);
        }
        other => panic!("the follower is told {other:?}"),
    }
}

/// Runs the commands that the crate's documentation shows for one purpose.
fn documented(server: &RedisServer, begins: &[&str], record: &str) -> String {
    let docs = include_str!("../src/lib.rs");
    let mut out = String::new();
    for begin in begins {
        let line =
            docs.lines().find_map(|line| line.strip_prefix("//! ").filter(|line| line.starts_with(begin)));
        let line = line.unwrap_or_else(|| panic!("the docs have no {begin}"));
        let (ip, port) = (server.address.ip(), server.address.port());
        let line = line
            .replace("redis-cli", &format!("redis-cli -e -h {ip} -p {port} -a {SECRET} --no-auth-warning"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.1.1.51.json"), record).unwrap();
        let run = Command::new("sh").args(["-euc", &line]).current_dir(&dir).output().unwrap();
        assert!(run.status.success(), "{line}: {run:?}");
        out += std::str::from_utf8(&run.stdout).unwrap();
    }
    out
}

#[tokio::test]
async fn an_edit_by_hand_gets_to_a_watch_and_the_stream_is_a_history() {
    let server = RedisServer::start();
    let store = server.open("web-1", json!({}));
    let base = write(&store, put("10.1.1.48.json", "{}")).await;
    let mut deltas = store.watch(base);
    let edit = ["redis-cli -x HSET ", "redis-cli XADD "];
    documented(&server, &edit, "{\"by\": \"anna\"}");
    let delta = deltas.next().await.unwrap().unwrap();
    assert_eq!(delta.changes["10.1.1.51.json"].as_deref().unwrap().trim_ascii_end(), b"{\"by\": \"anna\"}");
    assert_eq!(store.snapshot().await.unwrap().revision, delta.revision);
    // A commit goes on from there.
    write(&store, put("10.1.1.48.json", "{ }")).await;
    assert_eq!(deltas.next().await.unwrap().unwrap().changes.len(), 1);
    let history = documented(&server, &["redis-cli XREVRANGE "], "");
    for word in ["web-1 (10.1.1.48)", "write 10.1.1.48.json", "anna", "10.1.1.51.json"] {
        assert!(history.contains(word), "{history}");
    }
}

#[tokio::test]
async fn the_rights_that_the_docs_name_are_enough() {
    let docs = include_str!("../src/lib.rs").replace("\n//!", "");
    let rights = docs.split("may be bound to `").nth(1).unwrap().split('`').next().unwrap();
    let rights = rights.replace("PREFIX", "ipvland").split_whitespace().collect::<Vec<_>>().join(" ");
    let server = RedisServer::with(&format!("user ipvland on >{SECRET} {rights}\n"));
    let store = Arc::new(server.open("web-1", json!({ "username": "ipvland" })));
    let mut events = store.clone().follow(Nudge::new());
    let base = write(&store, put("a", "1").put(Key::parse("b").unwrap(), "1")).await;
    write(&store, Batch::new("remove b").remove(Key::parse("b").unwrap())).await;
    let mut model = Snapshot::empty(base);
    while model.records.len() != 1 {
        match events.next().await.unwrap().unwrap() {
            Event::Reset(snapshot) => model = snapshot,
            Event::Delta(delta) => model.apply(&delta),
        }
    }
    // Without one of them, within a script and outside.
    let base = store.snapshot().await.unwrap().revision;
    for right in ["-hset", "-eval"] {
        let _: () = server.ask(cmd("ACL").arg("SETUSER").arg("ipvland").arg(right));
        let error = store.commit(&base, put("a", "2")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains("doesn't let this user"), "{error}");
        if right == "-hset" {
            assert_eq!(store.snapshot().await.unwrap().records["a"], "1");
        } else {
            assert!(error.to_string().contains("eval"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_stream_is_kept_in_bounds_and_a_follower_that_was_away_for_long_starts_over() {
    let server = RedisServer::start();
    let store = server.open("web-1", json!({}));
    let first = write(&store, put("a", "first")).await;
    let mut at = first.clone();
    for round in 0..1300 {
        at = store.commit(&at, put("a", &round.to_string())).await.unwrap();
    }
    let kept: u64 = server.ask(cmd("XLEN").arg("ipvland:changes"));
    assert!((1000..1200).contains(&kept), "{kept} changes are kept");
    for old in [&Revision::new("empty"), &first] {
        let error = store.watch(old.clone()).next().await.unwrap().unwrap_err();
        assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_while_idle_costs_no_error() {
    let server = RedisServer::start();
    let store = server.open("web-1", json!({}));
    write(&store, put("a", "1")).await;
    server.kill();
    server.come_back();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.snapshot().await.unwrap().records["a"], "1");
}

#[tokio::test]
async fn more_records_than_a_script_can_take_are_refused() {
    let server = RedisServer::start();
    let store = server.open("web-1", json!({}));
    let many = |count: u32| {
        (0..count)
            .fold(Batch::new("write many"), |batch, n| batch.put(Key::parse(&format!("k{n}")).unwrap(), "1"))
    };
    let base = store.snapshot().await.unwrap().revision;
    let error = store.commit(&base, many(1001)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    store.commit(&base, many(1000)).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().records.len(), 1000);
}
