//! What a kill, a full disk or a silent Docker leave behind.

use super::*;

#[tokio::test]
async fn a_kill_leaks_nothing_and_gives_nothing_twice() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let (kept, promised, back) =
        (host.any(&pool).await.unwrap(), host.any(&pool).await.unwrap(), host.any(&pool).await.unwrap());
    host.endpoint("blue", "e1", kept, Some("/var/run/docker/netns/e1")).await;
    host.ipam.release_address(&pool, back.addr()).await.unwrap();
    assert_eq!(host.given(), [kept.addr(), promised.addr()].into());
    host.any(&pool).await.unwrap();
    host.restart();
    assert!(host.given().contains(&back.addr()), "its release may come again");
    // Docker asks again for what it asked for by name, since the answer was lost; a second one is another container.
    let again = host.exactly(&pool, &promised.addr().to_string()).await.unwrap();
    assert_eq!(again, promised);
    assert!(host.exactly(&pool, &promised.addr().to_string()).await.unwrap_err().contains("is pending"));
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        assert!(seen.insert(host.any(&pool).await.unwrap().addr()));
    }
    assert!([kept, promised, back].iter().all(|address| !seen.contains(&address.addr())));
    host.until("only the endpoint has an address", |host| host.given() == [kept.addr()].into()).await;
    // Docker comes late with an address: it is still free, so it may have it.
    host.endpoint("blue", "e2", promised, None).await;
    host.restart();
    host.until("the endpoints have theirs", |host| host.given() == [kept.addr(), promised.addr()].into())
        .await;
    // A repeated release doesn't take the address of a container that is there.
    host.ipam.release_address(&pool, kept.addr()).await.unwrap();
    assert!(host.given().contains(&kept.addr()));
}

#[tokio::test]
async fn a_repeated_release_after_a_kill_hits_no_new_holder() {
    let config = NetworkConfig { block_length: 30, ..NetworkConfig::default() };
    let mut host = Host::new("h1", &Store::default(), config);
    let pool = host.network("blue", named("10.9.0.0/29"), Mode::L2).await;
    let address = host.any(&pool).await.unwrap().addr();
    host.ipam.release_address(&pool, address).await.unwrap();
    // The answer to the release is lost; another container asks, and there is little choice.
    host.restart();
    let mut others = BTreeSet::new();
    while let Ok(other) = host.any(&pool).await {
        others.insert(other.addr());
    }
    assert!(!others.contains(&address), "{others:?}");
    host.ipam.release_address(&pool, address).await.unwrap();
    assert_eq!(host.any(&pool).await.unwrap().addr(), address);
}

#[tokio::test]
async fn a_ledger_that_was_moved_away_is_known_again() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let address = host.any(&pool).await.unwrap();
    host.endpoint("blue", "e1", address, None).await;
    std::fs::remove_file(host.dir.join(LEDGER)).unwrap();
    host.restart();
    tokio::time::sleep(host.times.quarantine * 2).await;
    assert_eq!(host.held(), ["10.9.0.0/28"], "a network has its subnet");
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        seen.insert(host.any(&pool).await.unwrap().addr());
    }
    assert_eq!((host.held().len(), seen.len()), (1, 12));
    assert!(!seen.contains(&address.addr()) && !seen.contains(&ip("10.9.0.1")), "{seen:?}");
    assert!(host.any("ipvland/10.7.0.0/24").await.unwrap_err().contains("is unknown to ipvland"));
}

#[tokio::test]
async fn endpoints_that_docker_forgot_make_way_when_addresses_run_out() {
    let host = Host::hasty(NetworkConfig::default());
    let pool = host.network("blue", named("10.9.0.0/29"), Mode::L3).await;
    let alive = host.dir.join("alive");
    std::fs::write(&alive, "").unwrap();
    let path = |name: &str| host.dir.join(name).to_str().unwrap().to_owned();
    let mut addresses = Vec::new();
    for (id, sandbox) in
        [("e1", Some(path("alive"))), ("e2", Some(path("gone"))), ("e3", Some(path("no/dir"))), ("e4", None)]
    {
        let address = host.any(&pool).await.unwrap();
        host.endpoint("blue", id, address, sandbox.as_deref()).await;
        addresses.push(address);
    }
    let last = host.any(&pool).await.unwrap();
    assert_eq!(host.any(&pool).await.unwrap(), addresses[1], "its network namespace is gone");
    assert!(host.any(&pool).await.is_err());
    tokio::time::sleep(host.times.apart).await;
    // What was pending is free by now, and what is in no container for long is not needed yet.
    assert_eq!(host.any(&pool).await.unwrap(), last);
    assert_eq!(host.any(&pool).await.unwrap(), addresses[1]);
    assert_eq!(host.exactly(&pool, &addresses[3].addr().to_string()).await.unwrap(), addresses[3]);
    assert_eq!(host.book.networks()["blue"].endpoints.keys().collect::<Vec<_>>(), ["e1", "e3"]);
    let network = host.book.networks()["blue"].clone();
    for (id, gone) in [("e1", false), ("e3", false)] {
        assert_eq!(host.ipam.check_gone(&network, id, &network.endpoints[id]).await.is_ok(), gone);
    }
}

#[tokio::test]
async fn an_address_that_the_disk_refuses_is_not_given() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L3).await;
    let turn = host.ipam.0.ledger.newest();
    host.ipam.0.ledger.settle(turn).await.unwrap();
    host.ipam.0.ledger.break_off();
    let refused = host.any(&pool).await.unwrap_err();
    assert!(refused.starts_with("cannot write ") && host.given().is_empty(), "{refused}");
}
