//! What networks sit on.

use super::ground::{Ground, contains, lacks};
use super::row::{Driver, Row};
use crate::failure::{Failure, Outcome};
use crate::guest::host::CARD;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "vlan-made",
        behaviour: "`-o parent=eth2.20` where there is none",
        builtin: "the VLAN is made, and removed with the network",
        ours: "the same; with the last of its networks, where it has several",
        check: vlan_made,
    },
    Row {
        name: "vlan-stays",
        behaviour: "an interface or VLAN that existed before the network",
        builtin: "stays when the network is removed",
        ours: "the same",
        check: vlan_stays,
    },
    Row {
        name: "vlan-ids",
        behaviour: "VLAN ids outside of 1 to 4094, or none",
        builtin: "refused",
        ours: "refused",
        check: vlan_ids,
    },
    Row {
        name: "vlan-in-vlan",
        behaviour: "a VLAN on a VLAN, `-o parent=eth2.20.30`",
        builtin: "refused: one dot only",
        ours: "made, where `eth2.20` is there",
        check: vlan_in_vlan,
    },
    Row {
        name: "vlan-of-nothing",
        behaviour: "a VLAN of an interface that is not there",
        builtin: "refused",
        ours: "refused, with the interfaces that there are",
        check: vlan_of_nothing,
    },
    Row {
        name: "parent-missing",
        behaviour: "a parent that is not there",
        builtin: "refused: \"invalid subinterface vlan name\"",
        ours: "refused, with the interfaces that there are",
        check: parent_missing,
    },
    Row {
        name: "loopback",
        behaviour: "`-o parent=lo`",
        builtin: "refused",
        ours: "refused",
        check: loopback,
    },
    Row {
        name: "second-network",
        behaviour: "a second network on a parent",
        builtin: "refused: \"already using parent interface\"",
        ours: "made; containers of both reach each other in L3",
        check: second_network,
    },
    Row {
        name: "second-mode",
        behaviour: "a second mode on a parent",
        builtin: "refused, as any second network",
        ours: "refused, with the network that has the first mode: the kernel would rewrite it",
        check: second_mode,
    },
    Row {
        name: "macvlan",
        behaviour: "a parent that carries macvlan links",
        builtin: "the network is made, and its containers do not start: \"device or resource busy\"",
        ours: "refused, with the name of a macvlan link",
        check: macvlan,
    },
    Row {
        name: "no-parent",
        behaviour: "no parent is given",
        builtin: "an internal network on a dummy; Docker 20.10 gives it a default route that leads nowhere",
        ours: "`[host] interface`, or the interface of the default route; this differs",
        check: no_parent,
    },
    Row {
        name: "no-interface",
        behaviour: "no parent is given, and the host has neither such a setting nor a default route",
        builtin: "an internal network on a dummy, as before",
        ours: "an internal network on a dummy, which goes with the network",
        check: no_interface,
    },
    Row {
        name: "internal",
        behaviour: "`--internal` without a parent",
        builtin: "a dummy; containers reach each other alone",
        ours: "the same",
        check: internal,
    },
    Row {
        name: "internal-on-parent",
        behaviour: "`--internal` with a parent",
        builtin: "containers get no default route",
        ours: "the same; an L3 one is not told to other hosts",
        check: internal_on_parent,
    },
    Row {
        name: "in-use",
        behaviour: "`docker network rm` of a network that containers are on",
        builtin: "refused by Docker",
        ours: "the same",
        check: in_use,
    },
    Row {
        name: "prune",
        behaviour: "`docker network prune`",
        builtin: "removes networks without containers, and the VLANs made for them",
        ours: "the same",
        check: prune,
    },
];

const NET: &str = "--subnet 10.6.0.0/24";

fn vlan_made(ground: &Ground, driver: Driver) -> Outcome {
    let vlan = format!("{CARD}.20");
    ground.beside.run(&format!(
        "ip link add link {CARD} name {vlan} type vlan id 20; ip link set {vlan} up; ip addr add 10.6.0.99/24 dev {vlan}"
    ))?;
    ground.net(driver, &format!("{NET} -o parent={vlan}"))?;
    ground.wants_link(&vlan, true)?;
    ground.container("box", "--net net")?;
    let crossed = ground.pings("box", "10.6.0.99");
    ground.beside.run(&format!("ip link delete {vlan}"))?;
    crossed?;
    ground.run("docker rm -f box")?;
    if driver == Driver::Ours {
        ground.net_called(driver, "second", &format!("--subnet 10.6.1.0/24 -o parent={vlan}"))?;
        ground.run("docker network rm second")?;
        ground.wants_link(&vlan, true)?;
    }
    ground.run("docker network rm net")?;
    ground.wants_link(&vlan, false)
}

