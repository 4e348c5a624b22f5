//! Subnets, addresses, gateways and routes.

use super::ground::{Ground, contains, lacks};
use super::row::{Driver, Row};
use crate::failure::{Failure, Outcome};
use crate::guest::host::CARD;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "subnets",
        behaviour: "several IPv4 and IPv6 subnets on one network, in L2",
        builtin: "an endpoint takes the gateway of the subnet that its address is of",
        ours: "the same",
        check: subnets,
    },
    Row {
        name: "subnets-routed",
        behaviour: "several IPv4 and IPv6 subnets on one network, in L3",
        builtin: "containers of all of them reach each other",
        ours: "the same",
        check: subnets_routed,
    },
    Row {
        name: "gateway",
        behaviour: "`--gateway` in L2",
        builtin: "the default route of the containers, IPv4 and IPv6",
        ours: "the same",
        check: gateway,
    },
    Row {
        name: "gateway-picked",
        behaviour: "no `--gateway` in L2",
        builtin: "the first address of the subnet, as Docker picks it up to 28",
        ours: "the same; `[network] gateway` where the subnet holds it",
        check: gateway_picked,
    },
    Row {
        name: "default-route",
        behaviour: "the way out in L3 and L3S",
        builtin: "`default dev eth0`, IPv4 and IPv6",
        ours: "the same",
        check: default_route,
    },
    Row {
        name: "gateway-routed",
        behaviour: "`--gateway` in L3",
        builtin: "no route by it; its address is given to no container",
        ours: "the same",
        check: gateway_in_l3,
    },
    Row { name: "static", behaviour: "`--ip` and `--ip6`", builtin: "yes", ours: "yes", check: fixed },
    Row {
        name: "static-outside",
        behaviour: "`--ip` outside of the subnets, or in use",
        builtin: "refused by Docker",
        ours: "the same",
        check: fixed_outside,
    },
    Row {
        name: "ip-range",
        behaviour: "`--ip-range` and `--aux-address`",
        builtin: "yes",
        ours: "yes",
        check: ip_range,
    },
    Row {
        name: "thirty-one",
        behaviour: "a /31 in L3, as between two routers",
        builtin: "one container, as Docker keeps the other address for a gateway; Docker 20.10 takes no /31",
        ours: "the same; from Docker 28 on two containers",
        check: thirty_one,
    },
    Row {
        name: "no-subnet",
        behaviour: "no `--subnet`",
        builtin: "Docker picks one",
        ours: "the same",
        check: no_subnet,
    },
    Row {
        name: "overlap",
        behaviour: "a subnet that overlaps another network's",
        builtin: "refused by Docker",
        ours: "the same",
        check: overlap,
    },
];

fn subnets(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(
        driver,
        &format!(
            "--ipv6 --subnet 10.6.0.0/24 --gateway 10.6.0.254 --subnet 10.6.1.0/24 --gateway 10.6.1.254 \
             --subnet fd00:6::/64 --gateway fd00:6::fe --subnet fd00:7::/64 --gateway fd00:7::fe -o parent={CARD}"
        ),
    )?;
    ground.container("one", "--net net --ip 10.6.0.7 --ip6 fd00:6::7")?;
    ground.container("two", "--net net --ip 10.6.1.7 --ip6 fd00:7::7")?;
    for (container, four, six) in [("one", "10.6.0.254", "fd00:6::fe"), ("two", "10.6.1.254", "fd00:7::fe")] {
        let routes = ground.routes_of(container)?;
        contains(&routes, &format!("default via {four} dev eth0"))?;
        contains(&routes, &format!("default via {six} dev eth0"))?;
    }
    Ok(())
}

fn subnets_routed(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(
        driver,
        &format!(
            "--ipv6 --subnet 10.6.0.0/24 --subnet 10.6.1.0/24 --subnet fd00:6::/64 --subnet fd00:7::/64 \
             -o parent={CARD} -o ipvlan_mode=l3"
        ),
    )?;
    ground.container("one", "--net net --ip 10.6.0.7 --ip6 fd00:6::7")?;
    ground.container("two", "--net net --ip 10.6.1.7 --ip6 fd00:7::7")?;
    ground.pings("one", "10.6.1.7")?;
    ground.pings("one", "fd00:7::7")
}

fn gateway(ground: &Ground, driver: Driver) -> Outcome {
    ground
        .beside
        .run(&format!("ip addr add 10.6.0.254/24 dev {CARD}; ip addr add fd00:6::fe/64 dev {CARD} nodad"))?;
    ground.net(
        driver,
        &format!(
            "--ipv6 --subnet 10.6.0.0/24 --gateway 10.6.0.254 --subnet fd00:6::/64 --gateway fd00:6::fe -o parent={CARD}"
        ),
    )?;
    ground.container("box", "--net net")?;
    let routes = ground.routes_of("box")?;
    // Beyond the gateway, and not on the subnet.
    let reached =
        ground.pings("box", &ground.beside.address()).and_then(|()| ground.pings("box", "fd00:6::fe"));
    ground
        .beside
        .run(&format!("ip addr del 10.6.0.254/24 dev {CARD}; ip addr del fd00:6::fe/64 dev {CARD}"))?;
    contains(&routes, "default via 10.6.0.254 dev eth0")?;
    contains(&routes, "default via fd00:6::fe dev eth0")?;
    reached
}

