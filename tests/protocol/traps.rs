//! The traps of Docker's protocol, one by one.

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ipvland::{driver::Announcement, network::Book};
use serde_json::{Value, json};

use crate::harness::Host;

const NETWORK: &str = "aaaa000000000000000000000000000000000000000000000000000000000001";
const ENDPOINT: &str = "eeee000000000000000000000000000000000000000000000000000000000001";

fn network(id: &str, pool: &str, generic: Value) -> Value {
    json!({
        "NetworkID": id,
        "Options": {"com.docker.network.enable_ipv6": false, "com.docker.network.generic": generic},
        "IPv4Data": [{"AddressSpace": "LocalDefault", "Pool": pool}],
        "IPv6Data": [],
    })
}

fn endpoint(id: &str, address: &str) -> Value {
    let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
    json!({"NetworkID": NETWORK, "EndpointID": id, "Interface": interface, "Options": null})
}

fn only(endpoint: &str) -> Value {
    json!({"NetworkID": NETWORK, "EndpointID": endpoint})
}

async fn ok(host: &Host, method: &str, body: Value) -> Value {
    let answer = host.call(&format!("NetworkDriver.{method}"), body).await;
    assert_eq!(answer.refusal(), "", "{method}");
    answer.json()
}

async fn refused(host: &Host, method: &str, body: Value) -> String {
    let sentence = host.call(&format!("NetworkDriver.{method}"), body).await.refusal();
    assert_ne!(sentence, "", "{method} ought to be refused");
    sentence
}

async fn host_with_l3() -> Host {
    let host = Host::start().await;
    ok(&host, "CreateNetwork", network(NETWORK, "10.1.48.0/24", json!({"mode": "l3"}))).await;
    host
}

