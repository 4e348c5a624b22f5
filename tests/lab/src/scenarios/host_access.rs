//! A host and its own containers reach each other, where a network asks for it.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{AFTER_A_RACE, Fleet, SOON};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;
use crate::guest::wait;

/// The device that the host gets on its card.
const DEVICE: &str = "ipvh-eth2";

/// What a network is made with.
const ASK: &str = "-o ipvland.host_access=true";

/// Each mode in turn, then what stands against it.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts with Docker and ipvland");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words())?;
    }
    fleet.start_docker(Restart::Lives)?;
    for mode in ["l3", "l3s"] {
        routed(lab, &fleet, mode)?;
    }
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    switched(lab, h1, h2)?;
    set_aside(lab, h1)?;
    on_a_vlan(lab, h1)?;
    refused(lab, h1)
}

/// L3 and L3S.
fn routed(lab: &Lab, fleet: &Fleet, mode: &str) -> Outcome {
    lab.step(&format!("mode {mode}: a network that the host reaches, and one that it doesn't"));
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    h1.run(&format!("ip link add link {CARD} name own0 type ipvlan mode {mode} && ip link set own0 up"))?;
    for (host, ask) in [(h1, ASK), (h2, "")] {
        let (ip4, ip6) = (host.prefix(), host.prefix6());
        host.run(&format!(
            "docker network create -d ipvland --ipv6 --subnet {ip4} --subnet {ip6} -o mode={mode} -o mtu=1400 {ask} net1"
        ))?;
        let (at4, at6) = (host.inside(7), host.inside6(7));
        host.container("one", &format!("--net net1 --ip {at4} --ip6 {at6}"))?;
        // At once, without waiting.
        if host.reaches(&at4)? != (host.name() == "h1") {
            return Err(Failure::new(format!("{} reaches {at4} where it should not, or not", host.name())));
        }
    }
    h1.run(&format!("docker network create -d ipvland --subnet 10.1.148.0/24 -o mode={mode} deaf"))?;
    h1.container("deaf", "--net deaf --ip 10.1.148.7")?;

    lab.step("host and container reach each other, at the host's main address");
    both_ways(h1, "one", &[&h1.inside(7), &h1.inside6(7)], &[&h1.address(), &h1.address6()])?;
    h1.show(&format!("ping -c 1 -W 2 -s 1450 {}", h1.inside(7)))?;
    if h1.reaches("10.1.148.7")? {
        return Err(Failure::new("a network that did not ask for it is reached"));
    }
    state_is(h1, "reached")?;

    lab.step("other hosts are what they were");
    h1.gets_route(&h2.prefix(), &h2.address(), AFTER_A_RACE)?;
    h2.gets_route(&h1.prefix(), &h1.address(), AFTER_A_RACE)?;
    h2.container_pings("one", &h1.inside(7))?;
    h1.container_pings("one", &h2.inside(7))?;
    h1.container_pings("deaf", &h2.inside(7))?;

    follows(lab, h1)?;
    if mode == "l3" {
        survives(lab, fleet, h1)?;
    }

    lab.step(&format!("the last network of mode {mode} goes, and all of it; an operator's own link stays"));
    for host in [h1, h2] {
        host.run("docker rm -f $(docker ps -aq)")?;
    }
    h1.run("docker network rm net1")?;
    h2.run("docker network rm net1")?;
    nothing_left(h1)?;
    if !h1.ipvlans()?.iter().any(|link| link.name == "own0") {
        return Err(Failure::new("the operator's own ipvlan link is gone"));
    }
    h1.run("docker network rm deaf")?;
    h1.run("ip link del own0")?;
    for (host, other) in [(h1, h2), (h2, h1)] {
        host.loses_route(&other.prefix(), AFTER_A_RACE)?;
    }
    Ok(())
}

