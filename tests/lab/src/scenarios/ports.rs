//! Published ports and the host's firewall: what they mean in each mode, as docs/networking.md says.

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;

/// The chains of the host that a container's packets pass in a mode: those that it sends, and those that it gets.
struct Firewall {
    mode: &'static str,
    sent: &'static [&'static str],
    got: &'static [&'static str],
}

const FIREWALLS: &[Firewall] = &[
    Firewall { mode: "l2", sent: &[], got: &[] },
    Firewall { mode: "l3", sent: &["OUTPUT"], got: &[] },
    Firewall { mode: "l3s", sent: &["OUTPUT"], got: &["INPUT"] },
];

/// A port opens nothing on the host, everything on the container is open, and only some packets pass the host's firewall.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts with Docker and ipvland");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words())?;
    }
    fleet.start_docker(Restart::Stops)?;
    for firewall in FIREWALLS {
        mode(lab, &fleet, firewall)?;
    }
    Ok(())
}

fn mode(lab: &Lab, fleet: &Fleet, firewall: &Firewall) -> Outcome {
    let mode = firewall.mode;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    lab.step(&format!("mode {mode}: a container that publishes a port"));
    let (subnets, inside): ([String; 2], [String; 2]) = if mode == "l2" {
        (["10.9.0.0/24".into(), "10.9.0.0/24".into()], ["10.9.0.7".into(), "10.9.0.8".into()])
    } else {
        ([h1.prefix(), h2.prefix()], [h1.inside(7), h2.inside(7)])
    };
    for (host, (subnet, address)) in [h1, h2].into_iter().zip(subnets.iter().zip(&inside)) {
        host.run(&format!(
            "docker network create -d ipvland --subnet {subnet} -o parent={CARD} -o ipvlan_mode={mode} -o \
             ipvland.name=web net"
        ))?;
        host.container("box", &format!("--net net --ip {address} -p 8080:80 --expose 81"))?;
    }
    if mode != "l2" {
        for (host, other) in [(h1, h2), (h2, h1)] {
            host.gets_route(&other.prefix(), &other.address(), AFTER_A_RACE)?;
        }
    }
    said(h1, &inside[0])?;

    lab.step(&format!("mode {mode}: the host's port is closed, the container's are open to other hosts"));
    h1.run("docker exec -d box busybox nc -ll -p 80 -e busybox echo hello")?;
    h1.run("docker exec -d box busybox nc -ll -p 9999 -e busybox echo never published")?;
    let ask = |address: &str, port: u16| {
        h2.attempt(&format!("docker exec box sh -c 'busybox nc -w 3 {address} {port} </dev/null'"))
    };
    if ask(&h1.address(), 8080)?.output.contains("hello") {
        return Err(Failure::new("the published port of the host leads to the container"));
    }
    for (port, words) in [(80, "hello"), (9999, "never published")] {
        let ran = ask(&inside[0], port)?;
        if !ran.output.contains(words) {
            return Err(
                Failure::new(format!("port {port} of the container does not answer")).showing(ran.output)
            );
        }
    }

    lab.step(&format!("mode {mode}: which chains of the host the packets pass"));
    for chain in CHAINS {
        h1.run(&format!("iptables -I {chain} -s {a}; iptables -I {chain} -d {a}", a = inside[0]))?;
    }
    h2.container_pings("box", &inside[0])?;
    for (words, direction, wanted) in [("sends", "-s", firewall.sent), ("gets", "-d", firewall.got)] {
        for chain in CHAINS {
            let passed = packets(h1, chain, direction, &inside[0])? > 0;
            if passed != wanted.contains(&chain) {
                let how = if passed { "passes" } else { "does not pass" };
                return Err(Failure::new(format!("what a container in {mode} {words} {how} {chain}")));
            }
        }
    }
    for chain in CHAINS {
        h1.run(&format!("iptables -D {chain} -s {a}; iptables -D {chain} -d {a}", a = inside[0]))?;
    }
    for host in [h1, h2] {
        host.remove_container("box")?;
        host.run("docker network rm net")?;
        host.no_orphans()?;
    }
    Ok(())
}

const CHAINS: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// Counts the packets that a rule has seen.
fn packets(host: &Host, chain: &str, direction: &str, address: &str) -> Outcome<u64> {
    let rules = host.look(&format!("iptables -v -S {chain}"))?;
    let rule = format!("-A {chain} {direction} {address}/32 -c ");
    let count = rules.lines().find_map(|line| line.strip_prefix(&rule)?.split(' ').next()?.parse().ok());
    count.ok_or_else(|| Failure::new("iptables shows no such rule").showing(rules))
}

/// The log and the status say what a published port means.
fn said(host: &Host, address: &str) -> Outcome {
    let log = host.log("ipvland");
    let wanted = format!(
        "the published ports 8080:80/tcp have no effect: a container on ipvlan is reached at its own address ({address})"
    );
    if !log.contains(&wanted) {
        return Err(Failure::new("the log does not say what a published port means").showing(log));
    }
    let status = host.show("ipvland status | grep -A9 '^networks'")?;
    if !status.contains("* web: 1 of its endpoints publish ports (8080:80/tcp), which has no effect") {
        return Err(Failure::new("the status does not say what a published port means"));
    }
    Ok(())
}
