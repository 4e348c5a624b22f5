//! Hosts join and leave, and an operator edits the routing table of the fleet in Git.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// A third host joins and leaves; its prefix is edited by hand, and the edit is reverted.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts");
    let mut fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.start_ipvland(&fleet.words_with_prefix(host))?;
    }
    fleet.all_routes()?;

    lab.step("a third host joins");
    let h3 = lab.host("h3", 77)?;
    h3.launch_ipvland(&fleet.words_with_prefix(&h3))?;
    wait::holds("h3's record is there", SOON, || Ok(fleet.server.record(&h3.address())?.is_some()))?;
    told(
        lab,
        "was on the others",
        fleet.hosts.iter().map(|host| host.gets_route(&h3.prefix(), &h3.address(), SOON)),
    )?;
    fleet.hosts.push(h3.clone());
    fleet.all_routes()?;

    second_machine(lab, &fleet, &h3)?;

    lab.step("an operator edits its prefix in Git");
    let edit = "sed -i s,10.1.77.0/24,10.1.177.0/24, endpoints/10.1.1.77.json";
    fleet.server.operator("h3 moves to 10.1.177.0/24", edit)?;
    let others = &fleet.hosts[..2];
    told(lab, "changed", others.iter().map(|host| host.gets_route("10.1.177.0/24", &h3.address(), SOON)))?;
    told(lab, "lost the old", others.iter().map(|host| host.loses_route(&h3.prefix(), SOON)))?;
    // The host itself keeps an operator's edit: it says so and does not fight.
    wait::stays("the operator's edit is in the store", SOON, || {
        Ok(fleet.server.record(&h3.address())?.is_some_and(|record| record.contains("10.1.177.0/24")))
    })?;

    lab.step("the operator reverts the edit");
    fleet
        .server
        .operator("nothing more", "git revert --no-edit $(git log -1 --format=%H --author=operator)")?;
    told(lab, "changed back", others.iter().map(|host| host.gets_route(&h3.prefix(), &h3.address(), SOON)))?;
    told(lab, "lost the edited", others.iter().map(|host| host.loses_route("10.1.177.0/24", SOON)))?;
    for host in &fleet.hosts {
        host.ipvland_well()?;
    }

    lab.step("the third host leaves");
    h3.show("ipvland leave")?;
    if fleet.server.record(&h3.address())?.is_some() {
        return Err(Failure::new("ipvland leave came back, and the record is still there"));
    }
    told(lab, "was gone", others.iter().map(|host| host.loses_route(&h3.prefix(), SOON)))?;
    for other in others {
        h3.loses_route(&other.prefix(), SOON)?;
    }
    let log = fleet.server.git("log --format='%an: %s'")?;
    lab.report.typed("git", "git log --format='%an: %s'", &log);
    fleet.hosts.pop();
    fleet.all_routes()
}

fn told(lab: &Lab, what: &str, took: impl Iterator<Item = Outcome<Duration>>) -> Outcome {
    for took in took {
        lab.say(&format!("{what} after {:.1} s", took?.as_secs_f32()));
    }
    Ok(())
}

/// A machine that claims another's address publishes nothing and says why.
fn second_machine(lab: &mut Lab, fleet: &Fleet, first: &Host) -> Outcome {
    lab.step("a second machine with that address is refused, and says so");
    let twin = lab.host("twin", 78)?;
    let before = fleet.server.record(&first.address())?;
    twin.configures(
        "ipvland.toml",
        &format!(
            "[host]\ninterface = \"{CARD}\"\naddress = \"{}\"\n[network]\nmode = \"l3\"\nsubnet = \"{}\"\n[store.git]\nrepo = \"{}\"\n",
            first.address(),
            twin.prefix(),
            fleet.server.url()
        ),
    )?;
    twin.launch_ipvland("--config /etc/ipvland/ipvland.toml")?;
    wait::holds("the second machine says that it is refused", SOON, || {
        let published = &twin.ipvland_status()?["published"];
        let reason = published["reason"].as_str().unwrap_or_default();
        Ok(published["state"] == "refused" && reason.contains(&first.address()))
    })
    .map_err(|failure| failure.showing(twin.look("ipvland status || true").unwrap_or_default()))?;
    if fleet.server.record(&first.address())? != before {
        return Err(Failure::new("the second machine changed the record of the first"));
    }
    twin.show("ipvland status || true")?;
    twin.stop_ipvland()
}