/// Containers that stop, start, and get other addresses.
fn follows(lab: &Lab, host: &Host) -> Outcome {
    lab.step("routes follow the containers");
    let (seven, nine) = (host.inside(7), host.inside(9));
    host.run("docker stop --time 0 one")?;
    host.loses_route(&seven, Duration::from_secs(1))?;
    host.run("docker start one")?;
    host.pings(&seven)?;
    host.remove_container("one")?;
    host.container("one", &format!("--net net1 --ip {nine} --ip6 {}", host.inside6(9)))?;
    host.pings(&nine)?;
    host.loses_route(&seven, Duration::from_secs(1))?;
    host.remove_container("one")?;
    host.container("one", &format!("--net net1 --ip {seven} --ip6 {}", host.inside6(7)))?;
    host.pings(&seven)?;
    // A kernel brings an IPv6 address into use by a task of its own (`addrconf_dad_work`), which a busy one does later.
    let seven6 = host.inside6(7);
    let reached = || host.reaches(&seven6);
    wait::holds("the container has its IPv6 address in use", Duration::from_secs(5), reached)?;
    host.pings(&seven6)
}

/// The daemon is killed, the store is away, the card goes down, the device is deleted, the host leaves the fleet.
fn survives(lab: &Lab, fleet: &Fleet, host: &Host) -> Outcome {
    lab.step("the daemon is killed and starts again: no ping is lost");
    let there = Pinging::from_host(host, &host.inside(7))?;
    let there6 = Pinging::from_host(host, &host.inside6(7))?;
    let back = Pinging::start(host, "one", &host.address())?;
    host.kill_ipvland()?;
    std::thread::sleep(Duration::from_secs(1));
    host.start_ipvland(&fleet.words())?;
    host.stop_ipvland()?;
    host.start_ipvland(&fleet.words())?;
    for pinging in [there, there6, back] {
        let answers = pinging.lost_nothing()?;
        lab.say(&format!("{} of {} pings were answered", answers.received, answers.sent));
    }

    lab.step("the card goes down and up");
    host.run(&format!("ip link set {CARD} down"))?;
    host.run("sleep 1")?;
    host.run(&format!("ip link set {CARD} up && ip addr replace {}/64 dev {CARD} nodad", host.address6()))?;
    all_reached(host, "after the card was down")?;

    lab.step("the device is taken down, then deleted");
    host.run(&format!("ip link set {DEVICE} down"))?;
    all_reached(host, "after the device was down")?;
    host.run(&format!("ip link del {DEVICE}"))?;
    all_reached(host, "after the device was deleted")?;
    host.ipvland_well()?;

    lab.step("the store is away while the daemon starts and a container comes");
    fleet.server.stop()?;
    host.kill_ipvland()?;
    host.launch_ipvland(&fleet.words())?;
    host.remove_container("one")?;
    host.loses_route(&host.inside(7), Duration::from_secs(1))?;
    host.container("one", &format!("--net net1 --ip {} --ip6 {}", host.inside(7), host.inside6(7)))?;
    all_reached(host, "without the store")?;
    fleet.server.start()?;
    host.ipvland_well()?;

    lab.step("a host that leaves the fleet keeps its containers");
    host.run("ipvland leave --force")?;
    all_reached(host, "after leaving")?;
    host.remove_container("one")?;
    host.loses_route(&host.inside(7), Duration::from_secs(1))?;
    host.container("one", &format!("--net net1 --ip {} --ip6 {}", host.inside(7), host.inside6(7)))?;
    all_reached(host, "a new container after leaving")?;
    host.stop_ipvland()?;
    host.start_ipvland(&fleet.words())
}