fn vlan_stays(ground: &Ground, driver: Driver) -> Outcome {
    let vlan = format!("{CARD}.21");
    ground.run(&format!("ip link add link {CARD} name {vlan} type vlan id 21; ip link set {vlan} up"))?;
    for parent in [CARD, &vlan] {
        ground.net(driver, &format!("{NET} -o parent={parent}"))?;
        ground.once("--net net", "ip link show dev eth0")?;
        ground.run("docker network rm net")?;
        ground.wants_link(parent, true)?;
    }
    ground.run(&format!("ip link delete {vlan}")).map(|_| ())
}

fn vlan_ids(ground: &Ground, driver: Driver) -> Outcome {
    for id in ["0", "4095", "x"] {
        let words = match (driver, id) {
            (Driver::BuiltIn, "x") => "unable to parse a valid vlan id from: x",
            (Driver::BuiltIn, _) => "vlan id must be between 1-4094",
            (Driver::Ours, _) => "is no VLAN id: give a number from 1 to 4094",
        };
        ground.net_refused(driver, &format!("{NET} -o parent={CARD}.{id}"), words)?;
    }
    for id in ["1", "4094"] {
        ground.net(driver, &format!("{NET} -o parent={CARD}.{id}"))?;
        ground.run("docker network rm net")?;
    }
    Ok(())
}

fn vlan_in_vlan(ground: &Ground, driver: Driver) -> Outcome {
    let vlan = format!("{CARD}.20");
    ground.run(&format!("ip link add link {CARD} name {vlan} type vlan id 20; ip link set {vlan} up"))?;
    let arguments = format!("{NET} -o parent={vlan}.30");
    let outcome = match driver {
        Driver::BuiltIn => {
            ground.net_refused(driver, &arguments, "required interface name format is: name.vlan_id")
        }
        Driver::Ours => ground.net(driver, &arguments).and_then(|()| {
            ground.wants_link(&format!("{vlan}.30"), true)?;
            ground.run("docker network rm net")?;
            ground.wants_link(&format!("{vlan}.30"), false)
        }),
    };
    ground.run(&format!("ip link delete {vlan}"))?;
    outcome
}

fn vlan_of_nothing(ground: &Ground, driver: Driver) -> Outcome {
    let words = match driver {
        Driver::BuiltIn => "-o parent interface was not found on the host: eth7",
        Driver::Ours => {
            "there is no interface eth7.20 on this host, nor eth7 to make the VLAN 20 on (there are: "
        }
    };
    ground.net_refused(driver, &format!("{NET} -o parent=eth7.20"), words)
}

fn parent_missing(ground: &Ground, driver: Driver) -> Outcome {
    let words = match driver {
        Driver::BuiltIn => "invalid subinterface vlan name eth7, example formatting is eth0.10",
        Driver::Ours => "there is no interface eth7 on this host (there are: ",
    };
    ground.net_refused(driver, &format!("{NET} -o parent=eth7"), words)
}

fn loopback(ground: &Ground, driver: Driver) -> Outcome {
    let words = match driver {
        Driver::BuiltIn => "loopback interface is not a valid ipvlan parent link",
        Driver::Ours => "lo is the loopback device and can't carry containers; name another parent",
    };
    ground.net_refused(driver, &format!("{NET} -o parent=lo"), words)
}

fn second_network(ground: &Ground, driver: Driver) -> Outcome {
    let l3 = format!("-o parent={CARD} -o ipvlan_mode=l3");
    ground.net(driver, &format!("{NET} {l3}"))?;
    let second = format!("--subnet 10.6.1.0/24 {l3}");
    match driver {
        Driver::BuiltIn => ground.net_refused(driver, &second, "is already using parent interface eth2"),
        Driver::Ours => {
            ground.net_called(driver, "second", &second)?;
            ground.container("one", "--net net --ip 10.6.0.7")?;
            ground.container("two", "--net second --ip 10.6.1.7")?;
            ground.pings("one", "10.6.1.7")?;
            ground.pings("two", "10.6.0.7")
        }
    }
}

fn second_mode(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("{NET} -o parent={CARD} -o ipvlan_mode=l3"))?;
    let second = format!("--subnet 10.6.1.0/24 -o parent={CARD} -o ipvlan_mode=l2");
    let id = ground.look("docker network inspect --format '{{.Id}}' net")?;
    let words = match driver {
        Driver::BuiltIn => "is already using parent interface eth2".to_owned(),
        Driver::Ours => format!("parent eth2 is in mode l3, which network {} uses", &id[..12]),
    };
    ground.net_refused(driver, &second, &words)
}

