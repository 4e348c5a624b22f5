use std::collections::BTreeMap;

use super::*;
use crate::kernel::{FakeKernel, Flag};

const ENDPOINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn setup() -> (FakeKernel, Datapath) {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24"]);
    let datapath = Datapath::new(Arc::new(kernel.clone()));
    (kernel, datapath)
}

fn network(parent: &str, mode: Mode) -> Network {
    Network {
        id: "ab".repeat(32),
        name: "blue".into(),
        parent: parent.into(),
        made_parent: false,
        mode,
        flag: Flag::Bridge,
        mtu: None,
        internal: false,
        host_access: None,
        subnets: Vec::new(),
        endpoints: BTreeMap::new(),
    }
}

fn sentence<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_link_is_made_marked_and_removed() {
    let (kernel, datapath) = setup();
    let name = datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await.unwrap();
    assert_eq!(name, "ipvl0123456789a");
    let link = kernel.link(&name).unwrap();
    assert_eq!(link.alias, format!("ipvland:{ENDPOINT}"));
    assert_eq!(link.kind, LinkKind::Ipvlan(Mode::L3, Flag::Bridge));
    assert_eq!(datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await.unwrap(), name);
    assert_eq!(kernel.link(&name).unwrap().index, link.index, "one that is alike is kept");
    datapath.remove(ENDPOINT).await.unwrap();
    assert_eq!(kernel.link(&name), None);
    datapath.remove(ENDPOINT).await.unwrap();
}

#[tokio::test]
async fn a_link_that_differs_is_made_anew() {
    let (kernel, datapath) = setup();
    let name = datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await.unwrap();
    let mut smaller = network("eth2", Mode::L3);
    smaller.mtu = Some(1400);
    datapath.add(ENDPOINT, &smaller).await.unwrap();
    assert_eq!(kernel.link(&name).unwrap().mtu, 1400);
}

#[tokio::test]
async fn a_name_of_somebody_elses_is_left_alone() {
    let (kernel, datapath) = setup();
    kernel.insert_link("ipvl0123456789a", LinkKind::Dummy, None);
    assert_eq!(
        sentence(datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await),
        "the interface ipvl0123456789a exists and is not ours; remove it with `ip link delete ipvl0123456789a` or rename it"
    );
    assert!(sentence(datapath.remove(ENDPOINT).await).contains("is not ours and is left in place"));
    assert!(kernel.link("ipvl0123456789a").is_some());
}

