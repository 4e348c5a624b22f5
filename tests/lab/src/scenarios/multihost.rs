//! A fleet on any store: the same steps for every kind, with another config file.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::git_server::GitServer;
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;
use crate::guest::stores::{Etcd, Redis, SharedDirectory, StoreServer};
use crate::guest::wait;

/// How soon a change must be on every host: two of them may have written at once, on a slow machine.
const SOON: Duration = Duration::from_secs(25);

/// How soon a host must hear of what changed while its store was away: it is asked less often then, and a kernel may have
/// a call that waits for the server.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(75);

pub(super) fn git(lab: &mut Lab) -> Outcome {
    let server = GitServer::new(lab)?;
    run(lab, &server)
}

pub(super) fn etcd(lab: &mut Lab) -> Outcome {
    let server = Etcd::new(lab)?;
    run(lab, &server)
}

pub(super) fn filesystem(lab: &mut Lab) -> Outcome {
    let server = SharedDirectory::new(lab)?;
    run(lab, &server)
}

pub(super) fn redis(lab: &mut Lab) -> Outcome {
    let server = Redis::new(lab)?;
    run(lab, &server)
}

fn run(lab: &mut Lab, server: &dyn StoreServer) -> Outcome {
    lab.step("two hosts with the same store in their config files");
    let h1 = join(lab, server, "h1", 48)?;
    let h2 = join(lab, server, "h2", 51)?;
    h1.show("cat /etc/ipvland/ipvland.toml")?;

    lab.step("a container on each, and they reach each other");
    h1.launch_docker(Restart::Stops)?;
    h2.start_docker(Restart::Stops)?;
    h1.docker_answers()?;
    h1.image()?;
    for host in [&h1, &h2] {
        host.run(&format!("docker network create -d ipvland --subnet {} net1", host.prefix()))?;
        host.container("box", &format!("--net net1 --ip {}", host.inside(7)))?;
    }
    know_each_other(&[&h1, &h2], SOON)?;
    h1.container_pings("box", &h2.inside(7))?;
    h2.container_pings("box", &h1.inside(7))?;
    h1.show("ipvland store show")?;
    let pinging = Pinging::start(&h1, "box", &h2.inside(7))?;

    lab.step("the store goes away; a daemon is killed and starts again meanwhile");
    server.stop()?;
    wait::holds("h1 says that its store is away", SOON * 2, || {
        Ok(h1.ipvland_status()?["store"]["away"].is_string())
    })?;
    h2.kill_ipvland()?;
    h2.launch_ipvland("--config /etc/ipvland/ipvland.toml")?;
    wait::stays("the routes are there without the store", Duration::from_secs(5), || {
        Ok(h1.has_route(&h2.prefix(), &h2.address())? && h2.has_route(&h1.prefix(), &h1.address())?)
    })?;

    lab.step("the store comes back, and a third host joins");
    server.start()?;
    let h3 = join(lab, server, "h3", 77)?;
    let all = [&h1, &h2, &h3];
    know_each_other(&all, AFTER_AN_OUTAGE)?;
    for host in all {
        host.ipvland_well()?;
    }
    let answers = pinging.lost_nothing()?;
    lab.say(&format!("{} of {} pings were answered", answers.received, answers.sent));

    lab.step("every host leaves, and nothing is left in the store");
    for host in [&h1, &h2] {
        host.remove_container("box")?;
        host.run("docker network rm net1")?;
        host.no_orphans()?;
    }
    for host in all {
        host.run("ipvland leave")?;
    }
    for host in all {
        for other in all {
            host.loses_route(&other.prefix(), SOON)?;
        }
    }
    let shown = h1.show("ipvland store show -o json")?;
    if !shown.contains("\"records\": []") {
        return Err(Failure::new("records are left in the store").showing(shown));
    }
    for host in all {
        host.stop_ipvland()?;
    }
    Ok(())
}

/// Makes a host that publishes its prefix, and starts its daemon.
fn join(lab: &mut Lab, server: &dyn StoreServer, name: &str, number: u8) -> Outcome<Host> {
    let host = lab.host(name, number)?;
    server.prepare(&host)?;
    let text = format!(
        "[host]\ninterface = \"{CARD}\"\n\n[network]\nmode = \"l3\"\nsubnet = \"{}\"\n\n{}",
        host.prefix(),
        server.tables()
    );
    host.configures("ipvland.toml", &text)?;
    host.launch_ipvland("--config /etc/ipvland/ipvland.toml")?;
    Ok(host)
}

/// Waits until every host has a route to every other's prefix.
fn know_each_other(hosts: &[&Host], limit: Duration) -> Outcome {
    for host in hosts {
        for other in hosts.iter().filter(|other| other.name() != host.name()) {
            host.gets_route(&other.prefix(), &other.address(), limit)?;
        }
    }
    Ok(())
}
