//! Pools that Docker asks for, with a subnet and without.

use super::*;

#[tokio::test]
async fn without_a_subnet_the_hosts_own_prefixes_are_chosen() {
    let config = NetworkConfig {
        subnet: vec![net("10.1.48.0/24"), net("2001:db8:48::/64")],
        pool: vec![net("10.2.0.0/16")],
        ..NetworkConfig::default()
    };
    let host = Host::new("h1", &Store::default(), config);
    let first = host.network("one", Asked::default(), Mode::L3).await;
    assert_eq!(first, "ipvland/10.1.48.0/24");
    assert!(host.ipam.is_chosen(net("10.1.48.0/24")));
    assert_eq!(host.any(&first).await.unwrap(), net("10.1.48.2/24"));
    let six = host.ipam.request_pool(Asked { v6: true, ..Asked::default() }).await.unwrap();
    assert_eq!(six.net, net("2001:db8:48::/64"));
    assert!(
        host.ipam
            .request_pool(Asked { v6: true, ..Asked::default() })
            .await
            .unwrap_err()
            .contains("no IPv6 prefix")
    );
    let second = host.network("two", Asked::default(), Mode::L3).await;
    assert_eq!(second, "ipvland/10.2.0.0/24");
    assert_eq!(host.held(), ["10.2.0.0/24"]);
    host.remove("two", &second).await;
    host.until("the further prefix goes back", |host| host.held().is_empty()).await;
    // A route of the host overlaps all of them: Docker holds what it got, and asks again.
    let mut held = Vec::new();
    let refused = loop {
        match host.ipam.request_pool(Asked::default()).await {
            Ok(pool) => held.push(pool.id()),
            Err(refused) => break refused,
        }
    };
    assert!(
        held.len() == 3 && refused.contains("routes of this host overlap them all"),
        "{held:?} {refused}"
    );
    for id in held {
        host.ipam.release_pool(&id).await.unwrap();
    }
    host.until("all go back", |host| host.held().is_empty()).await;
}

#[tokio::test]
async fn the_first_leased_prefix_is_kept_and_an_l2_network_can_not_have_it() {
    let config = NetworkConfig { pool: vec![net("10.2.0.0/16")], ..NetworkConfig::default() };
    let mut host = Host::hasty(config);
    let pool = host.ipam.request_pool(Asked::default()).await.unwrap();
    assert_eq!((pool.net, host.held()), (net("10.2.0.0/24"), vec!["10.2.0.0/24".to_owned()]));
    host.restart();
    let again = host.ipam.request_pool(Asked::default()).await.unwrap();
    assert_eq!(again, pool, "the answer was lost");
    host.enter("blue", &pool, Mode::L2, None).await;
    let refused = host.ipam.check_mode(&host.book.networks()["blue"]).unwrap_err();
    assert!(refused.starts_with("an l2 network needs --subnet "), "{refused}");
    host.remove("blue", &pool.id()).await;
    tokio::time::sleep(host.times.quarantine).await;
    assert_eq!(host.held(), ["10.2.0.0/24"]);
}

#[tokio::test]
async fn pools_overlap_nothing_and_go_by_themselves() {
    let mut host = Host::hasty(NetworkConfig::default());
    let pool = host.ipam.request_pool(named(NET)).await.unwrap();
    host.ipam.request_gateway(&pool.id(), Some(ip("10.9.0.9"))).await.unwrap();
    host.restart();
    let again = host.ipam.request_pool(named("10.9.0.7/24")).await.unwrap();
    assert_eq!((again.id(), again.gateway), (pool.id(), Some(ip("10.9.0.9"))), "the answer was lost");
    let refused = host.ipam.request_pool(named("10.9.0.0/25")).await.unwrap_err();
    assert!(refused.contains("overlaps 10.9.0.0/24, which Docker asked for"), "{refused}");
    host.enter("blue", &pool, Mode::L2, None).await;
    for overlapping in [NET, "10.0.0.0/8"] {
        let refused = host.ipam.request_pool(named(overlapping)).await.unwrap_err();
        assert!(refused.contains("overlaps 10.9.0.0/24 of network blue on this host"), "{refused}");
    }
    let beside = host.ipam.request_pool(named("10.8.0.0/24")).await.unwrap();
    let address = host.any(&pool.id()).await.unwrap();
    host.until("the pool that no network uses goes", |host| {
        !host.ipam.0.state().pools.contains_key(&beside.id())
    })
    .await;
    assert!(host.ipam.0.state().pools.contains_key(&pool.id()));
    // Docker gives a pool back before it removes the network, and may fail to remove it.
    host.ipam.release_pool(&pool.id()).await.unwrap();
    host.endpoint("blue", "e1", address, None).await;
    assert!(host.any(&pool.id()).await.is_ok());
    host.book.remove_endpoint("blue", "e1").await.unwrap();
    host.remove("blue", &pool.id()).await;
    assert!(host.ipam.request_pool(named("10.9.0.0/25")).await.is_ok());
    host.until("the block goes back", |host| host.held().is_empty() && host.given().is_empty()).await;
    let range = Asked { range: Some(net("10.8.0.0/24")), ..named(NET) };
    assert!(host.ipam.request_pool(range).await.unwrap_err().contains("is not in the --subnet"));
}
