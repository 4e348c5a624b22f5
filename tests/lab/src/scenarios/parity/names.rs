//! Names: of containers among each other, and of the world outside.

use std::time::Duration;

use super::ground::{Ground, OUTSIDE, contains, lacks};
use super::row::{Driver, Row};
use crate::failure::Outcome;
use crate::guest::host::CARD;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "names-inside",
        behaviour: "a container's name, `--network-alias`, `--hostname`",
        builtin: "names and aliases resolve within a network, by Docker's own name server",
        ours: "the same",
        check: inside,
    },
    Row {
        name: "names-outside",
        behaviour: "names outside, by a name server that the containers reach",
        builtin: "resolve, in L2 with a gateway and in L3",
        ours: "the same",
        check: outside,
    },
    Row {
        name: "names-outside-by-the-host",
        behaviour: "names outside, by a name server on the host's loopback, such as systemd-resolved",
        builtin: "resolve, in L2 and in L3",
        ours: "the same",
        check: by_the_host,
    },
    Row {
        name: "names-internal",
        behaviour: "names outside, in an `--internal` network",
        builtin: "do not resolve, but for Docker 20.10, which asks the host's own; names of containers do",
        ours: "the same",
        check: internal,
    },
    Row { name: "dns", behaviour: "`--dns`", builtin: "yes", ours: "yes", check: dns },
];

const L2: &str = "--subnet 10.6.0.0/24 --gateway 10.6.0.254 -o parent=eth2";
const L3: &str = "--subnet 10.6.0.0/24 -o parent=eth2 -o ipvlan_mode=l3";

/// Gives the machine beside what containers need to reach it, on their segment and routed, and takes it away again.
fn with_way_back(ground: &Ground, what: impl FnOnce() -> Outcome) -> Outcome {
    ground.beside.run(&format!("ip addr add 10.6.0.254/24 dev {CARD}"))?;
    let outcome = what();
    ground.beside.run(&format!("ip addr del 10.6.0.254/24 dev {CARD}; ip route del 10.6.0.0/24 || true"))?;
    outcome
}

/// Routes the containers' subnet to the host instead.
fn routed(ground: &Ground) -> Outcome {
    let line = format!(
        "ip addr del 10.6.0.254/24 dev {CARD} || true; ip route replace 10.6.0.0/24 via {}",
        ground.address()
    );
    ground.beside.run(&line).map(|_| ())
}

/// What the host's resolv.conf says while a row is checked.
fn with_name_server(ground: &Ground, address: &str, what: impl FnOnce() -> Outcome) -> Outcome {
    ground.run(&format!("echo nameserver {address} >/etc/resolv.conf"))?;
    let outcome = what();
    ground.run(": >/etc/resolv.conf")?;
    outcome
}

fn lookup(ground: &Ground, container: &str, name: &str) -> Outcome<String> {
    Ok(ground.attempt(&format!("docker exec {container} nslookup {name} 127.0.0.11"))?.output)
}

fn inside(ground: &Ground, driver: Driver) -> Outcome {
    for arguments in [L2, L3] {
        ground.net(driver, arguments)?;
        ground.container("one", "--net net --ip 10.6.0.7 --network-alias web --hostname first")?;
        ground.container("two", "--net net")?;
        for name in ["one", "web"] {
            ground.pings("two", name)?;
            contains(&lookup(ground, "two", name)?, "10.6.0.7")?;
        }
        contains(&ground.exec("one", "hostname")?, "first")?;
        contains(&ground.exec("two", "cat /etc/resolv.conf")?, "nameserver 127.0.0.11")?;
        ground.run("docker rm -f one two; docker network rm net")?;
    }
    Ok(())
}

fn outside(ground: &Ground, driver: Driver) -> Outcome {
    with_way_back(ground, || {
        with_name_server(ground, &ground.beside.address(), || {
            for arguments in [L2, L3] {
                if arguments == L3 {
                    routed(ground)?;
                }
                ground.net(driver, arguments)?;
                ground.container("box", "--net net")?;
                contains(&lookup(ground, "box", "www.example.com")?, OUTSIDE)?;
                ground.run("docker rm -f box; docker network rm net")?;
            }
            Ok(())
        })
    })
}

fn by_the_host(ground: &Ground, driver: Driver) -> Outcome {
    ground.name_server(ground, "127.0.0.53")?;
    let outcome = with_name_server(ground, "127.0.0.53", || {
        for arguments in [L2, L3] {
            ground.net(driver, arguments)?;
            ground.container("box", "--net net")?;
            contains(&lookup(ground, "box", "www.example.com")?, OUTSIDE)?;
            ground.run("docker rm -f box; docker network rm net")?;
        }
        Ok(())
    });
    ground.signal("dnsmasq", "TERM")?;
    ground.ended("dnsmasq", Duration::from_secs(10))?;
    outcome
}

fn internal(ground: &Ground, driver: Driver) -> Outcome {
    ground.name_server(ground, "127.0.0.53")?;
    let outcome = with_name_server(ground, "127.0.0.53", || {
        ground.net(driver, &format!("--internal {L2}"))?;
        ground.container("one", "--net net --ip 10.6.0.7")?;
        ground.container("two", "--net net")?;
        contains(&lookup(ground, "two", "one")?, "10.6.0.7")?;
        let said = lookup(ground, "two", "www.example.com")?;
        if ground.old { contains(&said, OUTSIDE) } else { lacks(&said, OUTSIDE) }
    });
    ground.signal("dnsmasq", "TERM")?;
    ground.ended("dnsmasq", Duration::from_secs(10))?;
    outcome
}

fn dns(ground: &Ground, driver: Driver) -> Outcome {
    with_way_back(ground, || {
        ground.net(driver, L2)?;
        ground.container("box", &format!("--net net --dns {}", ground.beside.address()))?;
        contains(&lookup(ground, "box", "www.example.com")?, OUTSIDE)
    })
}
