//! A project of docker-compose on each of two hosts: three services on two networks.

use crate::failure::{Failure, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::fleet::{AFTER_A_RACE, Fleet};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;

/// Services find each other by name on their host, and by address across the hosts; nothing is left after `down`.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts with Docker and ipvland, the same project on each");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words())?;
    }
    fleet.start_docker(Restart::Stops)?;
    let [h1, h2] = &*fleet.hosts else { return Err(Failure::new("a fleet of two has two hosts")) };
    for host in [h1, h2] {
        host.run("mkdir -p /srv/shop")?;
        let file = project(host);
        host.run(&format!("cat >/srv/shop/docker-compose.yml <<'END'\n{file}END"))?;
        lab.report.typed(host.name(), "cat docker-compose.yml", &file);
        host.show("docker-compose --version")?;
        compose(host, "up -d")?;
    }

    lab.step("the networks and their labels are those of docker-compose");
    for host in [h1, h2] {
        let said = host.show("docker network ls --filter label=com.docker.compose.project=shop")?;
        if !["shop_front", "shop_back"].iter().all(|name| said.contains(name)) {
            return Err(Failure::new("docker-compose made other networks").showing(said));
        }
    }

    lab.step("services resolve each other by name on their own host, each on the networks that it is on");
    for host in [h1, h2] {
        for (service, name) in
            [("web", "app"), ("app", "web"), ("app", "db"), ("db", "app"), ("app", "store")]
        {
            pings(host, service, name)?;
        }
        let said = host.attempt("cd /srv/shop && docker-compose exec -T web ping -c 1 -W 2 db")?;
        if said.code == 0 {
            return Err(Failure::new("web finds db, with which it shares no network").showing(said.output));
        }
    }

    lab.step("they talk across the hosts by address");
    for (host, other) in [(h1, h2), (h2, h1)] {
        for net in [2, 3] {
            host.gets_route(&subnet(other, net), &other.address(), AFTER_A_RACE)?;
        }
        pings(host, "web", &address(other, 2, 7))?;
        pings(host, "db", &address(other, 3, 9))?;
        pings(host, "app", &address(other, 3, 9))?;
        pings(host, "web", &address(other, 3, 9))?;
    }

    lab.step("a service is made anew, scaled and restarted");
    compose(h1, "up -d --force-recreate web")?;
    compose(h1, "restart -t 0 app")?;
    pings(h1, "web", "app")?;
    pings(h1, "web", &address(h2, 2, 7))?;
    compose(h1, "up -d --scale worker=2")?;
    pings(h1, "worker", "app")?;

    lab.step("down, and nothing is left");
    for host in [h1, h2] {
        compose(host, "down -t 0")?;
        let left = host.look("docker ps -aq; docker network ls -q --filter driver=ipvland")?;
        if !left.trim().is_empty() {
            return Err(Failure::new("containers or networks were left").showing(left));
        }
        host.no_orphans()?;
        host.ipvland_well()?;
    }
    for (host, other) in [(h1, h2), (h2, h1)] {
        for net in [2, 3] {
            host.loses_route(&subnet(other, net), AFTER_A_RACE)?;
        }
    }
    Ok(())
}

/// The project of a host, as its operator writes it.
fn project(host: &Host) -> String {
    let (front, back) = (subnet(host, 2), subnet(host, 3));
    let (web, db) = (address(host, 2, 7), address(host, 3, 9));
    format!(
        "services:
  web:
    image: {IMAGE}
    command: sleep 100000
    networks:
      front:
        ipv4_address: {web}
  app:
    image: {IMAGE}
    command: sleep 100000
    depends_on: [db]
    networks: [front, back]
  db:
    image: {IMAGE}
    command: sleep 100000
    networks:
      back:
        ipv4_address: {db}
        aliases: [store]
  worker:
    image: {IMAGE}
    command: sleep 100000
    networks: [back]
networks:
  front:
    driver: ipvland
    driver_opts: {{parent: {CARD}, ipvlan_mode: l3}}
    ipam: {{config: [{{subnet: {front}}}]}}
  back:
    driver: ipvland
    driver_opts: {{parent: {CARD}, ipvlan_mode: l3}}
    ipam: {{config: [{{subnet: {back}}}]}}
"
    )
}

fn subnet(host: &Host, net: u8) -> String {
    host.prefix().replacen("10.1.", &format!("10.{net}."), 1)
}

fn address(host: &Host, net: u8, last: u8) -> String {
    host.inside(last).replacen("10.1.", &format!("10.{net}."), 1)
}

fn compose(host: &Host, words: &str) -> Outcome {
    host.show(&format!("cd /srv/shop && docker-compose {words} 2>&1")).map(|_| ())
}

/// Wants an answer to pings from a service.
fn pings(host: &Host, service: &str, whom: &str) -> Outcome {
    let said =
        host.run(&format!("cd /srv/shop && docker-compose exec -T {service} ping -c 2 -W 3 {whom}"))?;
    if said.contains(" 0% packet loss") {
        return Ok(());
    }
    Err(Failure::new(format!("{service} on {} does not reach {whom}", host.name())).showing(said))
}
