//! A running fleet moves from Git to etcd, host after host, and loses no route.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::git_server::GitServer;
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::stores::{Etcd, StoreServer};
use crate::guest::wait;

const SOON: Duration = Duration::from_secs(25);
const CONFIG: &str = "--config /etc/ipvland/ipvland.toml";
const COPY: &str = "cd /etc/ipvland && ipvland store copy --from old.toml --to new.toml";
/// A prefix that a host gets while the fleet is split.
const MORE: &str = "10.2.77.0/24";

/// The steps of the README, with every host's kernel asked to tell of each route that goes.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("three hosts on Git");
    let git = GitServer::at(lab, "git", 2)?;
    let etcd = Etcd::new(lab)?;
    let hosts = [lab.host("h1", 48)?, lab.host("h2", 51)?, lab.host("h3", 77)?];
    for host in &hosts {
        host.configures("ipvland.toml", &config(&[&host.prefix()], &git))?;
        host.start_ipvland(CONFIG)?;
    }
    let h3 = &hosts[2];
    hosts[0].configures("old.toml", &git.tables())?;
    hosts[0].configures("new.toml", &etcd.tables())?;
    all_routes(&hosts)?;
    for host in &hosts {
        host.start("monitor", "ip -o monitor route")?;
    }

    lab.step("the records are copied, while the fleet works on");
    hosts[0].show(COPY)?;
    hosts[0].show("cd /etc/ipvland && ipvland store diff --from old.toml --to new.toml")?;

    lab.step("h1 moves");
    moves(&hosts[0], &etcd)?;
    all_routes(&hosts)?;

    lab.step("h3, still on Git, gets another prefix, and the copy is repeated");
    h3.stop_ipvland()?;
    h3.configures("ipvland.toml", &config(&[&h3.prefix(), MORE], &git))?;
    h3.start_ipvland(CONFIG)?;
    hosts[1].gets_route(MORE, &h3.address(), SOON)?;
    hosts[0].show(COPY)?;
    hosts[0].gets_route(MORE, &h3.address(), SOON)?;

    lab.step("h2 moves");
    moves(&hosts[1], &etcd)?;
    all_routes(&hosts)?;

    lab.step("h3 moves");
    h3.stop_ipvland()?;
    h3.configures("ipvland.toml", &config(&[&h3.prefix(), MORE], &etcd))?;
    h3.start_ipvland(CONFIG)?;
    all_routes(&hosts)?;

    lab.step("Git goes, and nobody misses it");
    git.stop()?;
    hosts[0].show("ipvland store show")?;
    wait::stays("all routes are there", Duration::from_secs(5), || {
        Ok(hosts[0].has_route(&hosts[1].prefix(), &hosts[1].address())?
            && hosts[1].has_route(&hosts[2].prefix(), &hosts[2].address())?)
    })?;
    for host in &hosts {
        host.ipvland_well()?;
        let log = host.log("monitor");
        if log.contains("Deleted") || log.is_empty() && host.name() != "h3" {
            return Err(Failure::new(format!("{} lost a route, or its kernel told nothing", host.name()))
                .showing(log));
        }
    }
    Ok(())
}

fn moves(host: &Host, to: &dyn StoreServer) -> Outcome {
    host.stop_ipvland()?;
    host.configures("ipvland.toml", &config(&[&host.prefix()], to))?;
    host.start_ipvland(CONFIG)
}

fn config(subnets: &[&str], server: &dyn StoreServer) -> String {
    format!(
        "[host]\ninterface = \"{CARD}\"\n\n[network]\nmode = \"l3\"\nsubnet = {subnets:?}\n\n{}",
        server.tables()
    )
}

fn all_routes(hosts: &[Host]) -> Outcome {
    for host in hosts {
        for other in hosts.iter().filter(|other| other.name() != host.name()) {
            host.gets_route(&other.prefix(), &other.address(), SOON)?;
        }
    }
    Ok(())
}
