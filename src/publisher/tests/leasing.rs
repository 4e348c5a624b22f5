//! Prefixes and blocks that hosts lease through one store.

use super::*;
use crate::lease::{Kind, Wish};

/// A host that only publishes and leases.
struct Tenant {
    leases: Leases,
    board: Board,
    views: watch::Receiver<Arc<View>>,
    leaving: watch::Sender<bool>,
    _reach: watch::Sender<Option<Reach>>,
    _state: tempfile::TempDir,
}

fn address(number: usize) -> String {
    format!("192.168.0.{number}")
}

fn tenant(store: &MemoryStore, number: usize) -> Tenant {
    let state = tempfile::tempdir().unwrap();
    let board = Board::default();
    let own = watch::Sender::new(Some(key(&format!("{}.json", address(number)))));
    let fleet =
        Fleet::new("git".to_owned(), state.path().join("snapshot.json"), own.subscribe(), board.clone());
    let views = fleet.subscribe();
    let nudge = Nudge::new();
    tokio::spawn(fleet.run(Arc::new(store.clone()).follow(nudge.clone())));
    let identity = Identity {
        id: format!("{number:08}-1111-4111-8111-111111111111"),
        name: format!("web-{number}"),
        interface: Some("eth2".to_owned()),
    };
    let reach = watch::Sender::new(Some(reach(&address(number))));
    let leases = Leases::open(state.path().join("leases.json")).unwrap();
    let networks = watch::Sender::new(Networks::default()).subscribe();
    let leaving = watch::Sender::new(false);
    let local = Local {
        parent: "eth2".to_owned(),
        underlay: vec![net(&format!("{}/24", address(number)))],
        ..Local::default()
    };
    let publisher = Publisher {
        store: Arc::new(store.clone()),
        place: "git".to_owned(),
        nudge,
        id: identity.id.clone(),
        source: ClaimSource::new(identity, Vec::new(), networks, reach.subscribe(), leases.clone()),
        views: views.clone(),
        local: watch::Sender::new(local).subscribe(),
        leaving: leaving.subscribe(),
        settled_file: state.path().join("published.json"),
        board: board.clone(),
        outcome: watch::Sender::new(Outcome { claims: None, state: State::Nothing }),
    };
    tokio::spawn(publisher.run());
    Tenant { leases, board, views, leaving, _reach: reach, _state: state }
}

fn prefix_of(pool: &str) -> Wish {
    Wish::Prefix { pools: vec![net(pool)], length: 24, reserved: Vec::new() }
}

fn block_of(subnet: &str, holds: Option<&str>) -> Wish {
    let holds = holds.map(|address| address.parse().unwrap());
    Wish::Block { subnet: net(subnet), length: 28, holds, reserved: vec![net("10.9.0.0/28")] }
}