/// L2, in the segment's own subnet.
fn switched(lab: &Lab, host: &Host, other: &Host) -> Outcome {
    lab.step("mode l2, in the segment's own subnet");
    host.run(&format!(
        "docker network create -d ipvland --ipv6 --subnet 10.1.1.0/24 --ip-range 10.1.1.192/27 --gateway 10.1.1.1 \
         --subnet 2001:db8:1::/64 --ip-range 2001:db8:1::a:0/112 -o mode=l2 {ASK} net2"
    ))?;
    host.container("one", "--net net2 --ip 10.1.1.200 --ip6 2001:db8:1::a:200")?;
    if !host.reaches("10.1.1.200")? {
        return Err(Failure::new("the container is not reached at once"));
    }
    let own = state_is(host, "reached")?.into_iter().find(|source| source.contains(':'));
    let own = own.ok_or_else(|| Failure::new("status names no IPv6 address of the host's device"))?;
    both_ways(host, "one", &["10.1.1.200", "2001:db8:1::a:200"], &[&host.address(), &own])?;
    host.container_pings("one", &other.address())?;
    other.pings("10.1.1.200")?;
    other.pings("2001:db8:1::a:200")?;

    lab.step("what would drop the answers is told");
    host.run(&format!("sysctl -qw net.ipv4.conf.{CARD}.rp_filter=1 && ip link set {CARD} txqueuelen 1001"))?;
    let told = wait::holds("strict rp_filter is told", SOON, || Ok(access(host)?.0 == "failed"));
    told.map_err(|failure| failure.showing(host.look("ipvland status || true").unwrap_or_default()))?;
    host.show("ipvland status | grep '!'")?;
    host.run(&format!("sysctl -qw net.ipv4.conf.{CARD}.rp_filter=2 && ip link set {CARD} txqueuelen 1000"))?;
    wait::holds("loose rp_filter is well", SOON, || Ok(access(host)?.0 == "reached"))?;
    host.pings("10.1.1.200")?;
    host.run(&format!("sysctl -qw net.ipv4.conf.{CARD}.rp_filter=0"))?;

    lab.step("the daemon is killed and starts again: no ping is lost");
    let pings = [
        Pinging::from_host(host, "10.1.1.200")?,
        Pinging::from_host(host, "2001:db8:1::a:200")?,
        Pinging::start(host, "one", &host.address())?,
    ];
    host.kill_ipvland()?;
    std::thread::sleep(Duration::from_secs(2));
    host.start_ipvland(&format!("-d --host-interface={CARD} --mode=l2"))?;
    for pinging in pings {
        pinging.lost_nothing()?;
    }

    lab.step("the card gets another MAC, goes down and up");
    host.run(&format!(
        "ip link set {CARD} down && ip link set {CARD} address 02:00:0a:01:01:99 && ip link set {CARD} up"
    ))?;
    let reached = || Ok(host.reaches("10.1.1.200")? && host.reaches("2001:db8:1::a:200")?);
    wait::holds("the container is reached at the new MAC", SOON, reached)?;
    host.remove_container("one")?;
    host.run("docker network rm net2")?;
    nothing_left(host)
}

/// An address of the network that is the host's alone.
fn set_aside(lab: &Lab, host: &Host) -> Outcome {
    lab.step("mode l2 in a subnet of its own, with an address set aside for the host, and strict rp_filter");
    host.run(&format!("sysctl -qw net.ipv4.conf.{CARD}.rp_filter=1"))?;
    host.run(&format!(
        "docker network create -d ipvland --subnet 10.9.0.0/24 --aux-address host=10.9.0.250 -o mode=l2 {ASK} aside"
    ))?;
    host.container("one", "--net aside --ip 10.9.0.7")?;
    both_ways(host, "one", &["10.9.0.7"], &["10.9.0.250"])?;
    host.run(&format!("sysctl -qw net.ipv4.conf.{CARD}.rp_filter=0"))?;
    host.remove_container("one")?;
    host.run("docker network rm aside")?;
    nothing_left(host)
}