#[tokio::test]
async fn a_link_whose_alias_was_never_set_is_ours_by_name_and_kind() {
    let (kernel, datapath) = setup();
    let parent = kernel.link("eth2").unwrap().index;
    kernel.insert_link("ipvl0123456789a", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    datapath.remove(ENDPOINT).await.unwrap();
    assert_eq!(kernel.link("ipvl0123456789a"), None);
}

#[tokio::test]
async fn a_sweep_takes_orphans_of_ours_and_nothing_else() {
    let (kernel, datapath) = setup();
    let other = "f".repeat(64);
    datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await.unwrap();
    let orphan = datapath.add(&other, &network("eth2", Mode::L3)).await.unwrap();
    datapath.prepare_parent("eth2.20", Mode::L3, None, []).await.unwrap();
    let parent = kernel.link("eth2").unwrap().index;
    kernel.insert_link("ipvl99999999999", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    kernel.insert_link("ipvl0", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    kernel.insert_link("ipvl88888888888", LinkKind::Dummy, None);
    kernel.insert_link("op", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    kernel.insert_link("ipvh-eth2", LinkKind::Ipvlan(Mode::L3, Flag::Bridge), Some(parent));
    kernel.change_link("ipvh-eth2", |link| link.alias = "ipvland:host:eth2".into());
    let mut gone = datapath.sweep([ENDPOINT]).await.unwrap();
    gone.sort();
    assert_eq!(gone, ["ipvl99999999999".to_owned(), orphan]);
    for left in ["ipvl0123456789a", "eth2.20", "ipvl0", "ipvl88888888888", "op", "ipvh-eth2"] {
        assert!(kernel.link(left).is_some(), "{left}");
    }
}

#[tokio::test]
async fn a_vlan_parent_is_made_and_removed_with_its_last_network() {
    let (kernel, datapath) = setup();
    let parent = datapath.prepare_parent("eth2.20", Mode::L2, None, []).await.unwrap();
    assert!(parent.made && parent.up && parent.mtu == 1500);
    assert!(datapath.prepare_parent("eth2.20", Mode::L2, None, []).await.unwrap().made);
    let name = datapath.add(ENDPOINT, &network("eth2.20", Mode::L2)).await.unwrap();
    assert!(!datapath.remove_parent("eth2.20").await.unwrap(), "a link sits on it");
    kernel.remove_link(&name);
    assert!(datapath.remove_parent("eth2.20").await.unwrap());
    assert_eq!(kernel.link("eth2.20"), None);
    assert!(datapath.remove_parent("eth2.20").await.unwrap(), "gone is gone");
}

#[tokio::test]
async fn a_vlan_parent_goes_with_the_hosts_device_on_it() {
    let (kernel, datapath) = setup();
    let parent = datapath.prepare_parent("eth2.20", Mode::L2, None, []).await.unwrap().index;
    kernel.insert_link("ipvh-eth2.20", LinkKind::Ipvlan(Mode::L2, Flag::Bridge), Some(parent));
    kernel.change_link("ipvh-eth2.20", |link| link.alias = "ipvland:host:eth2.20".into());
    assert!(datapath.remove_parent("eth2.20").await.unwrap());
    assert_eq!((kernel.link("eth2.20"), kernel.link("ipvh-eth2.20")), (None, None));
}

#[tokio::test]
async fn a_vlan_parent_that_a_reboot_took_is_made_again() {
    let (kernel, datapath) = setup();
    let network = Network { made_parent: true, ..network("eth2.20", Mode::L2) };
    datapath.add(ENDPOINT, &network).await.unwrap();
    assert_eq!(kernel.link("eth2.20").unwrap().alias, PARENT_ALIAS);
    let lost = Network { made_parent: false, ..self::network("eth2.30", Mode::L2) };
    assert!(sentence(datapath.add(ENDPOINT, &lost).await).contains("eth2.30 of the network blue is gone"));
}

#[tokio::test]
async fn an_operators_vlan_is_used_and_never_removed() {
    let (kernel, datapath) = setup();
    let base = kernel.link("eth2").unwrap().index;
    kernel.insert_link("eth2.30", LinkKind::Vlan(30), Some(base));
    assert!(!datapath.prepare_parent("eth2.30", Mode::L3, None, []).await.unwrap().made);
    assert!(!datapath.remove_parent("eth2.30").await.unwrap());
    assert!(kernel.link("eth2.30").is_some());
}

#[tokio::test]
async fn parents_that_cannot_be_are_refused_with_what_to_do() {
    let (kernel, datapath) = setup();
    kernel.add_parent("a-long-name-x", &[]);
    for (name, wanted) in [
        (
            "eth9",
            "there is no interface eth9 on this host (there are: eth2, a-long-name-x); name one of them",
        ),
        ("eth9.20", "nor eth9 to make the VLAN 20 on"),
        ("eth2.0", "0 is no VLAN id"),
        ("eth2.4095", "4095 is no VLAN id"),
        ("eth2.+5", "+5 is no VLAN id"),
        ("eth2.", " is no VLAN id"),
        ("eth2.20.30", "nor eth2.20 to make the VLAN 30 on"),
        ("a-long-name-x.20", "at most 15 bytes"),
        ("lo", "lo is the loopback device"),
        ("lo.5", "lo is the loopback device"),
    ] {
        let text = sentence(datapath.prepare_parent(name, Mode::L3, None, []).await);
        assert!(text.contains(wanted), "{name}: {text}");
    }
    assert_eq!(
        sentence(datapath.prepare_parent("eth2", Mode::L3, Some(9000), []).await),
        "the MTU 9000 is larger than 1500 of the parent eth2; take at most that, or raise the parent's with `ip link set \
         eth2 mtu 9000`"
    );
}

#[tokio::test]
async fn a_dummy_is_made_and_restored_after_a_start_of_the_machine() {
    let (kernel, datapath) = setup();
    let network =
        Network { parent: dummy_name(&"ab".repeat(32)), made_parent: true, ..network("", Mode::L2) };
    assert_eq!(network.parent, "di-abababababab");
    datapath.add(ENDPOINT, &network).await.unwrap();
    let dummy = kernel.link("di-abababababab").unwrap();
    assert_eq!((dummy.kind, dummy.alias.as_str()), (LinkKind::Dummy, PARENT_ALIAS));
    datapath.remove(ENDPOINT).await.unwrap();
    assert!(datapath.remove_parent("di-abababababab").await.unwrap());
    assert_eq!(kernel.link("di-abababababab"), None);
    datapath.prepare_dummy("di-abababababab", Some(9000)).await.unwrap();
    assert_eq!(kernel.link("di-abababababab").unwrap().mtu, 9000);
}

#[tokio::test]
async fn a_link_inside_a_container_is_removed_by_its_alias_alone() {
    let (kernel, datapath) = setup();
    let name = datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await.unwrap();
    kernel.move_away(&name);
    let namespace = Path::new("/var/run/docker/netns/0123456789ab");
    datapath.remove_inside("another", namespace).await.unwrap();
    assert_eq!(kernel.link_count(), 3, "lo, eth2, and the one in the container");
    datapath.remove_inside(ENDPOINT, namespace).await.unwrap();
    assert_eq!(kernel.link_count(), 2);
    datapath.remove_inside(ENDPOINT, namespace).await.unwrap();
}

#[tokio::test]
async fn a_second_mode_is_refused_and_names_who_has_the_first() {
    let (kernel, datapath) = setup();
    let blue = network("eth2", Mode::L3);
    assert_eq!(
        sentence(datapath.prepare_parent("eth2", Mode::L2, None, [&blue]).await),
        "the parent eth2 carries the network blue in mode l3, and all networks of a parent share one mode; use \
         ipvlan_mode=l3, or another parent such as a VLAN"
    );
    datapath.prepare_parent("eth2", Mode::L3, None, [&blue]).await.unwrap();
    let parent = kernel.link("eth2").unwrap().index;
    kernel.insert_link("op", LinkKind::Ipvlan(Mode::L3s, Flag::Bridge), Some(parent));
    let text = sentence(datapath.prepare_parent("eth2", Mode::L3, None, []).await);
    assert!(text.contains("already carries the ipvlan link op in mode l3s"), "{text}");
    assert!(sentence(datapath.add(ENDPOINT, &blue).await).contains("the ipvlan link op"));
}

#[tokio::test]
async fn macvlan_on_the_parent_is_refused_by_name() {
    let (kernel, datapath) = setup();
    let parent = kernel.link("eth2").unwrap().index;
    kernel.insert_link("vm0", LinkKind::Macvlan, Some(parent));
    let text = sentence(datapath.prepare_parent("eth2", Mode::L3, None, []).await);
    assert!(text.starts_with("eth2 already carries macvlan links (vm0); "), "{text}");
}

#[tokio::test]
async fn a_parent_that_is_down_is_allowed() {
    let (kernel, datapath) = setup();
    kernel.set_up("eth2", false);
    assert!(!datapath.prepare_parent("eth2", Mode::L3, None, []).await.unwrap().up);
}

#[tokio::test]
async fn a_parent_that_went_is_named_with_its_network() {
    let (kernel, datapath) = setup();
    kernel.remove_link("eth2");
    assert_eq!(
        sentence(datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await),
        "the parent interface eth2 of the network blue is gone; bring it back, or remove the network"
    );
}

#[tokio::test]
async fn the_kernels_refusal_comes_through() {
    let (kernel, datapath) = setup();
    kernel.fail_next(1);
    let text = sentence(datapath.add(ENDPOINT, &network("eth2", Mode::L3)).await);
    assert!(text.starts_with("cannot list the interfaces: not allowed; run ipvland as root"), "{text}");
}