#[tokio::test]
async fn the_answer_has_dockers_media_type() {
    let host = Host::start().await;
    let answer = host.call("Plugin.Activate", "").await;
    assert_eq!(answer.json(), json!({"Implements": ["NetworkDriver", "IpamDriver"]}));
    assert!(
        answer.head.contains("content-type: application/vnd.docker.plugins.v1.2+json"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn a_container_on_two_routed_networks_has_one_default_route() {
    const SECOND: &str = "bbbb000000000000000000000000000000000000000000000000000000000002";
    const OTHER: &str = "ffff000000000000000000000000000000000000000000000000000000000002";
    let host = host_with_l3().await;
    ok(&host, "CreateNetwork", network(SECOND, "10.1.49.0/24", json!({"mode": "l3"}))).await;
    let on = |network: &str, mut body: Value| {
        body["NetworkID"] = json!(network);
        body["SandboxKey"] = json!("/var/run/docker/netns/0123456789ab");
        body
    };
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    ok(&host, "CreateEndpoint", on(SECOND, endpoint(OTHER, "10.1.49.2/24"))).await;
    let routes = |joined: Value| joined["StaticRoutes"].as_array().map_or(0, Vec::len);
    // Docker may ask again: the answers stay the same.
    for _ in 0..2 {
        assert_eq!(routes(ok(&host, "Join", on(NETWORK, only(ENDPOINT))).await), 1);
        assert_eq!(routes(ok(&host, "Join", on(SECOND, only(OTHER))).await), 0);
    }
    ok(&host, "Leave", on(NETWORK, only(ENDPOINT))).await;
    ok(&host, "DeleteEndpoint", on(NETWORK, only(ENDPOINT))).await;
    assert_eq!(routes(ok(&host, "Join", on(SECOND, only(OTHER))).await), 1);
}

#[tokio::test]
async fn after_a_start_of_docker_a_restored_container_gets_names_that_it_does_not_have() {
    const SECOND: &str = "bbbb000000000000000000000000000000000000000000000000000000000002";
    const LATER: [&str; 3] = [
        "ffff000000000000000000000000000000000000000000000000000000000002",
        "ffff000000000000000000000000000000000000000000000000000000000003",
        "ffff000000000000000000000000000000000000000000000000000000000004",
    ];
    let mut host = host_with_l3().await;
    ok(&host, "CreateNetwork", network(SECOND, "10.1.49.0/24", json!({"mode": "l3"}))).await;
    let on = |network: &str, sandbox: &str, mut body: Value| {
        body["NetworkID"] = json!(network);
        body["SandboxKey"] = json!(sandbox);
        body
    };
    let (one, other) = ("/var/run/docker/netns/0123456789ab", "/var/run/docker/netns/ab0123456789");
    let prefix = |joined: Value| joined["InterfaceName"]["DstPrefix"].as_str().unwrap().to_owned();
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    assert_eq!(prefix(ok(&host, "Join", on(NETWORK, one, only(ENDPOINT))).await), "eth");
    for (number, later) in LATER.iter().enumerate() {
        let address = format!("10.1.49.{}/24", number + 2);
        ok(&host, "CreateEndpoint", on(SECOND, "", endpoint(later, &address))).await;
    }
    for (start, later) in LATER.iter().take(2).enumerate() {
        host.call("Plugin.Activate", "").await;
        // The daemon's own restarts change nothing.
        host.restart().await;
        let wanted = format!("eth{}", start + 1);
        for _ in 0..2 {
            assert_eq!(prefix(ok(&host, "Join", on(SECOND, one, only(later))).await), wanted);
        }
    }
    let elsewhere = on(SECOND, other, only(LATER[2]));
    assert_eq!(prefix(ok(&host, "Join", elsewhere).await), "eth", "another container");
}

#[tokio::test]
async fn a_name_that_ends_in_0_is_had_where_docker_numbers_all() {
    for (wished, prefix) in
        [("lan0", "lan"), ("eth0", "eth"), ("eth10", "eth"), ("0", "eth"), ("lan1", "eth"), ("a-b0", "a-b")]
    {
        let host = host_with_l3().await;
        let mut asked = endpoint(ENDPOINT, "10.1.48.2/24");
        asked["Options"] = json!({"com.docker.network.endpoint.ifname": wished});
        ok(&host, "CreateEndpoint", asked).await;
        let joined = ok(&host, "Join", only(ENDPOINT)).await;
        assert_eq!(joined["InterfaceName"]["DstPrefix"], prefix, "{wished}");
        assert_eq!(joined["InterfaceName"]["DstName"], wished, "for Docker 28 and later");
    }
}

#[tokio::test]
async fn where_a_restored_container_has_a_gateway_docker_counts_on() {
    const SECOND: &str = "bbbb000000000000000000000000000000000000000000000000000000000002";
    const OTHER: &str = "ffff000000000000000000000000000000000000000000000000000000000002";
    let host = Host::start().await;
    for (id, number) in [(NETWORK, 48), (SECOND, 49)] {
        let mut asked = network(id, &format!("10.1.{number}.0/24"), json!({"mode": "l2"}));
        asked["IPv4Data"][0]["Gateway"] = json!(format!("10.1.{number}.1/24"));
        ok(&host, "CreateNetwork", asked).await;
    }
    let on = |network: &str, mut body: Value| {
        body["NetworkID"] = json!(network);
        body["SandboxKey"] = json!("/var/run/docker/netns/0123456789ab");
        body
    };
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    ok(&host, "CreateEndpoint", on(SECOND, endpoint(OTHER, "10.1.49.2/24"))).await;
    ok(&host, "Join", on(NETWORK, only(ENDPOINT))).await;
    host.call("Plugin.Activate", "").await;
    let joined = ok(&host, "Join", on(SECOND, only(OTHER))).await;
    assert_eq!(joined["InterfaceName"]["DstPrefix"], "eth");
}

#[tokio::test]
async fn an_interface_that_docker_left_in_a_container_goes_with_its_endpoint() {
    let host = host_with_l3().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    let mut join = only(ENDPOINT);
    join["SandboxKey"] = json!("/var/run/docker/netns/0123456789ab");
    ok(&host, "Join", join).await;
    let left = "/var/run/docker/netns/0123456789ab".into();
    host.links.inside.lock().unwrap().insert(ENDPOINT.to_owned(), left);
    ok(&host, "Leave", only(ENDPOINT)).await;
    assert_eq!(host.links.inside.lock().unwrap().len(), 1, "Docker may yet take it out by itself");
    ok(&host, "DeleteEndpoint", only(ENDPOINT)).await;
    assert!(host.links.inside.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_internal_network_without_a_parent_sits_on_a_dummy_of_its_own() {
    let host = Host::start().await;
    let mut asked = network(NETWORK, "10.1.48.0/24", json!({}));
    asked["Options"]["com.docker.network.internal"] = json!(true);
    ok(&host, "CreateNetwork", asked).await;
    assert_eq!(host.shown_links(), ["dummy di-aaaa00000000"]);
    ok(&host, "DeleteNetwork", json!({"NetworkID": NETWORK})).await;
    assert!(host.shown_links().is_empty());
}

#[tokio::test]
async fn a_chunked_body_is_read_too() {
    let host = Host::start().await;
    let body = network(NETWORK, "10.1.48.0/24", json!({})).to_string();
    let request = format!(
        "POST /NetworkDriver.CreateNetwork HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         \r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = host.send(request).await;
    assert!(answer.head.starts_with("http/1.1 200"), "{answer:?}");
    assert!(host.state().join(format!("networks/{NETWORK}.json")).exists());
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let host = Host::start().await;
    let exact = host.call("NetworkDriver.DeleteNetwork", "x".repeat(1 << 20)).await.refusal();
    assert!(exact.contains("cannot read the body"), "{exact}");
    // The client may see the connection close instead of the sentence, but never success, and the daemon lives on.
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    let flood = move || {
        let head = format!(
            "POST /NetworkDriver.DeleteNetwork HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            8 << 20
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all("x".repeat(8 << 20).as_bytes());
    };
    tokio::task::spawn_blocking(flood).await.unwrap();
    ok(&host, "GetCapabilities", Value::Null).await;
}

#[tokio::test]
async fn every_method_may_come_twice() {
    let host = host_with_l3().await;
    for _ in 0..2 {
        ok(&host, "CreateNetwork", network(NETWORK, "10.1.48.0/24", json!({"mode": "l3"}))).await;
        ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    }
    let first = ok(&host, "Join", only(ENDPOINT)).await;
    assert_eq!(ok(&host, "Join", only(ENDPOINT)).await, first);
    assert_eq!(host.shown_links().len(), 1);
    host.links.links.lock().unwrap().clear();
    assert_eq!(ok(&host, "Join", only(ENDPOINT)).await, first);
    assert_eq!(host.shown_links().len(), 1, "a link that is gone is made again");
    for method in ["Leave", "Leave", "DeleteEndpoint", "DeleteEndpoint", "Leave"] {
        ok(&host, method, only(ENDPOINT)).await;
    }
    assert!(host.shown_links().is_empty());
    for _ in 0..2 {
        ok(&host, "DeleteNetwork", json!({"NetworkID": NETWORK})).await;
    }
    assert_eq!(fs::read_dir(host.state().join("networks")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_parent_by_pattern_is_one_interface_of_this_host() {
    let host = Host::start().await;
    let parent = |pattern: &str| network(NETWORK, "10.1.48.0/24", json!({"parent": pattern}));
    let sentence = refused(&host, "CreateNetwork", parent("eth*")).await;
    assert_eq!(
        sentence,
        "more than one interface of this host has a name like eth*: eth2, eth3; name one of them"
    );
    let sentence = refused(&host, "CreateNetwork", parent("wlan?")).await;
    assert!(sentence.contains("(there are: eth2, eth3)"), "{sentence}");
    for _ in 0..2 {
        ok(&host, "CreateNetwork", parent("*2.20")).await;
    }
    assert_eq!(Book::open(host.state()).unwrap().networks()[NETWORK].parent, "eth2.20");
}

#[tokio::test]
async fn a_retry_without_its_body_gets_one_clear_sentence() {
    let host = Host::start().await;
    for method in ["CreateNetwork", "DeleteNetwork", "CreateEndpoint", "DeleteEndpoint", "Join", "Leave"] {
        let answer = host.call(&format!("NetworkDriver.{method}"), "").await;
        assert!(answer.refusal().contains("came with an empty body"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_link_that_docker_gives_back_after_leave_goes_with_the_endpoint() {
    let host = host_with_l3().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    ok(&host, "Join", only(ENDPOINT)).await;
    let link = host.links.links.lock().unwrap().remove(ENDPOINT).unwrap();
    ok(&host, "Leave", only(ENDPOINT)).await;
    host.links.links.lock().unwrap().insert(ENDPOINT.to_owned(), link);
    ok(&host, "DeleteEndpoint", only(ENDPOINT)).await;
    assert!(host.shown_links().is_empty());
}

#[tokio::test]
async fn a_network_takes_its_left_endpoints_along() {
    let host = host_with_l3().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    ok(&host, "Join", only(ENDPOINT)).await;
    ok(&host, "DeleteNetwork", json!({"NetworkID": NETWORK})).await;
    assert!(host.shown_links().is_empty());
}

#[tokio::test]
async fn an_address_given_anew_ends_its_old_endpoint() {
    let host = host_with_l3().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    ok(&host, "Join", only(ENDPOINT)).await;
    let other = ENDPOINT.replace('1', "2");
    ok(&host, "CreateEndpoint", endpoint(&other, "10.1.48.2/24")).await;
    assert!(host.shown_links().is_empty());
    ok(&host, "Join", only(&other)).await;
    assert!(refused(&host, "Join", only(ENDPOINT)).await.contains("docker network connect"));
}

#[tokio::test]
async fn networks_and_endpoints_outlive_the_daemon() {
    let mut host = host_with_l3().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    host.restart().await;
    let joined = ok(&host, "Join", only(ENDPOINT)).await;
    assert_eq!(joined["InterfaceName"]["SrcName"], "ipvleeee0000000");
    ok(&host, "CreateEndpoint", endpoint(&ENDPOINT.replace('1', "2"), "10.1.48.3/24")).await;
}

#[tokio::test]
async fn a_lost_book_is_told_with_what_to_do() {
    let mut host = host_with_l3().await;
    host.stop().await;
    fs::remove_dir_all(host.state()).unwrap();
    host.run();
    let sentence = refused(&host, "Join", only(ENDPOINT)).await;
    assert!(sentence.contains("docker network create -d ipvland"), "{sentence}");
    ok(&host, "DeleteNetwork", json!({"NetworkID": NETWORK})).await;
}

#[tokio::test]
async fn a_hanging_kernel_ends_in_a_sentence_and_leaves_nothing_half_made() {
    let mut host = Host::start().await;
    host.settings.deadline = Duration::from_millis(300);
    host.restart().await;
    host.links.hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let asked = network(NETWORK, "10.1.48.0/24", json!({"parent": "eth2.20"}));
    let sentence = refused(&host, "CreateNetwork", asked.clone()).await;
    assert!(sentence.contains("waiting for the kernel to bring up eth2.20"), "{sentence}");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(fs::read_dir(host.state().join("networks")).unwrap().count(), 0);
    host.links.hangs.store(false, Ordering::SeqCst);
    ok(&host, "CreateNetwork", asked).await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    host.links.hangs.store(true, Ordering::SeqCst);
    let sentence = refused(&host, "Join", only(ENDPOINT)).await;
    assert!(sentence.contains("waiting for the kernel to make a link on eth2.20"), "{sentence}");
    host.links.hangs.store(false, Ordering::SeqCst);
    ok(&host, "Join", only(ENDPOINT)).await;
}

#[tokio::test]
async fn requests_about_one_network_wait_and_those_about_another_do_not() {
    let mut host = host_with_l3().await;
    host.settings.deadline = Duration::from_secs(2);
    host.restart().await;
    ok(&host, "CreateEndpoint", endpoint(ENDPOINT, "10.1.48.2/24")).await;
    let other = NETWORK.replace('a', "b");
    ok(&host, "CreateNetwork", network(&other, "10.1.49.0/24", json!({"mode": "l3"}))).await;
    host.links.hangs.store(true, Ordering::SeqCst);
    let (join, quick) = tokio::join!(refused(&host, "Join", only(ENDPOINT)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let body = json!({"NetworkID": other, "EndpointID": "ab", "Interface": {"Address": "10.1.49.2/24"}});
        ok(&host, "CreateEndpoint", body).await;
        began.elapsed()
    });
    assert!(join.contains("gave up after 2 s"), "{join}");
    assert!(quick < Duration::from_secs(1), "{quick:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let host = Host::start().await;
    let body = network(NETWORK, "10.1.48.0/24", json!({"mode": "l3"})).to_string();
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    let head = format!(
        "POST /NetworkDriver.CreateNetwork HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    drop(stream);
    let file = host.state().join(format!("networks/{NETWORK}.json"));
    for _ in 0..200 {
        if file.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the network was never made");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_overlapping_networks_at_once_one_is_made() {
    let host = Host::start().await;
    let asked = (0..8).map(|n| {
        let id = format!("{n}{}", &NETWORK[1..]);
        let options = json!({"parent": format!("eth2.{}", n + 1)});
        let host = &host;
        async move {
            host.call("NetworkDriver.CreateNetwork", network(&id, "10.1.48.0/24", options)).await.refusal()
        }
    });
    let answers = futures::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|sentence| sentence.is_empty()).count(), 1, "{answers:?}");
    assert_eq!(host.shown_links().len(), 1, "refused networks leave no VLAN behind");
    assert_eq!(Book::open(host.state()).unwrap().networks().len(), 1);
}

#[tokio::test]
async fn a_network_that_the_fleet_refuses_is_taken_back() {
    let host = Host::start().await;
    let asked = network(NETWORK, "10.1.48.0/24", json!({"mode": "l3", "parent": "eth2.30"}));
    *host.fleet.answer.lock().unwrap() = Announcement::Refused("10.1.48.0/24 is web-3's".to_owned());
    assert_eq!(refused(&host, "CreateNetwork", asked.clone()).await, "10.1.48.0/24 is web-3's");
    assert!(host.shown_links().is_empty());
    assert_eq!(fs::read_dir(host.state().join("networks")).unwrap().count(), 0);
    *host.fleet.answer.lock().unwrap() = Announcement::Pending("the store is away".to_owned());
    ok(&host, "CreateNetwork", asked).await;
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_the_stop() {
    let mut host = Host::start().await;
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    stream.write_all(b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 10\r\n\r\n").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.stop().await;
}

#[tokio::test]
async fn orders_of_the_command_line() {
    let host = Host::start().await;
    let send =
        |line: &'static str| host.send(format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let left = send("POST /leave").await;
    assert_eq!((left.code, left.text.as_str()), (409, "2 networks need the record\n"));
    let left = send("POST /leave?force=true").await;
    assert_eq!((left.code, left.text.as_str()), (200, "this host has left\n"));
    assert_eq!(send("POST /sync").await.text, "looked at the store\n");
    assert_eq!(send("GET /status.json").await.json()["healthy"], true);
    assert!(send("GET /status").await.head.contains("content-type: text/plain"));
    assert_eq!(send("GET /nothing").await.code, 404);
    assert_eq!(send("GET /leave").await.code, 405);
}
