use std::sync::Arc;

use super::*;
use crate::{
    kernel::{FakeKernel, Flag, LinkKind, Mode, RouteOp},
    network::{Endpoint, HostAccess, Subnet},
    plan::plan,
};

const MACHINE: &str = "6e0b1c1e-5a04-4a3e-9a57-6f0a8f9ed8c2";

struct Host(FakeKernel);

impl Host {
    fn new() -> Self {
        let kernel = FakeKernel::new();
        kernel.add_parent("eth2", &["10.1.1.48/24", "2001:db8:1::48/64"]);
        Self(kernel)
    }

    /// Does what a pass of the syncer does.
    async fn pass(&self, networks: &[Network]) -> Vec<HostAccessStatus> {
        let networks: Networks = Arc::new(networks.iter().map(|n| (n.id.clone(), n.clone())).collect());
        let mut links = self.0.links().await.unwrap();
        let addresses = self.0.addresses().await.unwrap();
        let access = settle(&self.0, MACHINE, &networks, &mut links, &addresses).await;
        let wanted: Vec<Route> = access.routes.iter().map(|(_, route)| route.clone()).collect();
        let ops = plan(&wanted, &self.0.routes().await.unwrap()).ops;
        for result in self.0.change_routes(&ops).await {
            result.unwrap();
        }
        let indexes = |links: Vec<Link>| links.iter().map(|link| link.index).collect::<Vec<_>>();
        assert_eq!(
            indexes(links),
            indexes(self.0.links().await.unwrap()),
            "the links are those that there are"
        );
        access.networks
    }

    fn routes(&self) -> Vec<String> {
        let show = |route: &Route| {
            let source = route.source.map(|source| format!(" src {source}")).unwrap_or_default();
            let mtu = route.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
            format!("{}{source}{mtu}", route.prefix)
        };
        self.0.our_routes().iter().map(show).collect()
    }

    fn device(&self) -> Link {
        self.0.link("ipvh-eth2").expect("a device")
    }
}

fn network(mode: Mode, pools: &[&str], addresses: &[&str]) -> Network {
    let endpoint = |(n, address): (usize, &&str)| {
        let net = address.parse().unwrap();
        let endpoint = Endpoint::new(vec![net], None);
        (format!("e{n}"), endpoint)
    };
    Network {
        id: "ab".repeat(32),
        name: "blue".into(),
        parent: "eth2".into(),
        made_parent: false,
        mode,
        flag: Flag::Bridge,
        mtu: None,
        internal: false,
        host_access: Some(HostAccess::default()),
        subnets: pools.iter().map(|pool| Subnet { pool: pool.parse().unwrap(), gateway: None }).collect(),
        endpoints: addresses.iter().enumerate().map(endpoint).collect(),
    }
}

fn routed() -> Network {
    network(
        Mode::L3,
        &["10.1.48.0/24", "2001:db8:48::/64"],
        &["10.1.48.7/24", "2001:db8:48::7/64", "10.1.48.8/24"],
    )
}

fn switched() -> Network {
    network(Mode::L2, &["10.1.1.0/24", "2001:db8:1::/64"], &["10.1.1.200/24", "2001:db8:1::200/64"])
}

fn reason(statuses: &[HostAccessStatus]) -> String {
    assert_eq!((statuses.len(), statuses[0].state.as_str()), (1, "failed"), "{statuses:?}");
    statuses[0].reason.clone().unwrap()
}

#[tokio::test]
async fn a_routed_network_gets_a_device_and_a_route_a_container() {
    for mode in [Mode::L3, Mode::L3s] {
        let host = Host::new();
        let blue = Network { mode, ..routed() };
        let status = host.pass(std::slice::from_ref(&blue)).await;
        let device = host.device();
        assert_eq!(
            (device.kind, device.alias.as_str()),
            (LinkKind::Ipvlan(mode, Flag::Bridge), "ipvland:host:eth2")
        );
        assert!(device.up && device.mtu == 1500);
        let routes = [
            "10.1.48.7/32 src 10.1.1.48",
            "10.1.48.8/32 src 10.1.1.48",
            "2001:db8:48::7/128 src 2001:db8:1::48",
        ];
        assert_eq!(host.routes(), routes);
        assert_eq!(host.0.addresses_of("ipvh-eth2"), [], "the main address stays where it is");
        assert_eq!(status[0].device.as_deref(), Some("ipvh-eth2"));
        assert_eq!((status[0].state.as_str(), &status[0].reason), ("reached", &None));
        let writes = host.0.writes();
        host.pass(&[blue]).await;
        assert_eq!((host.0.writes(), host.device().index), (writes, device.index), "nothing is left to do");
    }
}

