//! The Git server is away for a while, and a host reboots meanwhile.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;
use crate::guest::wait;

/// Containers notice nothing; a rebooted host has its routes from disk; what changed meanwhile arrives afterwards.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("three hosts, a container on each");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51), ("h3", 77)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words_with_prefix(host))?;
    }
    fleet.start_docker(Restart::Stops)?;
    for host in &fleet.hosts {
        host.run(&format!("docker network create -d ipvland --subnet {} net1", host.prefix()))?;
        host.container("box", &format!("--net net1 --ip {}", host.inside(7)))?;
    }
    fleet.all_routes()?;
    let [h1, h2, h3] = &*fleet.hosts else { return Err(Failure::new("a fleet of three has three hosts")) };
    let pinging = Pinging::start(h1, "box", &h3.inside(7))?;

    lab.step("the Git server stops");
    fleet.server.stop()?;
    wait::holds("h1 says that its store is away", SOON * 2, || {
        Ok(h1.ipvland_status()?["store"]["away"].is_string())
    })?;
    if h1.attempt("ipvland status")?.code == 0 {
        return Err(Failure::new("ipvland status says that all is well while the store is away"));
    }
    wait::stays("the routes are there without the store", SOON, || {
        Ok(h1.has_route(&h2.prefix(), &h2.address())? && h1.has_route(&h3.prefix(), &h3.address())?)
    })?;

    lab.step("a host reboots while the server is away, and has its routes from disk");
    h2.power_cut()?;
    h2.power_on()?;
    h2.launch_ipvland(&fleet.words_with_prefix(h2))?;
    for other in [h1, h3] {
        let took = h2.gets_route(&other.prefix(), &other.address(), SOON)?;
        lab.say(&format!("h2 has the route to {} after {:.1} s", other.prefix(), took.as_secs_f32()));
    }
    h2.start_docker(Restart::Stops)?;
    h2.run("docker start box")?;
    h2.container_pings("box", &h1.inside(7))?;
    h3.container_pings("box", &h2.inside(7))?;

    lab.step("a host joins while the server is away");
    let h4 = lab.host("h4", 99)?;
    h4.launch_ipvland(&fleet.words_with_prefix(&h4))?;
    wait::stays("nobody knows of it yet", Duration::from_secs(2), || {
        Ok(h1.routes_to(&h4.prefix())?.is_empty())
    })?;

    lab.step("the server comes back, and what changed meanwhile arrives");
    fleet.server.start()?;
    // The first look after an outage may come late: a store that is away is asked less often.
    let limit = Duration::from_secs(60);
    for host in &fleet.hosts {
        let took = host.gets_route(&h4.prefix(), &h4.address(), limit)?;
        lab.say(&format!("{} learned of h4 after {:.1} s", host.name(), took.as_secs_f32()));
        h4.gets_route(&host.prefix(), &host.address(), limit)?;
        host.ipvland_well()?;
    }
    h4.ipvland_well()?;

    lab.step("no ping was lost between the hosts that stayed up");
    let answers = pinging.lost_nothing()?;
    lab.say(&format!("{} of {} pings were answered", answers.received, answers.sent));
    Ok(())
}
