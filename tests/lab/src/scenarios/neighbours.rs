//! What an operator has beside ours survives everything, untouched.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// The operator's gateway, which is on the wire as far as the kernel knows.
const GATEWAY: &str = "10.1.1.200";

/// An operator's routes, ipvlan link and VLAN, through run, crash, restart, networks, leave and stop.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("an operator's own routes, ipvlan link and VLANs");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    h1.run(&format!(
        "ip route add 192.0.2.0/24 via {GATEWAY} && ip route add {} via {GATEWAY} && ip route add 198.51.100.0/24 dev {CARD} && \
         ip -6 route add 2001:db8:ffff::/48 via 2001:db8:1::200 && \
         ip link add link {CARD} name own0 type ipvlan mode l3 && ip addr add 192.0.2.129/25 dev own0 && ip link set own0 up && \
         ip link add link {CARD} name {CARD}.77 type vlan id 77 && ip link set {CARD}.77 up && ip addr add 203.0.113.1/24 dev {CARD}.77",
        h2.prefix()
    ))?;
    let before = theirs(h1)?;
    lab.report.typed("h1", "what is the operator's", &before);

    lab.step("run: a record for a prefix that the operator routes loses");
    h2.start_ipvland(&fleet.words_with_prefix(h2))?;
    let words = fleet.words_with_prefix(h1);
    h1.launch_ipvland(&words)?;
    h2.gets_route(&h1.prefix(), &h1.address(), SOON * 2)?;
    wait::holds("h1 reports the operator's route", SOON, || foreign(h1, &h2.prefix()))?;
    if h1.attempt("ipvland status")?.code == 0 {
        return Err(Failure::new(
            "ipvland status says that all is well though a route could not be installed",
        ));
    }
    same(h1, &before, "run")?;

    lab.step("networks on the same parent, on a VLAN of the operator's, and on one of ours");
    h1.start_docker(Restart::Stops)?;
    h1.run(&format!("docker network create -d ipvland --subnet {} -o parent={CARD} plain", h1.prefix()))?;
    h1.run(&format!("docker network create -d ipvland --subnet 10.2.77.0/24 -o parent={CARD}.77 theirs"))?;
    h1.run(&format!("docker network create -d ipvland --subnet 10.2.20.0/24 -o parent={CARD}.20 ours"))?;
    for network in ["plain", "theirs", "ours"] {
        h1.container(&format!("on-{network}"), &format!("--net {network}"))?;
    }
    if !h1.links()?.iter().any(|link| link.name == format!("{CARD}.20")) {
        return Err(Failure::new("the VLAN parent was not made"));
    }
    same(h1, &before, "networks")?;

    lab.step("crash and restart");
    h1.kill_ipvland()?;
    same(h1, &before, "a crash")?;
    h1.launch_ipvland(&words)?;
    wait::holds("h1 reports the operator's route again", SOON, || foreign(h1, &h2.prefix()))?;
    same(h1, &before, "a restart")?;

    lab.step("the networks are removed: our VLAN goes, the operator's stays");
    h1.run("docker rm -f on-plain on-theirs on-ours")?;
    h1.run("docker network rm plain theirs ours")?;
    wait::holds("our VLAN is gone", Duration::from_secs(5), || {
        Ok(!h1.links()?.iter().any(|link| link.name == format!("{CARD}.20")))
    })?;
    same(h1, &before, "the removal of networks")?;
    if h1.ipvlans()?.iter().any(|link| link.name != "own0") {
        return Err(Failure::new("an ipvlan link was left behind").showing(format!("{:?}", h1.ipvlans()?)));
    }

    lab.step("leave and stop");
    h1.run("ipvland leave")?;
    same(h1, &before, "leave")?;
    h1.stop_ipvland()?;
    same(h1, &before, "stop")?;

    lab.step("when the operator's route goes, ours comes");
    h1.start_ipvland_again(&words, &h2.prefix())?;
    h1.run(&format!("ip route del {} via {GATEWAY}", h2.prefix()))?;
    h1.gets_route(&h2.prefix(), &h2.address(), SOON)?;
    h1.ipvland_well()
}

impl Host {
    /// Starts the daemon where an operator's route keeps it from being well.
    fn start_ipvland_again(&self, words: &str, prefix: &str) -> Outcome {
        self.launch_ipvland(words)?;
        wait::holds("the operator's route is reported", SOON, || foreign(self, prefix)).map(|_| ())
    }
}

/// Whether the daemon says of this prefix that somebody else routes it.
fn foreign(host: &Host, prefix: &str) -> Outcome<bool> {
    let status = host.ipvland_status()?;
    Ok(status["routes"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|route| route["prefix"] == prefix && route["state"] == "foreign"))
}

/// What the operator made, as the kernel tells it; but for its check of a new IPv6 address, which ends by itself.
fn theirs(host: &Host) -> Outcome<String> {
    host.look(&format!(
        "ip -d link show own0 | sed 's/state [A-Z]*//'; ip addr show own0 | grep inet | sed 's/ tentative//'; ip -d link show {CARD}.77 | sed 's/state [A-Z]*//'; ip addr show {CARD}.77 | grep 'inet '; \
         ip route show 192.0.2.0/24; ip route show 10.1.51.0/24; ip route show 198.51.100.0/24; ip route show 203.0.113.0/24; \
         ip -6 route show 2001:db8:ffff::/48"
    ))
}

fn same(host: &Host, before: &str, after: &str) -> Outcome {
    let now = theirs(host)?;
    if now == before {
        return Ok(());
    }
    Err(Failure::new(format!("what is the operator's changed with {after}"))
        .showing(format!("before:\n{before}\nnow:\n{now}")))
}
