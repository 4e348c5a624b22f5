//! Addresses for containers by ipvland itself: prefixes and blocks that hosts lease, and no address twice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// How the daemon is started.
const RUN: &str = "--config /etc/ipvland/ipvland.toml";

/// How long what nobody holds may stay given after a kill, and some more.
const QUARANTINE: Duration = Duration::from_secs(100);

/// In L3 nothing but a pool is configured; in L2 the containers are on the segment of the hosts themselves.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts that know the pool of the fleet, and no prefix of their own");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        let text = format!(
            "[host]\ninterface = \"{CARD}\"\n\n[network]\nmode = \"l3\"\npool = \"10.2.0.0/16\"\nreserved = \"10.1.1.240/28\"\n\n\
             [store]\nkind = \"git\"\n\n[store.git]\nrepo = \"{}\"\ninterval = \"3s\"\n",
            fleet.server.url()
        );
        host.configures("ipvland.toml", &text)?;
        host.start_ipvland(RUN)?;
    }
    fleet.start_docker(Restart::Stops)?;
    routed(lab, &fleet)?;
    shared(lab, &fleet)
}

/// L3: `docker network create` without a subnet.
fn routed(lab: &Lab, fleet: &Fleet) -> Outcome {
    lab.step("a network without a subnet on each, and the containers reach each other");
    for host in &fleet.hosts {
        host.show("docker network create -d ipvland --ipam-driver ipvland net1")?;
        host.container("box", "--net net1")?;
    }
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    for (host, other) in [(h1, h2), (h2, h1)] {
        let there = address(other, "box", "net1")?;
        let prefix = prefix_of(&there);
        host.gets_route(&prefix, &other.address(), AFTER_A_RACE)?;
        host.container_pings("box", &there)?;
    }
    if prefix_of(&address(h1, "box", "net1")?) == prefix_of(&address(h2, "box", "net1")?) {
        return Err(Failure::new("two hosts have one prefix"));
    }

    lab.step("a second network leases a further prefix; an l2 network needs a subnet");
    h1.run("docker network create -d ipvland --ipam-driver ipvland net2")?;
    let said = h1.refused(&format!(
        "docker network create -d ipvland --ipam-driver ipvland -o parent={CARD} -o ipvlan_mode=l2 net3"
    ))?;
    wants(&said, "an l2 network needs --subnet")?;
    let said =
        h1.refused("docker network create -d ipvland --ipam-driver ipvland --ipam-opt color=blue net3")?;
    wants(&said, "unknown --ipam-opt")?;
    h1.show("ipvland status")?;

    lab.step("the networks go, and the further prefix goes back");
    h1.run("docker network rm net2")?;
    for host in [h1, h2] {
        host.remove_container("box")?;
        host.run("docker network rm net1")?;
        wait::holds("one prefix is kept", AFTER_A_RACE, || {
            let text = fleet.server.record(&host.address())?.unwrap_or_default();
            Ok(text.matches("10.2.").count() == 1)
        })?;
        host.no_orphans()?;
    }
    Ok(())
}

