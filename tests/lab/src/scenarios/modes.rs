//! L2, L3 and L3S, IPv4 and IPv6; several networks a parent; a second mode refused.

use serde_json::Value;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;

/// The MTU that the networks of this scenario are made with, in bytes.
const MTU: u64 = 1400;

/// Each mode in turn, since a parent carries one mode at a time.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts with Docker and ipvland");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words())?;
    }
    fleet.start_docker(Restart::Stops)?;
    for mode in ["l3", "l3s"] {
        routed(lab, &fleet, mode)?;
    }
    switched(lab, &fleet)
}

/// L3 and L3S: each host has subnets of its own, and the routes come through the store.
fn routed(lab: &Lab, fleet: &Fleet, mode: &str) -> Outcome {
    lab.step(&format!("mode {mode}, IPv4 and IPv6"));
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    for host in [h1, h2] {
        let (ip4, ip6) = (host.prefix(), host.prefix6());
        host.run(&format!(
            "docker network create -d ipvland --ipv6 --subnet {ip4} --subnet {ip6} -o parent={CARD} -o ipvlan_mode={mode} \
             -o com.docker.network.driver.mtu={MTU} net-{mode}"
        ))?;
        host.container(
            "one",
            &format!("--net net-{mode} --ip {} --ip6 {}", host.inside(7), host.inside6(7)),
        )?;
        link_is(host, "one", mode)?;
    }
    for (host, other) in [(h1, h2), (h2, h1)] {
        host.gets_route(&other.prefix(), &other.address(), AFTER_A_RACE)?;
        host.gets_route(&other.prefix6(), &other.address6(), AFTER_A_RACE)?;
        host.container_pings("one", &other.inside(7))?;
        host.container_pings("one", &other.inside6(7))?;
    }

    lab.step(&format!("a second network on the same parent, in {mode} as the first"));
    h1.run(&format!(
        "docker network create -d ipvland --subnet 10.1.148.0/24 -o parent={CARD} -o mode={mode} second"
    ))?;
    h1.container("two", "--net second --ip 10.1.148.7")?;
    h2.gets_route("10.1.148.0/24", &h1.address(), AFTER_A_RACE)?;
    h2.container_pings("one", "10.1.148.7")?;
    h1.container_pings("one", "10.1.148.7")?;

    lab.step("a second mode on that parent is refused, and names a network that has the first");
    let said = h1.refused(&format!(
        "docker network create -d ipvland --subnet 10.9.9.0/24 -o parent={CARD} -o ipvlan_mode=l2 other"
    ))?;
    let ids = h1.look("docker network ls --no-trunc --filter driver=ipvland --format '{{.ID}} {{.Name}}'")?;
    let named = ids.lines().any(|line| said.contains(&line[..12]));
    if !named || !said.contains(mode) {
        return Err(Failure::new("the sentence names neither the network nor its mode")
            .showing(said)
            .showing(ids));
    }
    link_is(h1, "one", mode)?;

    lab.step(&format!("the networks of mode {mode} are removed, and their routes go"));
    for host in [h1, h2] {
        host.run("docker rm -f $(docker ps -aq)")?;
        host.run("docker network rm $(docker network ls -q --filter driver=ipvland)")?;
        host.no_orphans()?;
    }
    for (host, other) in [(h1, h2), (h2, h1)] {
        host.loses_route(&other.prefix(), AFTER_A_RACE)?;
        host.loses_route(&other.prefix6(), AFTER_A_RACE)?;
    }
    h2.loses_route("10.1.148.0/24", AFTER_A_RACE).map(|_| ())
}

/// L2: both hosts share one subnet, each with a part of the addresses.
fn switched(lab: &Lab, fleet: &Fleet) -> Outcome {
    lab.step("mode l2, both hosts in one subnet, IPv4 and IPv6");
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    for (host, part4, part6) in
        [(h1, "10.9.0.64/26", "2001:db8:9::1:0/112"), (h2, "10.9.0.128/26", "2001:db8:9::2:0/112")]
    {
        host.run(&format!(
            "docker network create -d ipvland --ipv6 --subnet 10.9.0.0/24 --ip-range {part4} --subnet 2001:db8:9::/64 \
             --ip-range {part6} -o parent={CARD} -o ipvlan_mode=l2 -o com.docker.network.driver.mtu={MTU} net-l2"
        ))?;
        host.container("one", "--net net-l2")?;
        link_is(host, "one", "l2")?;
    }
    for (host, other) in [(h1, h2), (h2, h1)] {
        for field in ["IPAddress", "GlobalIPv6Address"] {
            let ask = format!(
                "docker inspect --format '{{{{(index .NetworkSettings.Networks \"net-l2\").{field}}}}}' one"
            );
            host.container_pings("one", other.look(&ask)?.trim())?;
        }
    }
    for host in [h1, h2] {
        if !host.routes_to("10.9.0.0/24")?.is_empty() {
            return Err(Failure::new("an L2 subnet was told to the other hosts as if it were routed"));
        }
        host.remove_container("one")?;
        host.run("docker network rm net-l2")?;
        host.no_orphans()?;
    }
    Ok(())
}

/// Wants the container's link to be an ipvlan of this mode, with this scenario's MTU where its network is the first.
fn link_is(host: &Host, container: &str, mode: &str) -> Outcome {
    let process = host.look(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}"))?;
    let said = host.look(&format!("nsenter -t {} -n ip -j -d link show dev eth0", process.trim()))?;
    let links: Value = serde_json::from_str(&said).or_fail("reading a container's link")?;
    let link = &links[0];
    if link["linkinfo"]["info_kind"] == "ipvlan"
        && link["linkinfo"]["info_data"]["mode"] == mode
        && link["mtu"] == MTU
    {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the link of {container} on {} is no {mode} ipvlan with MTU {MTU}",
        host.name()
    ))
    .showing(said))
}