/// A VLAN that is made for the network goes with it, and the device with the VLAN.
fn on_a_vlan(lab: &Lab, host: &Host) -> Outcome {
    lab.step("a VLAN parent, and an internal network in l3");
    host.run(&format!(
        "docker network create -d ipvland --internal --subnet 10.9.1.0/24 --aux-address host=10.9.1.250 \
         -o parent={CARD}.20 -o mode=l3 {ASK} vlan"
    ))?;
    host.container("one", "--net vlan --ip 10.9.1.7")?;
    both_ways(host, "one", &["10.9.1.7"], &["10.9.1.250"])?;
    host.remove_container("one")?;
    host.run("docker network rm vlan")?;
    nothing_left(host)?;
    if host.links()?.iter().any(|link| link.name.contains(".20")) {
        return Err(Failure::new("the VLAN or the device on it was left behind"));
    }
    Ok(())
}

/// What can't be is refused in a sentence.
fn refused(lab: &Lab, host: &Host) -> Outcome {
    lab.step("ipvlan_flag=private and vepa are refused");
    for flag in ["private", "vepa"] {
        let said = host.refused(&format!(
            "docker network create -d ipvland --subnet 10.9.2.0/24 -o mode=l2 -o ipvlan_flag={flag} {ASK} no"
        ))?;
        if !said.contains("ipvland.host_access needs ipvlan_flag=bridge") {
            return Err(Failure::new("the sentence does not say what is needed").showing(said));
        }
    }
    host.run(&format!("docker network create -d ipvland --subnet 10.1.1.0/24 -o mode=l2 {ASK} yes"))?;
    let said = host.refused(
        "docker network create -d ipvland --subnet 10.9.2.0/24 -o mode=l2 -o ipvlan_flag=private no",
    )?;
    if !said.contains("would cut this host off") {
        return Err(Failure::new("the sentence does not say what would happen").showing(said));
    }
    host.run("docker network rm yes")?;
    nothing_left(host)
}

/// Pings containers from the host, and the host from a container.
fn both_ways(host: &Host, container: &str, inside: &[&str], outside: &[&str]) -> Outcome {
    for address in inside {
        host.pings(address)?;
    }
    for address in outside {
        host.container_pings(container, address)?;
    }
    Ok(())
}

/// Waits until the container is reached by both families, and reaches the host.
fn all_reached(host: &Host, when: &str) -> Outcome {
    let what = format!("{} reaches its container {when}", host.name());
    let reached = wait::holds(&what, SOON, || {
        Ok(host.reaches(&host.inside(7))?
            && host.reaches(&host.inside6(7))?
            && host.container_reaches("one", &host.address())?
            && host.container_reaches("one", &host.address6())?)
    });
    let look = "ip -d link; ip addr; ip route; ip -6 route; ipvland status || true";
    reached.map(|_| ()).map_err(|failure| failure.showing(host.look(look).unwrap_or_default()))
}

/// What status says of the one network with host access: its state, and how the host is seen.
fn access(host: &Host) -> Outcome<(String, Vec<String>)> {
    let status = host.ipvland_status()?;
    let access = &status["host_access"][0];
    let sources = access["sources"].as_array().into_iter().flatten();
    let sources = sources.filter_map(|source| source.as_str().map(str::to_owned)).collect();
    Ok((access["state"].as_str().unwrap_or_default().to_owned(), sources))
}

fn state_is(host: &Host, state: &str) -> Outcome<Vec<String>> {
    let mut sources = Vec::new();
    wait::holds("status tells of host access", SOON, || {
        let (now, seen) = access(host)?;
        sources = seen;
        Ok(now == state)
    })
    .map_err(|failure| failure.showing(host.look("ipvland status || true").unwrap_or_default()))?;
    Ok(sources)
}

/// Wants neither our device nor a route to a single address, a moment after the last network went.
fn nothing_left(host: &Host) -> Outcome {
    let gone = wait::holds("the device goes with the last network", Duration::from_secs(2), || {
        let device = host.ipvlans()?.iter().any(|link| link.name.starts_with("ipvh-"));
        let routes = host.look("ip route show proto 214; ip -6 route show proto 214")?;
        Ok(!device && !routes.contains("ipvh-"))
    });
    let shown = host.look("ip -d link; ip route; ip -6 route").unwrap_or_default();
    gone.map(|_| ()).map_err(|failure| failure.showing(shown))
}