#[tokio::test]
async fn routes_follow_the_containers_and_the_device_goes_with_the_last_network() {
    let host = Host::new();
    let mut blue = network(Mode::L3, &["10.1.48.0/24"], &["10.1.48.7/24"]);
    let red = Network { id: "cd".repeat(32), ..network(Mode::L3, &["10.2.48.0/24"], &["10.2.48.7/24"]) };
    let deaf = Network {
        id: "ef".repeat(32),
        host_access: None,
        ..network(Mode::L3, &["10.3.0.0/24"], &["10.3.0.7/24"])
    };
    host.pass(&[blue.clone(), red.clone(), deaf.clone()]).await;
    assert_eq!(host.routes(), ["10.1.48.7/32 src 10.1.1.48", "10.2.48.7/32 src 10.1.1.48"]);
    blue.endpoints
        .values_mut()
        .for_each(|endpoint| endpoint.addresses = vec!["10.1.48.9/24".parse().unwrap()]);
    host.pass(&[blue.clone(), deaf.clone()]).await;
    assert_eq!(host.routes(), ["10.1.48.9/32 src 10.1.1.48"]);
    blue.endpoints.clear();
    host.pass(&[blue, deaf.clone()]).await;
    assert_eq!(host.routes(), [""; 0]);
    assert!(host.device().up);
    assert_eq!(host.pass(&[deaf]).await, []);
    assert_eq!(host.0.link("ipvh-eth2"), None);
}

#[tokio::test]
async fn a_switched_network_has_neighbours_and_an_ipv6_address_of_its_own() {
    let host = Host::new();
    host.0.set("ipv6/conf/ipvh-eth2/accept_ra", 1);
    let blue = switched();
    let status = host.pass(std::slice::from_ref(&blue)).await;
    let IpNet6(pool) = "2001:db8:1::/64".into();
    let own = own_address(pool, MACHINE, &blue.id, |_| false).unwrap();
    assert_eq!(
        host.routes(),
        ["10.1.1.200/32 src 10.1.1.48".to_owned(), format!("2001:db8:1::200/128 src {own}")]
    );
    assert_eq!(host.0.addresses_of("ipvh-eth2"), [ipnet::IpNet::from(IpAddr::V6(own))]);
    assert_eq!(status[0].sources, ["10.1.1.48".parse::<IpAddr>().unwrap(), own.into()]);
    let neighbours = host.0.neighbours_of("ipvh-eth2");
    assert_eq!((neighbours.len(), neighbours[0].address.to_string()), (1, "10.1.1.200".to_owned()));
    assert_eq!(Some(neighbours[0].mac), host.0.link("eth2").unwrap().mac);
    assert_eq!(host.0.setting_of("ipv6/conf/ipvh-eth2/accept_ra"), Some(0));
    let writes = host.0.writes();
    host.pass(std::slice::from_ref(&blue)).await;
    assert_eq!(host.0.writes(), writes, "nothing is left to do");

    host.0.change_link("ipvh-eth2", |link| link.mac = Some([2, 0, 0, 0, 0, 9]));
    host.pass(&[blue]).await;
    assert_eq!(host.0.neighbours_of("ipvh-eth2")[0].mac, [2, 0, 0, 0, 0, 9], "the parent got another MAC");
    host.pass(&[network(Mode::L2, &["10.1.1.0/24"], &[])]).await;
    assert_eq!((host.0.neighbours_of("ipvh-eth2").len(), host.0.addresses_of("ipvh-eth2").len()), (0, 0));
}

struct IpNet6(ipnet::Ipv6Net);

impl From<&str> for IpNet6 {
    fn from(text: &str) -> Self {
        Self(text.parse().unwrap())
    }
}

#[tokio::test]
async fn a_device_that_hears_routers_is_not_raised() {
    let host = Host::new();
    host.0.set("ipv6/conf/ipvh-eth2/accept_ra", 1);
    host.0.lock_settings(true);
    let why = reason(&host.pass(&[switched()]).await);
    assert!(why.starts_with("cannot set ipv6/conf/ipvh-eth2/accept_ra to 0: "), "{why}");
    assert!(!host.device().up);
    host.0.lock_settings(false);
    assert_eq!(host.pass(&[switched()]).await[0].state, "reached");
    host.0.set("ipv6/conf/ipvh-eth2/accept_ra", 1);
    host.0.lock_settings(true);
    reason(&host.pass(&[switched()]).await);
    assert_eq!(host.routes().len(), 2, "what works is not cut off");
}

