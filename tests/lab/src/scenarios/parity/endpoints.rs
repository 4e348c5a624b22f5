//! What containers are given, and how they come and go.

use super::ground::{Ground, contains};
use super::row::{Driver, Row};
use crate::failure::{Failure, Outcome};
use crate::guest::docker::IMAGE;
use crate::guest::host::CARD;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "one-interface",
        behaviour: "the interfaces of a container",
        builtin: "`lo` and `eth0`: none on docker_gwbridge",
        ours: "the same",
        check: one_interface,
    },
    Row {
        name: "mac-address",
        behaviour: "`--mac-address`",
        builtin: "refused",
        ours: "refused, with the parent whose address all its containers share",
        check: mac_address,
    },
    Row {
        name: "published-ports",
        behaviour: "`-p 8080:80`",
        builtin: "the container runs, and nothing is published",
        ours: "the same, with a line in the log",
        check: published_ports,
    },
    Row {
        name: "interface-name",
        behaviour: "the option `com.docker.network.endpoint.ifname=lan0` of an endpoint",
        builtin: "since Docker 28; earlier ones ignore it",
        ours: "since Docker 28; in earlier ones names that end in 0",
        check: interface_name,
    },
    Row {
        name: "connect",
        behaviour: "`docker network connect` and `disconnect` of a running container",
        builtin: "yes",
        ours: "yes",
        check: connect,
    },
    Row {
        name: "connect-static",
        behaviour: "`docker network connect --ip --alias`",
        builtin: "yes",
        ours: "yes",
        check: connect_static,
    },
    Row {
        name: "two-routed-networks",
        behaviour: "a container on two L3 networks",
        builtin: "refused by the kernel: each brings a default route, \"file exists\"",
        ours: "yes: the first one brings the default route",
        check: two_routed_networks,
    },
    Row {
        name: "restart-container",
        behaviour: "`docker restart`, `docker stop` and `start`, `docker kill`",
        builtin: "the container is back at its address",
        ours: "the same",
        check: restart_container,
    },
    Row {
        name: "address-anew",
        behaviour: "an address of a container that is gone",
        builtin: "is given to the next one",
        ours: "the same",
        check: address_anew,
    },
    Row {
        name: "shared-namespace",
        behaviour: "`--network container:NAME`",
        builtin: "yes",
        ours: "yes",
        check: shared_namespace,
    },
];

const L2: &str = "--subnet 10.6.0.0/24 -o parent=eth2";
const L3: &str = "--subnet 10.6.0.0/24 -o parent=eth2 -o ipvlan_mode=l3";

/// Wants exactly these interfaces in a container.
pub(super) fn has_interfaces(ground: &Ground, container: &str, wanted: &[&str]) -> Outcome {
    let names = ground.interfaces(container)?;
    if names == wanted {
        return Ok(());
    }
    Err(Failure::new(format!("{container} has the interfaces {names:?} instead of {wanted:?}")))
}

fn one_interface(ground: &Ground, driver: Driver) -> Outcome {
    for arguments in [L2, L3] {
        ground.net(driver, arguments)?;
        ground.container("box", "--net net")?;
        has_interfaces(ground, "box", &["eth0", "lo"])?;
        ground.run("docker rm -f box; docker network rm net")?;
    }
    if ground.has_link("docker_gwbridge")? {
        return Err(Failure::new("Docker made docker_gwbridge"));
    }
    Ok(())
}

fn mac_address(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    let said = ground
        .refused(&format!("docker run --rm --net net --mac-address 02:42:0a:06:00:07 {IMAGE} hostname"))?;
    contains(
        &said,
        match driver {
            Driver::BuiltIn => "ipvlan interfaces do not support custom mac address assignment",
            Driver::Ours => {
                "can't be given: ipvlan containers share the MAC of parent eth2; leave out --mac-address"
            }
        },
    )
}

fn published_ports(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.run(&format!("docker run -d --name box --net net -p 8080:80 {IMAGE} sleep 1000"))?;
    if ground.attempt("curl -s --max-time 2 http://127.0.0.1:8080/")?.code != 7 {
        return Err(Failure::new("something listens on the published port"));
    }
    if driver == Driver::Ours {
        contains(&ground.log("ipvland"), "the published ports 8080:80/tcp have no effect")?;
    }
    Ok(())
}

fn interface_name(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.run(&format!(
        "docker run -d --name box --net name=net,driver-opt=com.docker.network.endpoint.ifname=lan0 {IMAGE} sleep 1000"
    ))?;
    let name = if driver == Driver::Ours { "lan0" } else { "eth0" };
    has_interfaces(ground, "box", &if name == "lan0" { ["lan0", "lo"] } else { ["eth0", "lo"] })?;
    contains(&ground.routes_of("box")?, &format!("dev {name}"))
}

fn connect(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.net_called(driver, "second", &format!("--internal --subnet 10.6.1.0/24 -o parent={CARD}.20"))?;
    ground.container("box", "--net net")?;
    ground.container("there", "--net second --ip 10.6.1.7")?;
    ground.does_not_ping("box", "10.6.1.7")?;
    for _ in 0..2 {
        ground.run("docker network connect second box")?;
        ground.pings("box", "10.6.1.7")?;
        if ground.interfaces("box")?.len() != 3 {
            return Err(Failure::new("the container has no second interface"));
        }
        ground.run("docker network disconnect second box")?;
        has_interfaces(ground, "box", &["eth0", "lo"])?;
    }
    ground.run("docker network disconnect net box")?;
    has_interfaces(ground, "box", &["lo"])
}

fn connect_static(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.net_called(driver, "second", &format!("--internal --subnet 10.6.1.0/24 -o parent={CARD}.20"))?;
    ground.container("box", "--net net")?;
    ground.container("there", "--net second")?;
    ground.run("docker network connect --ip 10.6.1.77 --alias web second box")?;
    ground.pings("there", "10.6.1.77")?;
    ground.pings("there", "web")
}

fn two_routed_networks(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    ground.net_called(
        driver,
        "second",
        &format!("--subnet 10.6.1.0/24 -o parent={CARD}.20 -o ipvlan_mode=l3"),
    )?;
    ground.container("box", "--net net")?;
    ground.container("there", "--net second --ip 10.6.1.7")?;
    match driver {
        Driver::BuiltIn => contains(&ground.refused("docker network connect second box")?, "file exists"),
        Driver::Ours => {
            ground.run("docker network connect second box")?;
            ground.pings("box", "10.6.1.7")?;
            contains(&ground.routes_of("box")?, "default dev eth0")
        }
    }
}

fn restart_container(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.container("there", "--net net")?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    for line in [
        "docker restart --time 0 box",
        "docker stop --time 0 box && docker start box",
        "docker kill box && docker start box",
    ] {
        ground.run(line)?;
        ground.pings("there", "10.6.0.7")?;
    }
    Ok(())
}

fn address_anew(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    ground.container("there", "--net net --ip 10.6.0.70")?;
    for round in ["one", "two"] {
        ground.container(round, "--net net --ip 10.6.0.7")?;
        ground.pings("there", "10.6.0.7")?;
        ground.pings(round, "there")?;
        ground.remove_container(round)?;
    }
    Ok(())
}

fn shared_namespace(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.container("there", "--net net --ip 10.6.0.7")?;
    ground.container("box", "--net net")?;
    let said = ground.once("--net container:box", "ping -c 1 -W 2 10.6.0.7")?;
    contains(&said, " 0% packet loss")
}
