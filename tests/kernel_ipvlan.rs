//! ipvlan, macvlan, VLAN and dummy links of a real kernel, in namespaces of their own. Needs root and a kernel with all
//! of these drivers, so `cargo test` leaves it to the lab: `cargo test --test kernel_ipvlan` runs it here.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod namespace;

use std::sync::Arc;

use ipvland::datapath::Datapath;
use ipvland::host_access;
use ipvland::kernel::{Flag, Kernel, Link, LinkKind, Mode, Netlink, NewLink};
use ipvland::network::{Network, Networks};
use ipvland::plan::plan;
use namespace::ip;

async fn host() -> (Netlink, u32) {
    ip("link add eth2 type dummy");
    ip("address add 10.1.1.48/24 dev eth2");
    ip("link set eth2 up");
    let netlink = Netlink::connect().unwrap();
    let index = find(&netlink, "eth2").await.unwrap().index;
    (netlink, index)
}

async fn find(netlink: &Netlink, name: &str) -> Option<Link> {
    netlink.links().await.unwrap().into_iter().find(|link| link.name == name)
}

#[test]
fn ipvlan_links_have_mode_flag_mtu_and_alias() {
    namespace::run("ipvlan_links_have_mode_flag_mtu_and_alias", || async {
        let (netlink, parent) = host().await;
        assert_eq!(find(&netlink, "eth2").await.unwrap().kind, LinkKind::Dummy);
        for mode in [Mode::L2, Mode::L3, Mode::L3s] {
            for flag in [Flag::Bridge, Flag::Private, Flag::Vepa] {
                for mtu in [None, Some(1400)] {
                    let new = NewLink::Ipvlan { parent, mode, flag, mtu };
                    let index = netlink.add_link("ipvl0123", "ipvland:0123", new).await.unwrap();
                    let link = find(&netlink, "ipvl0123").await.unwrap();
                    assert_eq!(link.index, index);
                    assert_eq!(link.kind, LinkKind::Ipvlan(mode, flag));
                    assert_eq!((link.parent, link.mtu, link.up), (Some(parent), mtu.unwrap_or(1500), false));
                    assert!(link.is_ours() && link.alias == "ipvland:0123");
                    netlink.delete_link(index).await.unwrap();
                    assert_eq!(find(&netlink, "ipvl0123").await, None);
                }
            }
        }
    });
}

#[test]
fn a_second_mode_rewrites_the_first() {
    namespace::run("a_second_mode_rewrites_the_first", || async {
        let (netlink, parent) = host().await;
        for (name, mode) in [("one", Mode::L3), ("two", Mode::L2)] {
            let new = NewLink::Ipvlan { parent, mode, flag: Flag::Bridge, mtu: None };
            netlink.add_link(name, "ipvland:x", new).await.unwrap();
        }
        let one = find(&netlink, "one").await.unwrap();
        assert_eq!(one.kind, LinkKind::Ipvlan(Mode::L2, Flag::Bridge), "the fake kernel does the same");
    });
}

#[test]
fn macvlan_on_the_parent_is_named() {
    namespace::run("macvlan_on_the_parent_is_named", || async {
        let (netlink, parent) = host().await;
        ip("link add vm0 link eth2 type macvlan");
        assert_eq!(find(&netlink, "vm0").await.unwrap().kind, LinkKind::Macvlan);
        let new = NewLink::Ipvlan { parent, mode: Mode::L3, flag: Flag::Bridge, mtu: None };
        let error = netlink.add_link("ipvl0", "ipvland:x", new).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot add the ipvlan link ipvl0 on eth2: eth2 already carries macvlan links (vm0); ipvlan and macvlan can't \
             share a parent (errno 16)"
        );
    });
}

#[test]
fn loopback_carries_no_ipvlan() {
    namespace::run("loopback_carries_no_ipvlan", || async {
        let (netlink, _) = host().await;
        let new = NewLink::Ipvlan { parent: 1, mode: Mode::L3, flag: Flag::Bridge, mtu: None };
        let error = netlink.add_link("ipvl0", "ipvland:x", new).await.unwrap_err();
        assert_eq!(error.errno, Some(22), "{error}");
        assert_eq!(find(&netlink, "ipvl0").await, None);
    });
}