fn gateway_picked(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("--ipv6 --subnet 10.6.0.0/24 --subnet fd00:6::/64 -o parent={CARD}"))?;
    ground.container("box", "--net net")?;
    let routes = ground.routes_of("box")?;
    contains(&routes, "default via 10.6.0.1 dev eth0")?;
    contains(&routes, "default via fd00:6::1 dev eth0")?;
    if driver == Driver::Ours {
        ground.run("docker rm -f box; docker network rm net")?;
        ground.stop_ipvland()?;
        ground.start_ipvland(&format!("{} --gateway=10.6.0.254", ground.words()))?;
        ground.net(driver, &format!("--subnet 10.6.0.0/24 -o parent={CARD}"))?;
        ground.container("box", "--net net")?;
        let routes = ground.routes_of("box")?;
        ground.stop_ipvland()?;
        ground.start_ipvland(&ground.words())?;
        contains(&routes, "default via 10.6.0.254 dev eth0")?;
    }
    Ok(())
}

fn default_route(ground: &Ground, driver: Driver) -> Outcome {
    for mode in ["l3", "l3s"] {
        if mode == "l3s" && driver == Driver::BuiltIn && ground.old {
            continue;
        }
        ground.net(
            driver,
            &format!(
                "--ipv6 --subnet 10.6.0.0/24 --subnet fd00:6::/64 -o parent={CARD} -o ipvlan_mode={mode}"
            ),
        )?;
        ground.container("box", "--net net")?;
        let (four, six) = (ground.exec("box", "ip route")?, ground.exec("box", "ip -6 route")?);
        contains(&four, "default dev eth0")?;
        contains(&six, "default dev eth0")?;
        lacks(&(four + &six), "via")?;
        ground.beside.run(&format!("ip route add 10.6.0.0/24 via {}", ground.address()))?;
        let reached = ground.pings("box", &ground.beside.address());
        ground.beside.run("ip route del 10.6.0.0/24")?;
        reached?;
        ground.run("docker rm -f box; docker network rm net")?;
    }
    Ok(())
}

fn gateway_in_l3(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(
        driver,
        &format!("--subnet 10.6.0.0/24 --gateway 10.6.0.254 -o parent={CARD} -o ipvlan_mode=l3"),
    )?;
    ground.container("box", "--net net")?;
    let routes = ground.routes_of("box")?;
    contains(&routes, "default dev eth0")?;
    lacks(&routes, "10.6.0.254")?;
    let said = ground.refused(&format!(
        "docker run --rm --net net --ip 10.6.0.254 {} hostname",
        crate::guest::docker::IMAGE
    ))?;
    contains(&said, "Address already in use")
}

fn fixed(ground: &Ground, driver: Driver) -> Outcome {
    for mode in ["l2", "l3"] {
        ground.net(
            driver,
            &format!(
                "--ipv6 --subnet 10.6.0.0/24 --subnet fd00:6::/64 -o parent={CARD} -o ipvlan_mode={mode}"
            ),
        )?;
        ground.container("box", "--net net --ip 10.6.0.77 --ip6 fd00:6::77")?;
        let link = ground.inside("box", "eth0")?.to_string();
        contains(&link, "\"local\":\"10.6.0.77\"")?;
        contains(&link, "\"local\":\"fd00:6::77\"")?;
        ground.run("docker rm -f box; docker network rm net")?;
    }
    Ok(())
}

fn fixed_outside(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("--subnet 10.6.0.0/24 -o parent={CARD}"))?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    for address in ["10.6.0.7", "10.7.0.7"] {
        ground.refused(&format!(
            "docker run --rm --net net --ip {address} {} hostname",
            crate::guest::docker::IMAGE
        ))?;
    }
    ground.container("other", "--net net")?;
    ground.pings("other", "10.6.0.7")
}

fn ip_range(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(
        driver,
        &format!(
            "--subnet 10.6.0.0/24 --gateway 10.6.0.1 --ip-range 10.6.0.64/30 --aux-address a=10.6.0.64 --aux-address b=10.6.0.65 -o parent={CARD}"
        ),
    )?;
    for (container, address) in [("one", "10.6.0.66"), ("two", "10.6.0.67")] {
        ground.container(container, "--net net")?;
        contains(&ground.inside(container, "eth0")?.to_string(), &format!("\"local\":\"{address}\""))?;
    }
    Ok(())
}

fn thirty_one(ground: &Ground, driver: Driver) -> Outcome {
    let arguments = format!("--subnet 10.6.0.0/31 -o parent={CARD} -o ipvlan_mode=l3");
    if ground.old {
        return ground.net_refused(driver, &arguments, "No available addresses on this pool");
    }
    ground.net(driver, &arguments)?;
    ground.container("one", "--net net")?;
    let link = ground.inside("one", "eth0")?.to_string();
    contains(&link, "\"prefixlen\":31")?;
    contains(&ground.routes_of("one")?, "default dev eth0")?;
    let said =
        ground.refused(&format!("docker run --rm --net net {} hostname", crate::guest::docker::IMAGE))?;
    contains(&said, "no available")
}

fn no_subnet(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("-o parent={CARD} -o ipvlan_mode=l3"))?;
    ground.container("one", "--net net")?;
    ground.container("two", "--net net")?;
    ground.pings("two", "one")
}

fn overlap(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("--subnet 10.6.0.0/24 -o parent={CARD} -o ipvlan_mode=l3"))?;
    ground.net_refused(
        driver,
        &format!("--subnet 10.6.0.128/25 -o parent={CARD}.20 -o ipvlan_mode=l3"),
        "Pool overlaps with other one on this address space",
    )?;
    if ground.has_link(&format!("{CARD}.20"))? {
        return Err(Failure::new("a VLAN was made for the refused network"));
    }
    Ok(())
}
