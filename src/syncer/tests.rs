mod quick;

use std::collections::BTreeMap;

use ipvland_store::Revision;

use super::*;
use crate::{
    fleet::Source,
    kernel::{FakeKernel, Route},
    plan,
    policy::Records,
    record::Record,
};

struct Host {
    kernel: FakeKernel,
    view: watch::Sender<Arc<View>>,
    leave: watch::Sender<bool>,
    own: watch::Sender<Option<Key>>,
    networks: watch::Sender<Networks>,
    board: Board,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn records(files: &[(&str, &str)]) -> Records {
    files
        .iter()
        .map(|(name, text)| {
            let key = Key::parse(name).unwrap();
            let record = Record::parse(&key, text.as_bytes()).map(Arc::new);
            (key, record)
        })
        .collect()
}

/// The records of hosts, each an address and its prefixes.
fn fleet(hosts: &[(&str, &[&str])]) -> Arc<View> {
    let texts: Vec<(String, String)> = hosts
        .iter()
        .map(|(host, prefixes)| {
            let text = serde_json::json!({
                "version": 1, "host": host, "id": format!("id of {host}"), "name": format!("web {host}"),
                "next_hops": [host], "networks": [{"name": "blue", "prefixes": prefixes}],
                "underlay": {"kind": "direct"}, "meta": {}
            });
            (format!("{host}.json"), text.to_string())
        })
        .collect();
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    view(records(&texts))
}

fn view(records: Records) -> Arc<View> {
    Arc::new(View {
        source: Source::Store,
        revision: Some(Revision::new("r1")),
        records: Arc::new(records),
        ..View::default()
    })
}

fn start_on(kernel: FakeKernel, first: Arc<View>) -> Host {
    let (view, views) = watch::channel(first);
    let (leave, leaves) = watch::channel(false);
    let (own, owns) = watch::channel(Some(Key::parse("10.1.1.48.json").unwrap()));
    let (networks, nets) = watch::channel(Networks::default());
    let board = Board::default();
    let syncer = Syncer {
        view: views,
        kernel: Arc::new(kernel.clone()),
        parent: Some("eth2".into()),
        own: owns,
        networks: nets,
        machine: "a machine".into(),
        leave: leaves,
        board: board.clone(),
    };
    Host { kernel, view, leave, own, networks, board, task: tokio::spawn(syncer.run()) }
}

fn start(first: Arc<View>) -> Host {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24", "2001:db8:1::48/64"]);
    start_on(kernel, first)
}

impl Host {
    fn shown(&self) -> Vec<String> {
        let ours = self.kernel.our_routes();
        ours.iter().map(|route| format!("{} via {}", route.prefix, route.gateway.unwrap())).collect()
    }

    /// Waits until our routes are these, in the paused clock's time.
    async fn has(&self, wanted: &[&str]) {
        for _ in 0..1000 {
            if self.shown() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.shown(), wanted);
    }

    fn state_of(&self, prefix: &str) -> (String, String) {
        let status = self.board.read();
        let route = status.routes.iter().find(|route| route.prefix.to_string() == prefix).expect(prefix);
        (route.state.clone(), route.reason.clone().unwrap_or_default())
    }

    async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
}

const ONE: &str = "10.1.51.0/24 via 10.1.1.51";

fn one() -> Arc<View> {
    fleet(&[("10.1.1.48", &["10.1.48.0/24"]), ("10.1.1.51", &["10.1.51.0/24"])])
}

fn route(kernel: &FakeKernel, prefix: &str, hop: &str, protocol: u8, metric: u32) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        gateway: Some(hop.parse().unwrap()),
        link: Some(kernel.link("eth2").unwrap().index),
        protocol,
        metric,
        source: None,
        mtu: None,
    }
}