#[test]
fn a_vlan_is_made_and_raised() {
    namespace::run("a_vlan_is_made_and_raised", || async {
        let (netlink, parent) = host().await;
        let index =
            netlink.add_link("eth2.20", "ipvland:parent", NewLink::Vlan { parent, id: 20 }).await.unwrap();
        let link = find(&netlink, "eth2.20").await.unwrap();
        assert_eq!((link.index, link.parent, link.up), (index, Some(parent), true));
        assert_eq!((link.kind, link.alias.as_str()), (LinkKind::Vlan(20), "ipvland:parent"));
        let again = netlink
            .add_link("eth2.20", "ipvland:parent", NewLink::Vlan { parent, id: 20 })
            .await
            .unwrap_err();
        assert_eq!(again.errno, Some(17), "{again}");
    });
}

#[test]
fn a_dummy_is_made_and_raised() {
    namespace::run("a_dummy_is_made_and_raised", || async {
        let (netlink, _) = host().await;
        netlink.add_link("di-0", "ipvland:parent", NewLink::Dummy { mtu: Some(9000) }).await.unwrap();
        let link = find(&netlink, "di-0").await.unwrap();
        assert_eq!((link.kind, link.mtu, link.up), (LinkKind::Dummy, 9000, true));
        assert_eq!((link.alias.as_str(), link.parent), ("ipvland:parent", None));
        let again =
            netlink.add_link("di-0", "ipvland:parent", NewLink::Dummy { mtu: None }).await.unwrap_err();
        assert_eq!(
            again.to_string(),
            "cannot add the dummy link di-0: an interface di-0 exists already (errno 17)"
        );
    });
}

#[test]
fn an_alias_that_is_too_long_leaves_no_link() {
    namespace::run("an_alias_that_is_too_long_leaves_no_link", || async {
        let (netlink, parent) = host().await;
        let new = NewLink::Ipvlan { parent, mode: Mode::L3, flag: Flag::Bridge, mtu: None };
        let error = netlink.add_link("ipvl0", &"x".repeat(300), new).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot mark the new link ipvl0 as ours: "), "{error}");
        assert_eq!(find(&netlink, "ipvl0").await, None);
    });
}

#[test]
fn a_link_whose_parent_is_in_another_namespace_has_none() {
    namespace::run("a_link_whose_parent_is_in_another_namespace_has_none", || async {
        let (netlink, parent) = host().await;
        let new = NewLink::Ipvlan { parent, mode: Mode::L3, flag: Flag::Bridge, mtu: None };
        netlink.add_link("ipvl0", "ipvland:x", new).await.unwrap();
        // Another namespace, held by a process that sleeps in it.
        let mut holder =
            std::process::Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        ip(&format!("link set ipvl0 netns {}", holder.id()));
        assert_eq!(find(&netlink, "ipvl0").await, None);
        let shown = std::process::Command::new("nsenter")
            .args([&format!("--net=/proc/{}/ns/net", holder.id()), "ip", "link", "show", "ipvl0"])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&shown.stdout).contains("ipvl0"), "{shown:?}");

        let namespace = format!("/proc/{}/ns/net", holder.id());
        let namespace = std::path::Path::new(&namespace);
        assert!(!netlink.delete_link_inside(namespace, "ipvland:y").await.unwrap());
        assert!(netlink.delete_link_inside(namespace, "ipvland:x").await.unwrap());
        assert!(!netlink.delete_link_inside(namespace, "ipvland:x").await.unwrap());
        for gone in ["/no/such/namespace", "/etc/hostname"] {
            let gone = std::path::Path::new(gone);
            assert!(!netlink.delete_link_inside(gone, "ipvland:x").await.unwrap(), "{gone:?}");
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
    });
}

#[test]
fn a_flag_of_one_link_is_the_parents() {
    namespace::run("a_flag_of_one_link_is_the_parents", || async {
        let (netlink, parent) = host().await;
        for (name, flag) in [("one", Flag::Private), ("two", Flag::Bridge)] {
            let new = NewLink::Ipvlan { parent, mode: Mode::L3, flag, mtu: None };
            netlink.add_link(name, "ipvland:x", new).await.unwrap();
        }
        let one = find(&netlink, "one").await.unwrap();
        assert_eq!(
            one.kind,
            LinkKind::Ipvlan(Mode::L3, Flag::Bridge),
            "so host access must not meet `private`"
        );
    });
}

