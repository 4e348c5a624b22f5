//! Hosts that share a subnet, and which addresses of it are given.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_a_subnet_give_each_address_once_and_write_once_a_block() {
    let store = Store::default();
    let hosts = ["h1", "h2", "h3"].map(|name| Arc::new(Host::new(name, &store, NetworkConfig::default())));
    let mut asks = Vec::new();
    for host in &hosts {
        let pool = host.network("blue", named(NET), Mode::L2).await;
        for _ in 0..70 {
            let (host, pool) = (Arc::clone(host), pool.clone());
            asks.push(tokio::spawn(async move { host.any(&pool).await.unwrap().addr() }));
        }
    }
    let mut seen = BTreeSet::new();
    for ask in asks {
        assert!(seen.insert(ask.await.unwrap()), "an address was given twice");
    }
    assert_eq!(seen.len(), 210);
    assert!([ip("10.9.0.0"), ip("10.9.0.1"), ip("10.9.0.255")].iter().all(|never| !seen.contains(never)));
    assert!((14..=15).contains(&store.writes()), "{}", store.writes());
    let refused = loop {
        if let Err(refused) = hosts[0].any("ipvland/10.9.0.0/24").await {
            break refused;
        }
    };
    assert_eq!(
        refused,
        "all addresses of 10.9.0.0/24 that this host may give are given, and no block is free"
    );
}

#[tokio::test]
async fn an_address_asked_for_by_name_is_given_where_it_is_free() {
    let store = Store::default();
    let config = NetworkConfig { reserved: vec![net("10.9.0.200/29")], ..NetworkConfig::default() };
    let (one, two) = (Host::new("h1", &store, config.clone()), Host::new("h2", &store, config));
    let pool = one.network("blue", named(NET), Mode::L2).await;
    two.network("blue", named(NET), Mode::L2).await;
    let record = Record::parse(
        &Record::key(ip("10.9.0.77")),
        br#"{"version": 1, "host": "10.9.0.77", "name": "web-7", "next_hops": ["10.9.0.77"], "networks": [], "underlay": {"kind": "direct"}}"#,
    );
    let records = BTreeMap::from([(Record::key(ip("10.9.0.77")), record.map(Arc::new))]);
    one.views.send_replace(Arc::new(View { records: Arc::new(records.into()), ..View::default() }));
    assert_eq!(one.any(&pool).await.unwrap(), net("10.9.0.2/24"));
    assert_eq!(one.exactly(&pool, "10.9.0.9").await.unwrap().addr(), ip("10.9.0.9"));
    assert_eq!(store.writes(), 1, "it was in the block");
    assert_eq!(one.exactly(&pool, "10.9.0.70").await.unwrap(), net("10.9.0.70/24"));
    assert_eq!(one.held(), ["10.9.0.0/28", "10.9.0.64/28"]);
    for (address, why) in [
        ("10.9.0.9", "address 10.9.0.9 is pending: "),
        ("10.9.0.0", "address 10.9.0.0 names 10.9.0.0/24 itself: "),
        ("10.9.0.1", "address 10.9.0.1 is the gateway of 10.9.0.0/24: "),
        ("10.9.0.77", "address 10.9.0.77 is an address of host web-7 (10.9.0.77): "),
        ("10.9.0.201", "address 10.9.0.201 is kept free by network.reserved (10.9.0.200/29): "),
        ("10.8.0.1", "address 10.8.0.1 is not in 10.9.0.0/24: "),
    ] {
        let refused = one.exactly(&pool, address).await.unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
    let refused = two.exactly(&pool, "10.9.0.66").await.unwrap_err();
    assert_eq!(refused, "10.9.0.66 is in 10.9.0.64/28, which h1 has: give another --ip");
    one.endpoint("blue", "e1", net("10.9.0.9/24"), None).await;
    let refused = one.exactly(&pool, "10.9.0.9").await.unwrap_err();
    assert_eq!(refused, "address 10.9.0.9 is taken by endpoint e1 of network blue: give another");
    let refused = one.ipam.admit(&one.book.networks()["blue"], &[net("10.9.0.100/24")]).await.unwrap_err();
    assert!(refused.starts_with("address 10.9.0.100 is none that this host may give"), "{refused}");
}

#[tokio::test]
async fn what_the_user_keeps_and_the_range_are_heeded() {
    let store = Store::default();
    let host = Host::new("h1", &store, NetworkConfig { block_length: 30, ..NetworkConfig::default() });
    let asked = Asked { range: Some(net("10.9.0.128/29")), ..named(NET) };
    let pool = host.ipam.request_pool(asked.clone()).await.unwrap();
    assert_eq!(pool.id(), "ipvland/10.9.0.0/24/10.9.0.128/29");
    let gateway = host.ipam.request_gateway(&pool.id(), Some(ip("10.9.0.254"))).await.unwrap();
    assert_eq!(gateway, net("10.9.0.254/24"));
    assert_eq!(host.exactly(&pool.id(), "10.9.0.128").await.unwrap(), net("10.9.0.128/24"), "--aux-address");
    assert_eq!(host.exactly(&pool.id(), "10.9.0.130").await.unwrap(), net("10.9.0.130/24"), "--aux-address");
    assert!(host.held().is_empty(), "nothing is leased for what all hosts keep");
    for (address, why) in [
        ("10.9.0.254", "is the gateway"),
        ("10.9.0.255", "names 10.9.0.0/24 itself"),
        ("10.8.0.1", "is not in"),
    ] {
        assert!(host.exactly(&pool.id(), address).await.unwrap_err().contains(why));
    }
    host.enter("blue", &pool, Mode::L2, Some(ip("10.9.0.254"))).await;
    let mut seen = Vec::new();
    while let Ok(address) = host.any(&pool.id()).await {
        seen.push(address.addr().to_string());
    }
    assert_eq!(seen, ["10.9.0.129", "10.9.0.131", "10.9.0.132", "10.9.0.133", "10.9.0.134", "10.9.0.135"]);
    assert!(host.exactly(&pool.id(), "10.9.0.130").await.unwrap_err().contains("is an auxiliary address"));
    assert!(host.exactly(&pool.id(), "10.9.0.5").await.is_ok(), "outside of the range by name");
}

#[tokio::test]
async fn an_address_that_came_back_rests_while_there_are_others() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L3).await;
    let first = host.any(&pool).await.unwrap();
    host.ipam.release_address(&pool, first.addr()).await.unwrap();
    assert_ne!(host.any(&pool).await.unwrap(), first);
    assert!(host.held().is_empty(), "an l3 network's subnet is this host's own as a whole");
    let mut last = None;
    while let Ok(address) = host.any(&pool).await {
        last = Some(address);
    }
    assert_eq!(last, Some(first), "it is given when it is the last one");
    let refused = host.any(&pool).await.unwrap_err();
    assert_eq!(refused, "all addresses of 10.9.0.0/24 are given: remove containers, or make another network");
}

