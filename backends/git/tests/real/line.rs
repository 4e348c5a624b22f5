//! The way to an HTTP server: one connection, redirects, certificates, proxies, pauses.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{EndpointStore as _, Error, Remedy};
use serde_json::{Value, json};
use servers::git::{
    HttpServer, ProxyServer,
    http::{Options, PASSWORD},
    proxy::LOGIN,
};

use crate::host::{Host, put};

async fn refused(url: &str, settings: Value) -> Error {
    let error = Host::open(9, url, settings).store.snapshot().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
    error
}

/// Returns the numbers of the connections that a server saw.
fn connections(server: &HttpServer) -> BTreeSet<String> {
    server.log().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_calls_go_over_one_connection() {
    for tls in [false, true] {
        let server = HttpServer::with(Options { tls, ..Options::default() });
        server.repositories.create("overlay.git", "main");
        let settings = if tls { json!({ "ca_file": server.ca_file() }) } else { json!({}) };
        let host = Host::open(1, &server.full_url("overlay.git"), settings.clone());
        for number in 0..5 {
            host.publish("10.1.1.1.json", &format!("{number}")).await;
        }
        let other = server.repositories.create("other.git", "main");
        drop(other);
        assert_eq!(connections(&server).len(), 1, "{:?}", server.log());
        // Who logs in is said at once: no request was answered 401.
        assert!(server.log().iter().all(|line| line.contains(" 200 ")), "{:?}", server.log());
        // What another wrote comes over it as well.
        let second = Host::open(2, &server.full_url("overlay.git"), settings);
        second.publish("10.1.1.2.json", "two").await;
        assert_eq!(host.snapshot().await.records.len(), 2);
        assert_eq!(connections(&server).len(), 2, "{:?}", server.log());
    }
}

#[tokio::test]
async fn a_look_is_one_request_and_a_push_after_another_one_too() {
    let server = HttpServer::start();
    server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let base = host.publish("10.1.1.1.json", "one").await;
    let before = server.log().len();
    assert_eq!(host.snapshot().await.revision, base);
    assert_eq!(server.log().len(), before + 1, "{:?}", server.log());
    host.commit(&base, put("10.1.1.1.json", "two")).await;
    assert_eq!(server.log().len(), before + 2, "{:?}", server.log());
}

#[tokio::test]
async fn what_this_host_has_pushed_is_told_without_asking_the_server() {
    let server = HttpServer::start();
    server.repositories.create("overlay.git", "main");
    let url = server.full_url("overlay.git");
    let host = Host::open(1, &url, json!({ "interval": "1h" }));
    let base = host.publish("10.1.1.1.json", "one").await;
    let mut watch = host.store.watch(base.clone());
    let mut told = async || tokio::time::timeout(Duration::from_secs(5), watch.next()).await;
    // The first look is made at once, and finds nothing.
    tokio::time::timeout(Duration::from_millis(500), told()).await.unwrap_err();

    let own = host.commit(&base, put("10.1.1.1.json", "two")).await;
    let before = server.log().len();
    host.nudge.committed(own.clone());
    let delta = told().await.unwrap().unwrap().unwrap();
    assert_eq!((&delta.revision, delta.changes.len()), (&own, 1));
    assert_eq!(server.log().len(), before, "{:?}", server.log());

    // What another wrote right after it is not missed by who was woken for it.
    let next = host.commit(&own, put("10.1.1.1.json", "three")).await;
    let other = Host::open(2, &url, json!({}));
    let last = other.publish("10.1.1.2.json", "another").await;
    host.nudge.committed(next);
    host.nudge.wake();
    while told().await.unwrap().unwrap().unwrap().revision != last {}
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_made_again() {
    let server = HttpServer::start();
    server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let mut base = host.publish("10.1.1.1.json", "one").await;
    for number in 0..3 {
        server.set_away(true);
        server.set_away(false);
        base = host.commit(&base, put("10.1.1.1.json", &format!("again {number}"))).await;
    }
    assert_eq!(host.snapshot().await.revision, base);
}

#[tokio::test]
async fn a_push_that_comes_too_late_is_one_request_and_runs_again() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let url = server.full_url("overlay.git");
    let (one, two) = (Host::open(1, &url, json!({})), Host::open(2, &url, json!({})));
    let base = one.publish("10.1.1.1.json", "one").await;
    let newer = two.publish("10.1.1.2.json", "two").await;
    // What the server can do is no news, and the server itself says that another host was first.
    for _ in 0..2 {
        let before = server.log().len();
        let error = one.store.commit(&base, put("10.1.1.1.json", "late")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
        let log = server.log();
        assert!(
            log.len() == before + 1 && log[before].ends_with("/git-receive-pack"),
            "{:?}",
            &log[before..]
        );
    }
    assert_eq!(bare.tip("main").as_deref(), Some(newer.as_str()));
    one.publish("10.1.1.1.json", "now").await;
    assert_eq!(bare.records("main"), ["10.1.1.1.json", "10.1.1.2.json"]);
}

#[tokio::test]
async fn a_redirect_within_the_host_is_followed_and_no_other() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("old/overlay.git"), json!({}));
    let revision = host.publish("10.1.1.1.json", "one").await;
    assert_eq!(bare.tip("main").as_deref(), Some(revision.as_str()));

    // Another port may be another's server, and must not hear of the password.
    for name in ["moved/overlay.git", "other-port/overlay.git"] {
        let before = server.log().len();
        let error = refused(&server.full_url(name), json!({})).await;
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(server.log().len(), before + 1, "{:?}", server.log());
    }
}