fn macvlan(ground: &Ground, driver: Driver) -> Outcome {
    ground.run(&format!("ip link add link {CARD} name vm0 type macvlan"))?;
    let arguments = format!("{NET} -o parent={CARD}");
    let outcome = match driver {
        Driver::BuiltIn => ground.net(driver, &arguments).and_then(|()| {
            let said =
                ground.refused(&format!("docker run --rm --net net {} true", crate::guest::docker::IMAGE))?;
            contains(&said, "device or resource busy")
        }),
        Driver::Ours => ground.net_refused(driver, &arguments, "eth2 already carries macvlan links (vm0)"),
    };
    ground.run("ip link delete vm0")?;
    outcome
}

/// Wants a network `net` whose containers reach each other on a dummy, and nobody else, by a default route or none.
fn is_alone_on_a_dummy(ground: &Ground, default_route: bool) -> Outcome {
    let Some(dummy) = ground.dummy_of("net")? else {
        return Err(Failure::new("there is no dummy for the network"));
    };
    ground.container("one", "--net net --ip 10.6.0.7")?;
    ground.container("two", "--net net")?;
    ground.pings("two", "10.6.0.7")?;
    ground.pings("two", "one")?;
    let routes = ground.routes_of("two")?;
    if default_route {
        contains(&routes, "default")?
    } else {
        lacks(&routes, "default")?
    }
    ground.does_not_ping("two", &ground.beside.address())?;
    if ground.interfaces("two")? != ["eth0", "lo"] {
        return Err(Failure::new("the container has further interfaces"));
    }
    ground.run("docker rm -f one two; docker network rm net")?;
    ground.wants_link(&dummy, false)
}

fn no_parent(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, NET)?;
    match driver {
        Driver::BuiltIn => is_alone_on_a_dummy(ground, ground.old),
        Driver::Ours => {
            if let Some(dummy) = ground.dummy_of("net")? {
                return Err(Failure::new(format!("the network sits on {dummy}")));
            }
            ground.beside.run(&format!("ip addr add 10.6.0.99/24 dev {CARD}"))?;
            ground.container("box", "--net net")?;
            let outcome = ground.pings("box", "10.6.0.99");
            ground.beside.run(&format!("ip addr del 10.6.0.99/24 dev {CARD}"))?;
            outcome
        }
    }
}

fn no_interface(ground: &Ground, driver: Driver) -> Outcome {
    ground.stop_ipvland()?;
    ground.start_ipvland("-d --store=memory")?;
    let mut outcome = Ok(());
    for mode in ["l2", "l3"] {
        outcome = outcome
            .and_then(|()| ground.net(driver, &format!("{NET} -o ipvlan_mode={mode}")))
            .and_then(|()| is_alone_on_a_dummy(ground, ground.old && driver == Driver::BuiltIn));
    }
    ground.stop_ipvland()?;
    ground.start_ipvland(&ground.words())?;
    outcome
}

fn internal(ground: &Ground, driver: Driver) -> Outcome {
    for mode in ["l2", "l3"] {
        ground.net(driver, &format!("--internal {NET} -o ipvlan_mode={mode}"))?;
        is_alone_on_a_dummy(ground, false)?;
    }
    Ok(())
}

fn internal_on_parent(ground: &Ground, driver: Driver) -> Outcome {
    for mode in ["l2", "l3"] {
        ground.net(driver, &format!("--internal {NET} -o parent={CARD} -o ipvlan_mode={mode}"))?;
        ground.container("one", "--net net --ip 10.6.0.7")?;
        ground.container("two", "--net net")?;
        ground.pings("two", "10.6.0.7")?;
        lacks(&ground.routes_of("two")?, "default")?;
        if driver == Driver::Ours && ground.ipvland_status()?["networks"][0]["published"] != false {
            return Err(Failure::new("the internal network is told to other hosts"));
        }
        ground.run("docker rm -f one two; docker network rm net")?;
    }
    Ok(())
}

fn in_use(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("{NET} -o parent={CARD}"))?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    contains(&ground.refused("docker network rm net")?, "has active endpoints")?;
    ground.container("other", "--net net")?;
    ground.pings("other", "10.6.0.7")
}

fn prune(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("{NET} -o parent={CARD}.20"))?;
    ground.net_called(driver, "used", &format!("--subnet 10.6.1.0/24 -o parent={CARD}.21"))?;
    ground.container("box", "--net used")?;
    let said = ground.run("docker network prune -f")?;
    contains(&said, "net")?;
    lacks(&said, "used")?;
    ground.wants_link(&format!("{CARD}.20"), false)?;
    ground.wants_link(&format!("{CARD}.21"), true)
}