#[tokio::test]
async fn an_address_set_aside_is_the_devices_and_the_source() {
    for mode in [Mode::L2, Mode::L3] {
        let host = Host::new();
        let mut blue = network(mode, &["10.9.0.0/24"], &["10.9.0.7/24"]);
        blue.host_access = Some(HostAccess { addresses: vec!["10.9.0.250".parse().unwrap()] });
        assert_eq!(host.pass(&[blue]).await[0].state, "reached");
        assert_eq!(host.routes(), ["10.9.0.7/32 src 10.9.0.250"]);
        assert_eq!(host.0.addresses_of("ipvh-eth2"), ["10.9.0.250/32".parse().unwrap()]);
    }
}

#[tokio::test]
async fn containers_that_cannot_answer_are_told() {
    let host = Host::new();
    let why = reason(&host.pass(&[network(Mode::L2, &["10.9.0.0/24"], &["10.9.0.7/24"])]).await);
    assert!(
        why.starts_with("containers of 10.9.0.0/24 can't answer, as the subnet holds no address of eth2"),
        "{why}"
    );
    let mut behind = network(Mode::L2, &["10.9.0.0/24"], &["10.9.0.7/24"]);
    behind.subnets[0].gateway = Some("10.9.0.1".parse().unwrap());
    let status = host.pass(&[behind]).await;
    assert_eq!(status[0].state, "reached");
    assert!(status[0].reason.as_deref().unwrap().contains("answer by their gateway 10.9.0.1"), "{status:?}");
    host.0.remove_address("eth2", "10.1.1.48/24");
    let why = reason(&host.pass(&[network(Mode::L3, &["10.9.0.0/24"], &[])]).await);
    assert!(why.contains("which has no IPv4 address"), "{why}");
}

#[tokio::test]
async fn settings_that_drop_the_answers_are_told_where_they_matter() {
    let wide = ["10.1.1.0/24"];
    for (path, value, words) in [
        ("ipv4/conf/all/rp_filter", 1, "rp_filter=1 on eth2 drops what containers answer"),
        ("ipv4/conf/eth2/rp_filter", 1, "rp_filter=1 on eth2 drops"),
        ("ipv4/conf/ipvh-eth2/arp_ignore", 2, "arp_ignore keeps containers from finding 10.1.1.48"),
    ] {
        let host = Host::new();
        host.0.set(path, value);
        let why = reason(&host.pass(&[network(Mode::L2, &wide, &["10.1.1.200/24"])]).await);
        assert!(why.contains(words), "{why}");
        assert_eq!(host.routes().len(), 1, "the route is there, for when the setting is mended");
        let mut aside = network(Mode::L2, &wide, &[]);
        aside.host_access = Some(HostAccess { addresses: vec!["10.1.1.250".parse().unwrap()] });
        assert_eq!(host.pass(&[aside]).await[0].state, "reached");
        assert_eq!(host.pass(&[routed()]).await[0].state, "reached");
    }
    let host = Host::new();
    host.0.set("ipv4/conf/eth2/rp_filter", 1);
    host.0.set("ipv4/conf/all/rp_filter", 2);
    assert_eq!(host.pass(&[network(Mode::L2, &wide, &[])]).await[0].state, "reached", "the larger counts");
}

#[tokio::test]
async fn a_device_of_another_mode_or_without_its_mark_is_made_anew() {
    let host = Host::new();
    host.pass(&[routed()]).await;
    let first = host.device().index;
    host.0.insert_link("later", LinkKind::Dummy, None);
    host.pass(&[Network { mode: Mode::L3s, ..routed() }]).await;
    let second = host.device();
    assert!(second.index != first && second.kind == LinkKind::Ipvlan(Mode::L3s, Flag::Bridge) && second.up);
    assert_eq!(host.routes().len(), 3);

    host.0.insert_link("latest", LinkKind::Dummy, None);
    host.0.change_link("ipvh-eth2", |link| {
        link.alias.clear();
        link.up = false;
    });
    host.pass(&[Network { mode: Mode::L3s, ..routed() }]).await;
    assert!(host.device().index != second.index && is_device(&host.device()), "we died before it was marked");
}

#[tokio::test]
async fn a_parent_that_went_and_came_back_gets_its_device_again() {
    let host = Host::new();
    host.pass(&[routed()]).await;
    host.0.remove_link("eth2");
    assert_eq!(reason(&host.pass(&[routed()]).await), "the parent interface eth2 is missing");
    host.0.add_parent("eth2", &["10.1.1.48/24", "2001:db8:1::48/64"]);
    assert_eq!(host.pass(&[routed()]).await[0].state, "reached");
    assert_eq!(host.routes().len(), 3);
    let ours = Network { parent: "eth2.20".into(), made_parent: true, ..routed() };
    assert_eq!(host.pass(&[ours]).await[0].state, "waiting");
}

