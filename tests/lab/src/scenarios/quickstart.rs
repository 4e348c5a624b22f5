//! The quickstart of the README: two Docker hosts, a Git repository, containers that reach each other.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::git_server::{PASSWORD, USER};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// What the demo shows.
pub(super) fn demo(lab: &mut Lab) -> Outcome {
    tour(lab).map(|_| ())
}

/// The demo, a third host with a YAML file, and everything taken down again.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    let mut fleet = tour(lab)?;
    third_host(lab, &mut fleet)?;
    history(lab, &fleet)?;
    take_down(lab, &fleet)
}

fn tour(lab: &mut Lab) -> Outcome<Fleet> {
    lab.step("A Git server with a password, and two hosts on one wire");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    lab.say(&format!("The repository is empty: {}", fleet.server.bare_url()));
    for host in [h1, h2] {
        lab.say(&format!(
            "{} has {} on {CARD}; its containers get {}",
            host.name(),
            host.address(),
            host.prefix()
        ));
    }

    lab.step("ipvland on h1, from the command line");
    h1.start_ipvland(&format!(
        "-d --host-interface={CARD} --mode=l3 --ipvlan-subnet={} --git-multihost=true --repo={}",
        h1.prefix(),
        fleet.server.url()
    ))?;

    lab.step("ipvland on h2, from a file");
    h2.configures("ipvland.toml", &toml(h2, &fleet.server.bare_url()))?;
    h2.show("cat /etc/ipvland/ipvland.toml")?;
    h2.start_ipvland("--config /etc/ipvland/ipvland.toml")?;

    lab.step("Docker on both hosts, and a network on each");
    fleet.start_docker(Restart::Stops)?;
    lab.say(&format!("Docker {}", h1.look("docker version --format '{{.Server.Version}}'")?.trim()));
    for host in [h1, h2] {
        host.show(&format!("docker network create -d ipvland --subnet {} net1", host.prefix()))?;
        host.show(&format!(
            "docker run -d --name {}-box --net net1 --ip {} {IMAGE} sleep 100000",
            host.name(),
            host.inside(7)
        ))?;
    }

    lab.step("What the hosts told each other through Git");
    fleet.all_routes()?;
    let log =
        fleet.server.host.show("git -C /srv/net/overlay.git log --stat --format='%h %an <%ae>%n  %s'")?;
    for host in [h1, h2] {
        let wanted = format!("{} publishes {}", host.name(), host.prefix());
        let author = format!("ipvland on {} <ipvland@{}>", host.name(), host.address());
        if !log.contains(&wanted) || !log.contains(&author) {
            return Err(Failure::new(format!("the log lacks \"{wanted}\" by {author}")));
        }
    }
    h1.show("ip route")?;
    h2.show("ip route")?;

    lab.step("Containers reach each other across the hosts");
    h1.container_pings("h1-box", &h2.inside(7))?;
    h2.container_pings("h2-box", &h1.inside(7))?;
    let once = h1.show(&format!("docker run --rm --net net1 {IMAGE} ping -c 3 {}", h2.inside(7)))?;
    if !once.contains(" 0% packet loss") {
        return Err(Failure::new("pings of a new container were lost"));
    }
    h1.show("ipvland status")?;
    Ok(fleet)
}

fn third_host(lab: &mut Lab, fleet: &mut Fleet) -> Outcome {
    lab.step("a third host, from a YAML file");
    let h3 = lab.host("h3", 77)?;
    h3.configures("ipvland.yaml", &yaml(&h3, &fleet.server.url()))?;
    h3.start_ipvland("--config /etc/ipvland/ipvland.yaml")?;
    h3.start_docker(Restart::Stops)?;
    h3.run(&format!("docker network create -d ipvland --subnet {} net1", h3.prefix()))?;
    h3.container("h3-box", &format!("--net net1 --ip {}", h3.inside(7)))?;
    fleet.hosts.push(h3);
    // h1 and h2 look only as often as the default says.
    for host in &fleet.hosts {
        for other in fleet.hosts.iter().filter(|other| other.name() != host.name()) {
            host.gets_route(&other.prefix(), &other.address(), Duration::from_secs(15))?;
        }
    }
    fleet.hosts[2].container_pings("h3-box", &fleet.hosts[0].inside(7))?;
    fleet.hosts[1].container_pings("h2-box", &fleet.hosts[2].inside(7))?;

    lab.step("Docker restarts there, which by default stops its containers, and they start again");
    let h3 = &fleet.hosts[2];
    h3.stop_docker()?;
    h3.no_orphans()?;
    h3.start_docker(Restart::Stops)?;
    h3.run("docker start h3-box")?;
    h3.container_pings("h3-box", &fleet.hosts[0].inside(7))
}

/// One commit a host, one parent a commit, and the records as the design writes them.
fn history(lab: &Lab, fleet: &Fleet) -> Outcome {
    lab.step("the history is a line, and each record says its host's prefix");
    let merges = fleet.server.git("log --merges --oneline")?;
    if !merges.is_empty() {
        return Err(Failure::new("the history has merges").showing(merges));
    }
    fleet.server.git("fsck --strict")?;
    for host in &fleet.hosts {
        let record = fleet.server.record(&host.address())?.unwrap_or_default();
        if !record.contains(&host.prefix()) || record.contains(PASSWORD) {
            return Err(Failure::new(format!("the record of {} is not what it should be", host.name()))
                .showing(record));
        }
    }
    Ok(())
}

/// After the last container and network nothing is left; after `leave`, no record and no route.
fn take_down(lab: &Lab, fleet: &Fleet) -> Outcome {
    lab.step("containers and networks are removed, and nothing is left");
    for host in &fleet.hosts {
        host.remove_container(&format!("{}-box", host.name()))?;
        host.run("docker network rm net1")?;
        host.no_orphans()?;
    }
    lab.step("every host leaves");
    for host in &fleet.hosts {
        host.run("ipvland leave")?;
        let gone = format!("the record of {} is gone", host.name());
        wait::holds(&gone, SOON, || Ok(fleet.server.record(&host.address())?.is_none()))?;
    }
    for host in &fleet.hosts {
        for other in &fleet.hosts {
            host.loses_route(&other.prefix(), Duration::from_secs(15))?;
        }
        host.stop_ipvland()?;
    }
    Ok(())
}

fn toml(host: &Host, url: &str) -> String {
    let url = url.replacen("://", &format!("://{USER}:{PASSWORD}@"), 1);
    format!(
        "[host]\ninterface = \"{CARD}\"\n\n[network]\nmode = \"l3\"\nsubnet = \"{}\"\n\n[store]\nkind = \"git\"\n\n[store.git]\nrepo = \"{url}\"\n",
        host.prefix()
    )
}

fn yaml(host: &Host, url: &str) -> String {
    format!(
        "host:\n  interface: {CARD}\nnetwork:\n  mode: l3\n  subnet: {}\nstore:\n  kind: git\n  git:\n    repo: {url}\n    interval: 3s\n",
        host.prefix()
    )
}
