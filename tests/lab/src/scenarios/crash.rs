//! The daemon is killed and Docker restarts while containers talk.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::Host;
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;
use crate::guest::wait;

/// No ping is lost, everything still works afterwards, and nothing is left behind.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts, a container on each, pings both ways");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    let words = format!("{} --mode=l3", fleet.words());
    for host in &fleet.hosts {
        host.start_ipvland(&words)?;
    }
    fleet.start_docker(Restart::Lives)?;
    for host in &fleet.hosts {
        host.run(&format!("docker network create -d ipvland --subnet {} net1", host.prefix()))?;
        host.container("box", &format!("--net net1 --ip {}", host.inside(7)))?;
    }
    fleet.all_routes()?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    let there = Pinging::start(h1, "box", &h2.inside(7))?;
    let back = Pinging::start(h2, "box", &h1.inside(7))?;

    lab.step("the daemon is killed");
    h1.kill_ipvland()?;
    wait::stays("the route is there without the daemon", Duration::from_secs(2), || {
        h1.has_route(&h2.prefix(), &h2.address())
    })?;
    lab.step("the daemon starts again");
    h1.start_ipvland(&words)?;
    fleet.all_routes()?;

    lab.step("Docker restarts");
    h1.stop_docker()?;
    h1.start_docker(Restart::Lives)?;
    lab.step("Docker and the daemon are both killed");
    h2.kill_docker()?;
    h2.kill_ipvland()?;
    h2.start_ipvland(&words)?;
    h2.start_docker(Restart::Lives)?;

    lab.step("no ping was lost");
    for pinging in [there, back] {
        let answers = pinging.lost_nothing()?;
        lab.say(&format!("{} of {} pings were answered", answers.received, answers.sent));
    }

    for host in [h1, h2] {
        still_works(lab, host)?;
    }
    killed_in_the_middle(lab, h1, &words)?;
    take_down(lab, &fleet)
}

/// New containers, connect and disconnect.
fn still_works(lab: &Lab, host: &Host) -> Outcome {
    lab.step(&format!("networks and endpoints still work on {}", host.name()));
    let other = if host.name() == "h1" { "10.1.51.7" } else { "10.1.48.7" };
    let said = host.show(&format!("docker run --rm --net net1 {IMAGE} ping -c 2 -W 2 {other}"))?;
    if !said.contains(" 0% packet loss") {
        return Err(Failure::new("a new container's pings were lost"));
    }
    let second = host.prefix().replacen("10.1.", "10.2.", 1);
    host.run(&format!("docker network create -d ipvland --subnet {second} net2"))?;
    host.container("fresh", "--net net1")?;
    host.run("docker network connect net2 fresh")?;
    host.run("docker exec fresh ip link show eth1")?;
    host.run("docker network disconnect net2 fresh")?;
    host.remove_container("fresh")?;

    // Docker before 28 does not know the interfaces of a container that it restored alive.
    host.run("docker network connect net2 box")?;
    host.run("docker network disconnect net2 box")?;
    host.container_pings("box", other)?;
    host.run("docker restart --time 0 box")?;
    host.run("docker network rm net2")?;
    host.container_pings("box", other)?;
    host.no_orphans()
}

/// The daemon is killed while containers come and go; whatever Docker made of them can be removed.
fn killed_in_the_middle(lab: &Lab, host: &Host, words: &str) -> Outcome {
    lab.step("the daemon is killed while containers start");
    for round in 0..3_u32 {
        let name = format!("hasty{round}");
        host.start(&name, &format!("docker run -d --name {name} --net net1 {IMAGE} sleep 100000"))?;
        let pause = Duration::from_millis(u64::from(400 + 500 * round));
        std::thread::sleep(pause);
        host.kill_ipvland()?;
        host.start_ipvland(words)?;
        // Docker's own tries of a plugin that is away go on for 15 s.
        let code = host.ended(&name, Duration::from_secs(60))?;
        lab.say(&format!("killed after {} ms: docker run gave {code}", pause.as_millis()));
        host.run(&format!("docker rm -f {name}"))?;
        host.no_orphans()?;
    }
    let said = host.show(&format!("docker run --rm --net net1 {IMAGE} ping -c 2 -W 2 10.1.51.7"))?;
    if said.contains(" 0% packet loss") {
        Ok(())
    } else {
        Err(Failure::new("a new container's pings were lost"))
    }
}

/// Everything can be removed, and nothing is left.
fn take_down(lab: &Lab, fleet: &Fleet) -> Outcome {
    lab.step("everything is removed, and nothing is left");
    for host in &fleet.hosts {
        host.remove_container("box")?;
        host.run("docker network rm net1")?;
        host.no_orphans()?;
    }
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    h1.loses_route(&h2.prefix(), AFTER_A_RACE)?;
    h2.loses_route(&h1.prefix(), AFTER_A_RACE)?;
    for host in &fleet.hosts {
        host.ipvland_well()?;
        host.stop_ipvland()?;
    }
    Ok(())
}