impl Tenant {
    async fn until(&self, what: &str, holds: impl Fn(&Tenant) -> bool) {
        let held = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let held = tokio::time::timeout(Duration::from_secs(60), held).await;
        assert!(held.is_ok(), "{what}: {:?} {:?}", self.leases.held(), self.board.read());
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_prefixes_go_to_sixteen_of_twenty_hosts_and_what_one_leaves_to_the_next() {
    let store = MemoryStore::new();
    let tenants: Vec<Tenant> = (1..=20).map(|number| tenant(&store, number)).collect();
    for tenant in &tenants {
        tenant.leases.wish(prefix_of("10.1.0.0/20"));
    }
    let lacks = |tenant: &Tenant| tenant.board.read().published.lacking.is_some();
    for tenant in &tenants {
        tenant.until("an answer", |tenant| !tenant.leases.held().is_empty() || lacks(tenant)).await;
    }
    let (have, lack): (Vec<&Tenant>, Vec<&Tenant>) =
        tenants.iter().partition(|tenant| !tenant.leases.held().is_empty());
    assert_eq!((have.len(), lack.len()), (16, 4));
    let mut prefixes: Vec<IpNet> =
        have.iter().flat_map(|t| t.leases.held().keys().copied().collect::<Vec<_>>()).collect();
    prefixes.sort();
    assert_eq!(prefixes, net("10.1.0.0/20").subnets(24).unwrap().collect::<Vec<_>>());
    let problem = lack[0].board.read().problems.pop().unwrap();
    assert!(problem.contains("no /24 is free in 10.1.0.0/20"), "{problem}");

    let gone = *have[3].leases.held().keys().next().unwrap();
    let gone_id = have[3]
        .views
        .borrow()
        .records
        .values()
        .flatten()
        .find(|r| r.networks[0].prefixes == [gone])
        .unwrap()
        .id
        .clone()
        .unwrap();
    have[3].leaving.send_replace(true);
    let leave = |snapshot: &Snapshot| withdraw(snapshot, &gone_id, "web", None, false);
    store.transact(Retry::default(), leave).await.unwrap();
    let holder = async {
        loop {
            if let Some(holder) = lack.iter().find(|tenant| !tenant.leases.held().is_empty()) {
                return holder;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let holder = tokio::time::timeout(LONG, holder).await.unwrap();
    assert_eq!(holder.leases.held().keys().copied().collect::<Vec<_>>(), [gone]);
    holder.until("well", |tenant| !lacks(tenant)).await;
    assert_eq!(lack.iter().filter(|tenant| tenant.leases.held().is_empty()).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_a_shared_subnet_touch_neither_each_other_nor_what_is_reserved() {
    let store = MemoryStore::new();
    let (one, two) = (tenant(&store, 1), tenant(&store, 2));
    let subnet = "10.9.0.0/24";
    let (first, second) = tokio::join!(
        one.leases.lease(block_of(subnet, None), LONG),
        two.leases.lease(block_of(subnet, None), LONG)
    );
    let mut both = [first.unwrap(), second.unwrap()];
    both.sort();
    assert_eq!(both, [net("10.9.0.16/28"), net("10.9.0.32/28")]);

    let theirs = *two.leases.held().keys().next().unwrap();
    let taken = theirs.hosts().next().unwrap().to_string();
    let error = one.leases.lease(block_of(subnet, Some(&taken)), LONG).await.unwrap_err();
    assert_eq!(error, format!("{taken} is in {theirs}, which web-2 (192.168.0.2) has: give another --ip"));
    let around = one.leases.lease(block_of(subnet, Some("10.9.0.200")), LONG).await.unwrap();
    assert_eq!(around, net("10.9.0.192/28"));

    let own = store.snapshot().await.unwrap().records[&key("192.168.0.1.json")].clone();
    let own = Record::parse(&key("192.168.0.1.json"), &own).unwrap();
    assert_eq!(own.blocks, one.leases.held().keys().copied().collect::<Vec<_>>());
    assert!(own.networks.is_empty(), "a block is no route");

    one.leases.give_back(around).await.unwrap();
    let given = async {
        loop {
            // Refused for as long as the store shows the other host's block.
            match two.leases.lease(block_of(subnet, Some("10.9.0.200")), LONG).await {
                Ok(block) => return block,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, given).await.unwrap(), around);
    assert_eq!(two.leases.held()[&around], Kind::Block);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_whole_block_is_free_a_smaller_one_is_leased() {
    let store = MemoryStore::new();
    let (one, two) = (tenant(&store, 1), tenant(&store, 2));
    let wish = |holds: Option<&str>, length| Wish::Block {
        subnet: net("10.9.0.0/29"),
        length,
        holds: holds.map(|address| address.parse().unwrap()),
        reserved: vec![net("10.9.0.0/32"), net("10.9.0.7/32")],
    };
    assert_eq!(one.leases.lease(wish(Some("10.9.0.3"), 32), LONG).await.unwrap(), net("10.9.0.3/32"));
    assert_eq!(two.leases.lease(wish(None, 29), LONG).await.unwrap(), net("10.9.0.4/30"));
    assert_eq!(two.leases.lease(wish(None, 29), LONG).await.unwrap(), net("10.9.0.0/31"));
    assert_eq!(two.leases.lease(wish(None, 29), LONG).await.unwrap(), net("10.9.0.2/32"));
    let error = two.leases.lease(wish(None, 29), LONG).await.unwrap_err();
    assert!(error.starts_with("no address of 10.9.0.0/29 is free"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_an_operator_entered_for_a_new_host_is_the_one_it_leases() {
    let store = MemoryStore::new();
    let base = store.snapshot().await.unwrap().revision;
    let pinned = r#"{"version": 1, "host": "192.168.0.1", "next_hops": ["192.168.0.1"],
                     "networks": [{"name": "host", "prefixes": ["10.1.7.0/24"]}]}"#;
    store.commit(&base, Batch::new("pin").put(key("192.168.0.1.json"), pinned)).await.unwrap();
    let (pinned, other) = (tenant(&store, 1), tenant(&store, 2));
    assert_eq!(pinned.leases.lease(prefix_of("10.1.0.0/16"), LONG).await.unwrap(), net("10.1.7.0/24"));
    assert_eq!(other.leases.lease(prefix_of("10.1.0.0/16"), LONG).await.unwrap(), net("10.1.0.0/24"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_holds_the_segment_of_the_hosts_never_leases_it() {
    let store = MemoryStore::new();
    let host = tenant(&store, 1);
    let wish = Wish::Prefix {
        pools: vec![net("192.168.0.0/16")],
        length: 24,
        reserved: vec![net("192.168.1.7/32")],
    };
    assert_eq!(host.leases.lease(wish, LONG).await.unwrap(), net("192.168.2.0/24"));
}