#[tokio::test]
async fn a_redirect_leads_to_tls_and_never_back() {
    let server = HttpServer::start_tls();
    server.repositories.create("overlay.git", "main");
    let trusted = json!({ "ca_file": server.ca_file() });
    let host = Host::open(1, &server.plain_url("overlay.git"), trusted.clone());
    host.publish("10.1.1.1.json", "one").await;
    let error = refused(&server.full_url("down/overlay.git"), trusted).await;
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(server.log().iter().all(|line| !line.contains(" 400 ")), "{:?}", server.log());
}

#[tokio::test]
async fn a_server_with_an_old_certificate_is_refused() {
    let server = HttpServer::with(Options { tls: true, is_expired: true, ..Options::default() });
    let error = refused(&server.full_url("overlay.git"), json!({ "ca_file": server.ca_file() })).await;
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("it has expired"), "{error}");
}

#[tokio::test]
async fn a_server_may_ask_for_a_certificate() {
    let server = HttpServer::with(Options { tls: true, asks_for_certificate: true, ..Options::default() });
    server.repositories.create("overlay.git", "main");
    let url = server.full_url("overlay.git");
    let (cert, key) = server.client_cert();
    let error = refused(&url, json!({ "ca_file": server.ca_file() })).await;
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("set store.git.client_cert"), "{error}");

    let settings = json!({ "ca_file": server.ca_file(), "client_cert": cert, "client_key": key });
    let host = Host::open(1, &url, settings);
    host.publish("10.1.1.1.json", "one").await;
    // One file may hold both.
    let both = tempfile::NamedTempFile::new().unwrap();
    let text = |file: &Path| fs::read_to_string(file).unwrap();
    fs::write(both.path(), text(&cert) + &text(&key)).unwrap();
    let host = Host::open(2, &url, json!({ "ca_file": server.ca_file(), "client_cert": both.path() }));
    host.publish("10.1.1.2.json", "two").await;
}

#[tokio::test]
async fn a_certificate_that_can_not_be_used_is_a_sentence() {
    let server = HttpServer::with(Options { tls: true, asks_for_certificate: true, ..Options::default() });
    let (cert, key) = server.client_cert();
    let locked = tempfile::NamedTempFile::new().unwrap();
    let openssl = servers::process::program("openssl", "openssl");
    let mut lock = std::process::Command::new(openssl);
    lock.args(["pkey", "-aes128", "-passout", "pass:hunter7", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(locked.path());
    servers::process::run(&mut lock);
    let other = HttpServer::start_tls();
    for (table, words) in [
        (json!({ "client_cert": cert, "client_key": locked.path() }), "has a passphrase"),
        (json!({ "client_cert": cert, "client_key": other.client_cert().1 }), "belong together"),
        (json!({ "client_cert": key }), "holds no certificate"),
        (json!({ "client_cert": cert }), "holds no private key"),
        (json!({ "client_key": key }), "no client_cert"),
        (json!({ "ca_file": key }), "store.git.ca_file"),
        (json!({ "proxy": format!("socks5://{LOGIN}@127.0.0.1:1") }), "store.git.proxy"),
    ] {
        let mut table = table;
        table["repo"] = server.full_url("overlay.git").into();
        let state = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let error = Host::try_open(1, table, state).err().unwrap();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
}

#[tokio::test]
async fn a_proxy_leads_there() {
    for tls in [false, true] {
        let server = HttpServer::with(Options { tls, ..Options::default() });
        server.repositories.create("overlay.git", "main");
        let url = server.full_url("overlay.git");
        let proxy = ProxyServer::start();
        let settings = |login: &str| json!({ "ca_file": server.ca_file(), "proxy": proxy.url(login) });
        let settings = |login: &str| {
            let mut table = settings(login);
            if !tls {
                table.as_object_mut().unwrap().remove("ca_file");
            }
            table
        };
        let host = Host::open(1, &url, settings(&format!("{LOGIN}@")));
        host.publish("10.1.1.1.json", "one").await;
        assert_eq!(host.snapshot().await.records.len(), 1);
        let seen = proxy.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        // The server isn't told the proxy's password, nor the proxy the server's where TLS hides it.
        assert_eq!(seen[0].starts_with("CONNECT "), tls, "{seen:?}");
        assert_eq!(seen[0].to_ascii_lowercase().contains("\r\nauthorization:"), !tls, "{seen:?}");

        let error = refused(&url, settings("")).await;
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains("proxy") && error.to_string().contains("password"), "{error}");
        let away = ProxyServer::start().url("").replace("127.0.0.1", "127.0.0.9");
        let mut table = settings("");
        table["proxy"] = away.into();
        let error = refused(&url, table).await;
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
        assert!(error.to_string().contains("by the proxy http://127.0.0.9"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_pause_is_heard() {
    let server = HttpServer::start();
    for (name, status, pause) in [("busy", "503", 7), ("limited", "429", 3_600)] {
        let error = refused(&server.full_url(&format!("{name}/overlay.git")), json!({})).await;
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
        assert_eq!(error.pause(), Some(Duration::from_secs(pause)), "{error}");
        assert!(error.to_string().contains(status), "{error}");
    }
    let error = refused(&server.full_url("broken/overlay.git"), json!({})).await;
    assert_eq!((error.remedy(), error.pause()), (Remedy::RetryLater, None), "{error}");
    let error = refused(&server.full_url("page/overlay.git"), json!({})).await;
    assert!(error.to_string().contains("web page"), "{error}");
    assert!(!server.log().iter().any(|line| line.contains(PASSWORD)));
}