/// L2: the containers have addresses of the hosts' own subnet.
fn shared(lab: &Lab, fleet: &Fleet) -> Outcome {
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    lab.step("a network on the hosts' own segment, with the same words on each");
    for host in [h1, h2] {
        host.show(&format!(
            "docker network create -d ipvland --ipam-driver ipvland --subnet 10.1.1.0/24 --aux-address nas=10.1.1.5 -o \
             parent={CARD} -o ipvlan_mode=l2 lan"
        ))?;
        for n in 1..=3 {
            host.container(&format!("box{n}"), "--net lan")?;
        }
    }
    let all = [(h1, "box1"), (h1, "box2"), (h1, "box3"), (h2, "box1"), (h2, "box2"), (h2, "box3")];
    distinct(&all)?;
    h1.container_pings("box1", &address(h2, "box1", "lan")?)?;
    h2.container_pings("box2", &address(h1, "box3", "lan")?)?;
    h1.container_pings("box1", "10.1.1.1")?;

    lab.step("an address by name: in nobody's block, in another host's, and some that are no container's");
    h1.container("fixed", "--net lan --ip 10.1.1.200")?;
    for (ip, why) in [
        ("10.1.1.201", "which h1 (10.1.1.48) has"),
        ("10.1.1.1", "is the gateway of 10.1.1.0/24"),
        ("10.1.1.5", "is an auxiliary address"),
        ("10.1.1.48", "is an address of host h1"),
        ("10.1.1.241", "is kept free by network.reserved"),
    ] {
        let said = h2.refused(&format!("docker run --rm --net lan --ip {ip} {IMAGE} true"))?;
        wants(&said, why)?;
    }
    let said = h1.refused(&format!("docker run --rm --net lan --ip 10.1.1.200 {IMAGE} true"))?;
    wants(&said, "address 10.1.1.200 is taken by endpoint")?;
    h1.show("ipvland status")?;

    lab.step("the daemon is killed and Docker restarts: what containers have is known");
    h1.kill_ipvland()?;
    h1.start_ipvland(RUN)?;
    h1.container("later1", "--net lan")?;
    h1.stop_docker()?;
    h1.kill_ipvland()?;
    h1.start_ipvland(RUN)?;
    h1.start_docker(Restart::Stops)?;
    for name in ["box1", "box2", "box3", "fixed", "later1"] {
        h1.run(&format!("docker start {name}"))?;
    }
    h1.container("later2", "--net lan")?;
    let some = [(h1, "fixed"), (h1, "later1"), (h1, "later2")];
    distinct(&[&all[..], &some].concat())?;
    if address(h1, "fixed", "lan")? != "10.1.1.200" {
        return Err(Failure::new("a container lost the address that it was given by name"));
    }
    h2.container_pings("box1", &address(h1, "later2", "lan")?)?;

    lab.step("the containers and networks go, and every block goes back");
    for host in [h1, h2] {
        host.run("docker rm -f $(docker ps -aq)")?;
        host.run("docker network rm lan")?;
        host.no_orphans()?;
        wait::holds("no block is leased", QUARANTINE, || {
            let text = fleet.server.record(&host.address())?.unwrap_or_default();
            let record: Value = serde_json::from_str(&text).or_fail("reading a record")?;
            Ok(record["blocks"].as_array().is_none_or(Vec::is_empty))
        })?;
        host.ipvland_well()?;
        host.stop_ipvland()?;
    }
    Ok(())
}

/// Returns the address that a container has in a network.
fn address(host: &Host, container: &str, network: &str) -> Outcome<String> {
    let ask = format!(
        "docker inspect --format '{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}' {container}"
    );
    Ok(host.look(&ask)?.trim().to_owned())
}

/// Returns the /24 that an address is in.
fn prefix_of(address: &str) -> String {
    let end = address.rfind('.').unwrap_or(0);
    format!("{}.0/24", &address[..end])
}

/// Wants every container in the network `lan` to have an address of its own, none of which is a host's or kept free.
fn distinct(containers: &[(&Host, &str)]) -> Outcome {
    let mut seen: BTreeSet<String> =
        ["10.1.1.1", "10.1.1.5", "10.1.1.48", "10.1.1.51", "10.1.1.0", "10.1.1.255"]
            .map(str::to_owned)
            .into();
    for (host, name) in containers {
        let address = address(host, name, "lan")?;
        if address.is_empty() || !seen.insert(address.clone()) {
            return Err(Failure::new(format!("{name} on {} has the address {address:?}", host.name()))
                .showing(format!("taken are {seen:?}")));
        }
    }
    Ok(())
}

fn wants(said: &str, words: &str) -> Outcome {
    if said.contains(words) {
        return Ok(());
    }
    Err(Failure::new(format!("the sentence does not say {words:?}")).showing(said.to_owned()))
}