#[tokio::test]
async fn a_device_that_was_taken_down_is_raised_with_all_that_it_had() {
    let host = Host::new();
    host.pass(&[switched()]).await;
    let before = (host.routes(), host.0.addresses_of("ipvh-eth2"), host.0.neighbours_of("ipvh-eth2"));
    host.0.set_up("ipvh-eth2", false);
    assert_eq!(host.routes(), [""; 0]);
    host.pass(&[switched()]).await;
    let after = (host.routes(), host.0.addresses_of("ipvh-eth2"), host.0.neighbours_of("ipvh-eth2"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_operators_devices_are_never_touched() {
    let host = Host::new();
    let parent = host.0.link("eth2").unwrap().index;
    host.0.insert_link("ipvh-eth2", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    let why = reason(&host.pass(&[routed()]).await);
    assert!(why.starts_with("the interface ipvh-eth2 exists and is not ours; "), "{why}");
    host.pass(&[]).await;
    assert!(host.0.link("ipvh-eth2").is_some());

    let host = Host::new();
    let parent = host.0.link("eth2").unwrap().index;
    host.0.insert_link("op", LinkKind::Ipvlan(Mode::L2, Flag::Bridge), Some(parent));
    let why = reason(&host.pass(&[routed()]).await);
    assert!(why.contains("already carries the ipvlan link op in mode l2"), "{why}");
    assert_eq!(host.0.link("op").unwrap().kind, LinkKind::Ipvlan(Mode::L2, Flag::Bridge));
    assert_eq!(host.0.link("ipvh-eth2"), None);
}

#[tokio::test]
async fn a_flag_on_the_parent_keeps_the_device_away() {
    let host = Host::new();
    let private = Network {
        id: "cd".repeat(32),
        name: "red".into(),
        flag: Flag::Private,
        host_access: None,
        ..routed()
    };
    let why = reason(&host.pass(&[routed(), private]).await);
    assert!(why.starts_with("the network red has ipvlan_flag=private on eth2"), "{why}");
    assert_eq!(host.0.link("ipvh-eth2"), None, "it would rewrite the flag");
}

#[tokio::test]
async fn a_refusal_of_the_kernel_is_told_and_tried_again() {
    let host = Host::new();
    let mut links = host.0.links().await.unwrap();
    host.0.fail_next(95);
    let networks: Networks = Arc::new([("a".to_owned(), routed())].into());
    let access = settle(&host.0, MACHINE, &networks, &mut links, &[]).await;
    assert!(reason(&access.networks).starts_with("cannot add the link ipvh-eth2: "), "{:?}", access.networks);
    assert_eq!(host.pass(&[routed()]).await[0].state, "reached");
}

#[tokio::test]
async fn a_smaller_mtu_of_the_network_is_the_routes() {
    let host = Host::new();
    let mut blue = network(Mode::L3, &["10.1.48.0/24"], &["10.1.48.7/24"]);
    blue.mtu = Some(1400);
    host.pass(std::slice::from_ref(&blue)).await;
    assert_eq!(host.routes(), ["10.1.48.7/32 src 10.1.1.48 mtu 1400"]);
    blue.mtu = Some(1500);
    host.pass(&[blue]).await;
    assert_eq!(host.routes(), ["10.1.48.7/32 src 10.1.1.48"]);
}

#[test]
fn names_fit_and_differ() {
    assert_eq!(device_name("eth2.20"), "ipvh-eth2.20");
    assert_eq!(device_name("enp0s31f6x"), "ipvh-enp0s31f6x");
    let long = device_name("enp0s31f6.1000");
    assert!(long.len() == 15 && long != device_name("enp0s31f6.1001"), "{long}");
}

#[tokio::test]
async fn another_source_replaces_the_route() {
    let host = Host::new();
    host.pass(&[routed()]).await;
    host.0.add_address("eth2", "10.1.1.49/24");
    host.0.remove_address("eth2", "10.1.1.48/24");
    assert_eq!(host.routes().len(), 1, "the kernel drops routes whose source goes");
    host.pass(&[routed()]).await;
    assert_eq!(host.routes()[..2], ["10.1.48.7/32 src 10.1.1.49", "10.1.48.8/32 src 10.1.1.49"]);
    let ours = |op: &RouteOp| op.route().protocol == ROUTE_PROTOCOL;
    assert!(plan(&[], &host.0.routes().await.unwrap()).ops.iter().all(ours));
}
