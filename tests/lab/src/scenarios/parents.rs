//! One network and one config file on hosts whose cards have other names.

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::CARD;
use crate::guest::lab::Lab;

/// What the second host's card is called.
const OTHER: &str = "lan7";

/// The same words make the same network on both; each finds its own interface.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step(&format!("two hosts, whose cards are called {CARD} and {OTHER}, with one config file"));
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    h2.run(&format!(
        "ip link set {CARD} down && ip link set {CARD} name {OTHER} && ip link set {OTHER} up && ip addr replace {}/64 dev \
         {OTHER} nodad",
        h2.address6()
    ))?;
    let config = format!(
        "[host]\ninterface = \"10.1.1.0/24\"\n[network]\nmode = \"l3\"\npool = \"10.2.0.0/16\"\n[store.git]\nrepo = \
         \"{}\"\ninterval = \"3s\"\n",
        fleet.server.url()
    );
    for host in [h1, h2] {
        host.configures("ipvland.toml", &config)?;
        host.start_ipvland("-d")?;
    }
    for (host, card) in [(h1, CARD), (h2, OTHER)] {
        let interface = host.ipvland_status()?["host"]["interface"].clone();
        if interface != card {
            return Err(Failure::new(format!("{} took {interface} and not {card}", host.name())));
        }
    }
    fleet.start_docker(Restart::Stops)?;

    lab.step("a VLAN on the interface that has an address in a subnet, made on both");
    for (host, last) in [(h1, 7), (h2, 8)] {
        host.show("docker network create -d ipvland --subnet 10.20.0.0/24 -o parent=10.1.1.0/24.20 -o mode=l2 lab20")?;
        host.container("one", &format!("--net lab20 --ip 10.20.0.{last}"))?;
    }
    for (host, card) in [(h1, CARD), (h2, OTHER)] {
        let shown = host.look(&format!("ip -d link show {card}.20"))?;
        if !shown.contains("vlan protocol 802.1Q id 20") {
            return Err(Failure::new(format!("{card}.20 is no VLAN on {}", host.name())).showing(shown));
        }
    }
    h1.container_pings("one", "10.20.0.8")?;
    h2.container_pings("one", "10.20.0.7")?;

    lab.step("a pattern: one fits on the second host, and none on the first, which says what there is");
    let create = "docker network create -d ipvland --subnet 10.21.0.0/24 -o parent=lan* -o mode=l3 -o ipvland.name=b lan";
    h2.show(create)?;
    let said = h1.refused(create)?;
    if !said.contains(&format!("no interface of this host has a name like lan* (there are: {CARD}")) {
        return Err(Failure::new("the sentence does not say what there is"));
    }
    h1.gets_route("10.21.0.0/24", &h2.address(), AFTER_A_RACE)?;

    lab.step("all of it goes again");
    for host in [h1, h2] {
        host.remove_container("one")?;
        host.run("docker network rm lab20")?;
        host.no_orphans()?;
        let left = host.look("ip -o link show type vlan")?;
        if !left.trim().is_empty() {
            return Err(Failure::new("a VLAN stays").showing(left));
        }
    }
    Ok(())
}
