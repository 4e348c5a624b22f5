//! Docker restarts again and again while its containers live.

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::Host;
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;

/// How often Docker restarts.
const TIMES: u32 = 20;

/// No ping is lost in 20 restarts, and what Docker forgot in them keeps nothing from working.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts with live-restore, a container on each, pings both ways");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&format!("{} --mode=l3", fleet.words()))?;
    }
    fleet.start_docker(Restart::Lives)?;
    for host in &fleet.hosts {
        host.run(&format!("docker network create -d ipvland --subnet {} net1", host.prefix()))?;
        host.container("box", &format!("--net net1 --ip {}", host.inside(7)))?;
    }
    fleet.all_routes()?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    let second = "10.2.48.0/24";
    h1.run(&format!("docker network create -d ipvland --subnet {second} net2"))?;
    h2.gets_route(second, &h1.address(), AFTER_A_RACE)?;
    let there = Pinging::start(h1, "box", &h2.inside(7))?;
    let back = Pinging::start(h2, "box", &h1.inside(7))?;

    for time in 1..=TIMES {
        lab.step(&format!("Docker restarts, {time} of {TIMES}"));
        h1.stop_docker()?;
        h1.launch_docker(Restart::Lives)?;
        h1.docker_answers()?;
    }
    lab.step("no ping was lost");
    for pinging in [there, back] {
        let answers = pinging.lost_nothing()?;
        lab.say(&format!("{} of {} pings were answered", answers.received, answers.sent));
    }

    lab.step("the running container is connected to a second network, and leaves the first");
    h1.run("docker network connect --ip 10.2.48.7 net2 box")?;
    h2.container_pings("box", "10.2.48.7")?;
    h1.run("docker network disconnect net1 box")?;
    interfaces(h1, "10.2.48.7")?;
    lab.step("its address is free for another container");
    h1.container("heir", &format!("--net net1 --ip {}", h1.inside(7)))?;
    h2.container_pings("box", &h1.inside(7))?;
    h1.remove_container("heir")?;
    lab.step("it comes back to the first, and leaves the second");
    h1.run(&format!("docker network connect --ip {} net1 box", h1.inside(7)))?;
    h1.container_pings("box", &h2.inside(7))?;
    h2.container_pings("box", &h1.inside(7))?;
    h1.run("docker network disconnect net2 box")?;
    interfaces(h1, &h1.inside(7))?;

    lab.step("everything is removed, and nothing is left");
    h1.run("docker restart --time 0 box")?;
    h1.container_pings("box", &h2.inside(7))?;
    h1.run("docker network rm net2")?;
    for host in &fleet.hosts {
        host.remove_container("box")?;
        host.run("docker network rm net1")?;
        host.no_orphans()?;
        host.ipvland_well()?;
    }
    h2.loses_route(&h1.prefix(), AFTER_A_RACE)?;
    h2.loses_route(second, AFTER_A_RACE).map(|_| ())
}

/// Wants one interface besides `lo` in the container `box`, with this address.
fn interfaces(host: &Host, address: &str) -> Outcome {
    let process = host.look("docker inspect --format '{{.State.Pid}}' box")?;
    let said = host.look(&format!("nsenter -t {} -n ip -o -4 addr show scope global", process.trim()))?;
    if said.lines().count() == 1 && said.contains(&format!(" {address}/")) {
        return Ok(());
    }
    Err(Failure::new(format!("the container has not just {address}")).showing(said))
}