/// A network with host access, in the book's own form.
fn network(mode: Mode) -> Networks {
    let network: Network = serde_json::from_value(serde_json::json!({
        "id": "ab", "name": "blue", "parent": "eth2", "made_parent": false, "mode": mode, "mtu": 1400,
        "host_access": {},
        "subnets": [{"pool": "10.1.1.0/24", "gateway": null}, {"pool": "2001:db8:1::/64", "gateway": null}],
        "endpoints": {"e": {"addresses": ["10.1.1.200/24", "2001:db8:1::a:200/64"], "ifname": null}},
    }))
    .unwrap();
    Arc::new([("ab".to_owned(), network)].into())
}

/// Does what a pass of the syncer does, and says how the network is.
async fn pass(netlink: &Netlink, networks: &Networks) -> Vec<String> {
    let (mut links, addresses) = (netlink.links().await.unwrap(), netlink.addresses().await.unwrap());
    let access = host_access::settle(netlink, "a machine", networks, &mut links, &addresses).await;
    let wanted: Vec<_> = access.routes.iter().map(|(_, route)| route.clone()).collect();
    let ops = plan(&wanted, &netlink.routes().await.unwrap()).ops;
    for result in netlink.change_routes(&ops).await {
        result.unwrap();
    }
    let said = access.networks.iter().map(|network| format!("{} {:?}", network.state, network.reason));
    said.chain(ops.iter().map(|op| op.describe("device"))).collect()
}

#[test]
fn the_hosts_device_comes_is_kept_is_mended_and_goes() {
    namespace::run("the_hosts_device_comes_is_kept_is_mended_and_goes", || async {
        let (netlink, parent) = host().await;
        ip("link set lo up");
        ip("address add 2001:db8:1::48/64 dev eth2 nodad");
        for mode in [Mode::L2, Mode::L3, Mode::L3s] {
            let said = pass(&netlink, &network(mode)).await;
            let added = [
                "add the route to 10.1.1.200/32 on device",
                "add the route to 2001:db8:1::a:200/128 on device",
            ];
            assert_eq!(said, ["reached None", added[0], added[1]], "{mode}");
            let device = find(&netlink, "ipvh-eth2").await.unwrap();
            assert_eq!(
                (device.kind.clone(), device.parent),
                (LinkKind::Ipvlan(mode, Flag::Bridge), Some(parent))
            );
            assert_eq!((device.alias.as_str(), device.up, device.mtu), ("ipvland:host:eth2", true, 1500));
            let route = ip("-d route show 10.1.1.200");
            assert!(route.contains("dev ipvh-eth2 proto 214 scope link src 10.1.1.48"), "{route}");
            assert!(route.contains("mtu 1400"), "{route}");
            if mode == Mode::L2 {
                let router = std::fs::read_to_string("/proc/sys/net/ipv6/conf/ipvh-eth2/accept_ra").unwrap();
                assert_eq!(router.trim(), "0");
                assert_eq!(netlink.neighbours(device.index).await.unwrap().len(), 1);
                assert!(ip("-6 address show dev ipvh-eth2").contains("2001:db8:1:0:"));
            }
            assert_eq!(pass(&netlink, &network(mode)).await, ["reached None"], "nothing is left to do");
            assert_eq!(find(&netlink, "ipvh-eth2").await.unwrap().index, device.index);

            ip("link set ipvh-eth2 down");
            assert_eq!(pass(&netlink, &network(mode)).await.len(), 3, "{mode}: all is put back");
            let swept = Datapath::new(Arc::new(Netlink::connect().unwrap())).sweep([]).await.unwrap();
            assert_eq!(swept, [""; 0]);
        }
        ip("link add link eth2 name own0 type ipvlan mode l3s");
        assert_eq!(pass(&netlink, &Networks::default()).await, [""; 0]);
        assert_eq!(find(&netlink, "ipvh-eth2").await, None);
        assert!(find(&netlink, "own0").await.is_some(), "an operator's");
    });
}