#[tokio::test(start_paused = true)]
async fn routes_come_change_and_go_with_the_records() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.view.send_replace(fleet(&[
        ("10.1.1.51", &["10.1.51.0/24"]),
        ("10.1.1.52", &["10.1.52.0/24"]),
        ("2001:db8:1::53", &["2001:db8:53::/64"]),
    ]));
    host.has(&[ONE, "10.1.52.0/24 via 10.1.1.52", "2001:db8:53::/64 via 2001:db8:1::53"]).await;
    host.view.send_replace(fleet(&[("10.1.1.52", &["10.1.51.0/24"])]));
    host.has(&["10.1.51.0/24 via 10.1.1.52"]).await;
    host.quiet().await;
    let status = host.board.read();
    assert_eq!((status.learned.len(), status.routes.len()), (1, 1));
    assert_eq!(status.learned[0].file, "10.1.1.52.json");
    assert_eq!(host.state_of("10.1.51.0/24").0, "installed");
    host.view.send_replace(view(Records::new()));
    host.has(&[]).await;
}

/// The daemon may be killed before what it learned last is on its disk.
#[tokio::test(start_paused = true)]
async fn records_from_disk_add_routes_and_take_none_away() {
    let kernel = start(one()).kernel.clone();
    let newer = ["10.1.51.0/24 via 10.1.1.61", "10.1.52.0/24 via 10.1.1.52"];
    let routes = newer.map(|text| text.split_once(" via ").unwrap());
    let routes = routes.map(|(prefix, hop)| {
        let metric = plan::metric(prefix.parse().unwrap());
        RouteOp::Add(route(&kernel, prefix, hop, ROUTE_PROTOCOL, metric))
    });
    kernel.change_routes(&routes).await;
    let mut disk = fleet(&[("10.1.1.51", &["10.1.51.0/24"]), ("10.1.1.53", &["10.1.53.0/24"])]);
    Arc::make_mut(&mut disk).source = Source::Disk;
    let host = start_on(kernel, disk);
    host.has(&[newer[0], newer[1], "10.1.53.0/24 via 10.1.1.53"]).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(host.shown().len(), 3);
    host.view.send_replace(one());
    host.has(&[ONE]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_with_nothing_to_do_writes_nothing() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let (writes, dumps) = (host.kernel.writes(), host.kernel.dumps());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(host.kernel.writes(), writes);
    assert!((3..=5).contains(&(host.kernel.dumps() - dumps)), "a full pass every 30 s");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_events_makes_a_few_passes_a_second() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    for _ in 0..1000 {
        host.kernel.change_link("eth2", |_| {});
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let made = host.kernel.dumps() - dumps;
    assert!((1..=8).contains(&made), "{made} passes in two seconds");
}

#[tokio::test(start_paused = true)]
async fn a_route_lost_without_an_event_comes_back_with_the_timer() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    host.kernel.lose_route("10.1.51.0/24");
    host.has(&[ONE]).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_flaps_gets_its_routes_back() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.kernel.set_up("eth2", false);
    host.quiet().await;
    assert_eq!(host.shown(), [""; 0]);
    let (state, reason) = host.state_of("10.1.51.0/24");
    assert_eq!(state, "failed");
    assert_eq!(reason, "the parent interface eth2 is down; raise it with `ip link set eth2 up`");
    host.kernel.set_up("eth2", true);
    host.has(&[ONE]).await;
    host.quiet().await;
    assert_eq!(host.state_of("10.1.51.0/24").0, "installed");
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_missing_is_told_and_awaited() {
    let kernel = FakeKernel::new();
    let host = start_on(kernel, one());
    host.quiet().await;
    assert_eq!(host.shown(), [""; 0]);
    host.kernel.add_parent("eth2", &["10.1.1.48/24"]);
    host.has(&[ONE]).await;
    host.kernel.remove_link("eth2");
    host.quiet().await;
    let told = ("failed".to_owned(), "the parent interface eth2 is missing".to_owned());
    assert_eq!(host.state_of("10.1.51.0/24"), told);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_route_wins_and_is_reported_until_it_goes() {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24"]);
    let theirs = route(&kernel, "10.1.51.0/24", "10.1.1.1", 4, 0);
    kernel.add_route(theirs.clone());
    let host = start_on(kernel, one());
    host.quiet().await;
    assert_eq!(host.shown(), [""; 0]);
    let (state, reason) = host.state_of("10.1.51.0/24");
    assert_eq!(state, "foreign");
    assert!(
        reason.starts_with("somebody else routes 10.1.51.0/24 via 10.1.1.1 on eth2 (protocol 4, "),
        "{reason}"
    );
    assert_eq!(host.kernel.routes().await.unwrap(), [theirs]);
    host.kernel.lose_route("10.1.51.0/24");
    host.has(&[ONE]).await;
}

#[tokio::test(start_paused = true)]
async fn routes_stay_at_the_stop_and_are_adopted() {
    let first = start(one());
    first.has(&[ONE]).await;
    let kernel = first.kernel.clone();
    drop(first);
    tokio::time::sleep(Duration::from_secs(60)).await;
    kernel.add_route(route(&kernel, "10.1.99.0/24", "10.1.1.99", ROUTE_PROTOCOL, 4242));
    let writes = kernel.writes();
    let nothing_yet = Arc::new(View::default());
    let second = start_on(kernel.clone(), nothing_yet);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(kernel.writes(), writes, "without records nothing is changed");
    second.view.send_replace(one());
    second.has(&[ONE]).await;
    assert_eq!(kernel.writes(), writes + 1, "the old route goes, the good one is not touched");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_leaves_has_no_routes_and_foreign_ones_stay() {
    let host = start(one());
    host.has(&[ONE]).await;
    let theirs = route(&host.kernel, "10.9.0.0/16", "10.1.1.1", 3, 0);
    host.kernel.add_route(theirs.clone());
    host.leave.send_replace(true);
    host.has(&[]).await;
    host.view.send_replace(fleet(&[("10.1.1.52", &["10.1.52.0/24"])]));
    host.quiet().await;
    assert_eq!(host.shown(), [""; 0]);
    assert_eq!(host.kernel.routes().await.unwrap(), [theirs]);
    assert!(host.board.read().routes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bad_records_are_named_and_stop_nobody() {
    let good = r#"{"version":1,"host":"10.1.1.51","id":"a","name":"web","next_hops":["10.1.1.51"],
        "networks":[{"name":"blue","prefixes":["10.1.51.0/24"]}],"underlay":{"kind":"direct"},"meta":{}}"#;
    let evil = r#"{"version":1,"host":"10.1.1.52","id":"b","name":"evil","next_hops":["10.1.1.52"],
        "networks":[{"name":"x","prefixes":["0.0.0.0/0","10.1.1.0/25","127.0.0.0/8","10.1.52.0/24"]}],
        "underlay":{"kind":"direct"},"meta":{}}"#;
    let files = [
        ("10.1.1.51.json", good),
        ("10.1.1.52.json", evil),
        ("10.1.1.53.json", "{{{"),
        ("10.1.1.54.json", ""),
    ];
    let host = start(view(records(&files)));
    host.quiet().await;
    let shown = host.shown();
    assert!(shown.contains(&ONE.to_owned()), "{shown:?}");
    assert!(
        shown.iter().all(|route| route.starts_with("10.1.51.") || route.starts_with("10.1.52.")),
        "{shown:?}"
    );
    let status = host.board.read();
    for file in ["10.1.1.52.json", "10.1.1.53.json", "10.1.1.54.json"] {
        assert!(status.refused.iter().any(|refused| refused.file == file), "{file}: {:?}", status.refused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_stops_no_other_and_is_tried_again() {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24"]);
    kernel.break_route("10.1.51.0/24".parse().unwrap(), 12);
    let host = start_on(kernel, fleet(&[("10.1.1.51", &["10.1.51.0/24"]), ("10.1.1.52", &["10.1.52.0/24"])]));
    host.quiet().await;
    assert_eq!(host.shown(), ["10.1.52.0/24 via 10.1.1.52"]);
    let (state, reason) = host.state_of("10.1.51.0/24");
    assert_eq!((state.as_str(), reason.as_str()), ("failed", "the kernel is out of memory (errno 12)"));
    host.kernel.mend();
    host.has(&[ONE, "10.1.52.0/24 via 10.1.1.52"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_does_not_answer_is_asked_again() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    host.kernel.fail_next(105);
    host.kernel.change_link("eth2", |_| {});
    host.quiet().await;
    let (state, reason) = host.state_of("10.1.51.0/24");
    assert_eq!(state, "failed");
    assert!(reason.starts_with("cannot list the interfaces: "), "{reason}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(host.state_of("10.1.51.0/24").0, "installed");
    assert_eq!(host.shown(), [ONE]);
}

#[tokio::test(start_paused = true)]
async fn a_new_name_of_this_host_is_heeded() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.own.send_replace(Some(Key::parse("10.1.1.51.json").unwrap()));
    host.quiet().await;
    assert!(!host.shown().contains(&ONE.to_owned()), "a host has no route to its own prefix");
}

#[tokio::test]
async fn withdrawing_counts_ours_alone() {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24"]);
    kernel.add_route(route(&kernel, "10.1.51.0/24", "10.1.1.51", ROUTE_PROTOCOL, 5000));
    kernel.add_route(route(&kernel, "10.1.52.0/24", "10.1.1.52", 4, 0));
    assert_eq!(withdraw(&kernel).await, Ok(1));
    assert_eq!(withdraw(&kernel).await, Ok(0));
    assert_eq!(kernel.routes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_local_view_leaves_out_loopback_ours_and_link_local() {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24", "fe80::1/64"]);
    kernel.add_parent("docker0", &["172.17.0.1/16", "fe80::2/64", "169.254.3.4/16"]);
    kernel.add_parent("eth2.20", &["10.20.0.1/24"]);
    kernel.change_link("eth2.20", |link| link.alias = "ipvland:parent".into());
    let (links, addresses) = (kernel.links().await.unwrap(), kernel.addresses().await.unwrap());
    let local = local(&links, &addresses, Some("eth2"), None);
    assert_eq!(local.underlay[0].to_string(), "10.1.1.48/24");
    assert_eq!(local.elsewhere, [("docker0".to_owned(), "172.17.0.1/16".parse().unwrap())]);
}

/// A network with host access whose containers have these addresses.
fn accessed_by_host(addresses: &[&str]) -> Networks {
    let network: Network = serde_json::from_value(serde_json::json!({
        "id": "ab".repeat(32), "name": "blue", "parent": "eth2", "made_parent": false, "mode": "l3", "mtu": null,
        "host_access": {}, "subnets": [{"pool": "10.1.48.0/24", "gateway": null}],
        "endpoints": addresses.iter().map(|address| {
            (address.to_string(), serde_json::json!({"addresses": [format!("{address}/24")], "ifname": null}))
        }).collect::<BTreeMap<_, _>>(),
    }))
    .unwrap();
    Arc::new([(network.id.clone(), network)].into())
}

impl Host {
    /// Our routes without a next hop.
    fn reached(&self) -> Vec<String> {
        let ours = self.kernel.our_routes();
        ours.iter()
            .filter(|route| route.gateway.is_none())
            .map(|route| route.prefix.addr().to_string())
            .collect()
    }

    async fn reaches(&self, wanted: &[&str], within: u64) {
        for _ in 0..within {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.reached() == wanted {
                return;
            }
        }
        assert_eq!(self.reached(), wanted, "within {within} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_is_reached_at_once_whatever_the_records_are() {
    let mut disk = one();
    Arc::make_mut(&mut disk).source = Source::Disk;
    for first in [Arc::new(View::default()), disk, one()] {
        let host = start(first);
        host.quiet().await;
        host.networks.send_replace(accessed_by_host(&["10.1.48.7"]));
        host.reaches(&["10.1.48.7"], 5).await;
        // In the midst of what the kernel tells of the container's link.
        host.kernel.change_link("eth2", |_| {});
        tokio::time::sleep(Duration::from_millis(10)).await;
        host.networks.send_replace(accessed_by_host(&["10.1.48.7", "10.1.48.8"]));
        host.reaches(&["10.1.48.7", "10.1.48.8"], 5).await;
        host.networks.send_replace(accessed_by_host(&["10.1.48.8"]));
        host.reaches(&["10.1.48.8"], 5).await;
        assert_eq!(host.board.read().host_access[0].state, "reached");
        host.networks.send_replace(Networks::default());
        host.reaches(&[], 5).await;
        assert_eq!(host.kernel.link("ipvh-eth2"), None);
        assert!(host.board.read().host_access.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_left_or_lost_its_interface_still_reaches_its_containers() {
    let host = start(one());
    host.networks.send_replace(accessed_by_host(&["10.1.48.7"]));
    host.reaches(&["10.1.48.7"], 5).await;
    assert_eq!(withdraw(&host.kernel).await, Ok(1));
    assert_eq!(host.reached(), ["10.1.48.7"]);
    host.leave.send_replace(true);
    host.quiet().await;
    assert_eq!((host.kernel.our_routes().len(), host.reached().len()), (1, 1));
    host.networks.send_replace(accessed_by_host(&["10.1.48.7", "10.1.48.8"]));
    host.reaches(&["10.1.48.7", "10.1.48.8"], 5).await;

    let host = start(one());
    host.has(&[ONE]).await;
    host.kernel.set_up("eth2", false);
    host.networks.send_replace(accessed_by_host(&["10.1.48.7"]));
    host.reaches(&["10.1.48.7"], 5).await;
}

#[tokio::test(start_paused = true)]
async fn networks_without_host_access_make_no_pass() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    let mut networks = BTreeMap::clone(&accessed_by_host(&["10.1.48.7"]));
    networks.values_mut().for_each(|network| network.host_access = None);
    host.networks.send_replace(Arc::new(networks));
    host.quiet().await;
    assert_eq!(host.kernel.dumps(), dumps);
}

#[tokio::test(start_paused = true)]
async fn a_record_about_a_container_of_ours_does_not_take_it_away() {
    let host = start(fleet(&[("10.1.1.51", &["10.1.48.7/32"])]));
    host.has(&["10.1.48.7/32 via 10.1.1.51"]).await;
    host.networks.send_replace(accessed_by_host(&["10.1.48.7"]));
    host.reaches(&["10.1.48.7"], 5).await;
    assert_eq!(host.kernel.our_routes().len(), 1);
    host.quiet().await;
    let theirs = Route { gateway: None, protocol: 4, metric: 0, ..host.kernel.our_routes().remove(0) };
    host.kernel.add_route(theirs);
    host.quiet().await;
    let status = host.board.read();
    assert_eq!(status.host_access[0].state, "failed");
    assert!(
        status.problems.iter().any(|problem| problem.contains("the route to 10.1.48.7 is foreign: ")),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_changes_no_record_makes_no_pass() {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    for revision in ["r2", "r3", "r4"] {
        let view = View { revision: Some(Revision::new(revision)), ..View::clone(&one()) };
        host.view.send_replace(Arc::new(view));
        host.quiet().await;
    }
    assert_eq!(host.kernel.dumps(), dumps);
    host.view.send_replace(fleet(&[("10.1.1.52", &["10.1.51.0/24"])]));
    host.has(&["10.1.51.0/24 via 10.1.1.52"]).await;
}