#[tokio::test]
async fn a_block_that_another_host_has_by_right_is_given_no_more() {
    let host = Host::new("h1", &Store::default(), NetworkConfig::default());
    let pool = host.network("blue", named(NET), Mode::L2).await;
    let before = host.any(&pool).await.unwrap().addr();
    let key = Record::key(ip("10.1.1.7"));
    let text =
        br#"{"version": 1, "host": "10.1.1.7", "name": "web-7", "next_hops": ["10.1.1.7"], "networks": [],
        "blocks": ["10.9.0.8/29"], "underlay": {"kind": "direct"}}"#;
    let records = BTreeMap::from([(key.clone(), Record::parse(&key, text).map(Arc::new))]);
    host.local.send_modify(|local| local.own = Some(Record::key(ip("10.1.1.48"))));
    host.views.send_replace(Arc::new(View { records: Arc::new(records.into()), ..View::default() }));
    let after = host.any(&pool).await.unwrap().addr();
    assert!(net("10.9.0.0/28").contains(&before) && net("10.9.0.16/28").contains(&after), "{before} {after}");
    host.until("the status says so", |host| {
        host.board.read().problems.iter().any(|problem| {
            problem
                .starts_with("block 10.9.0.0/28 of this host overlaps 10.9.0.8/29 of host web-7 (10.1.1.7), ")
        })
    })
    .await;
}

#[tokio::test]
async fn the_status_says_how_full_each_is() {
    let config = NetworkConfig { subnet: vec![net("10.1.48.0/24")], ..NetworkConfig::default() };
    let host = Host::new("h1", &Store::default(), config);
    let pool = host.network("blue", named(NET), Mode::L2).await;
    host.network("red", named("2001:db8:9::/64"), Mode::L3).await;
    host.any(&pool).await.unwrap();
    let row = |host: &Host, text: &str| {
        host.board.read().addresses.iter().find(|row| row.net == net(text)).cloned()
    };
    host.until("the block is there", |host| row(host, "10.9.0.0/28").is_some_and(|row| row.used == 1)).await;
    let rows = host.board.read().addresses;
    let rows: Vec<_> =
        rows.iter().map(|row| (row.net.to_string(), row.kind.as_str(), row.used, row.size)).collect();
    let expected = [
        ("10.1.48.0/24".to_owned(), "subnet", 0, 256),
        ("10.9.0.0/28".to_owned(), "block", 1, 14),
        ("2001:db8:9::/64".to_owned(), "network", 0, u64::MAX - 1),
    ];
    assert_eq!(rows, expected);
}
