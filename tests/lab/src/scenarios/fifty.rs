//! Fifty hosts publish at once into one repository behind HTTP.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::guest::git_server::GitServer;
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

const HOSTS: u8 = 50;

/// How long the fleet may take until every host knows every other.
const LIMIT: Duration = Duration::from_secs(240);

/// Fifty records, none lost, in one line of history; every host has the routes to the others.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step(&format!("a Git server and {HOSTS} hosts"));
    let server = GitServer::new(lab)?;
    let hosts: Vec<Host> = (0..HOSTS).map(|n| lab.host(&format!("n{n}"), 100 + n)).collect::<Outcome<_>>()?;

    lab.step("all of them start at once");
    let begun = Instant::now();
    let words = format!("-d --host-interface={CARD} --mode=l3 --poll-interval=5s --repo={}", server.url());
    for host in &hosts {
        host.start("ipvland", &format!("ipvland run {words} --ipvlan-subnet={}", host.prefix()))?;
    }
    wait::until("every record is in the repository", LIMIT, || {
        for host in &hosts {
            if !host.runs("ipvland")? {
                return Err(Failure::new(format!("ipvland ended on {}", host.name())));
            }
        }
        Ok((server.records()?.len() == usize::from(HOSTS)).then_some(()))
    })
    .map_err(|failure| failure.showing(server.git("ls-tree main:endpoints").unwrap_or_default()))?;
    lab.say(&format!("{HOSTS} records after {:.1} s", begun.elapsed().as_secs_f32()));

    lab.step("none was lost, and the history is a line");
    for host in &hosts {
        let record = server.record(&host.address())?.unwrap_or_default();
        if !record.contains(&host.prefix()) {
            return Err(
                Failure::new(format!("the record of {} lacks its prefix", host.name())).showing(record)
            );
        }
    }
    server.git("fsck --strict")?;
    let merges = server.git("rev-list --merges main")?;
    let removed = server.git("log --diff-filter=DM --name-only --format=%s main -- endpoints")?;
    if !merges.is_empty() || !removed.is_empty() {
        return Err(Failure::new("the history has merges, or commits that changed another's record")
            .showing(merges)
            .showing(removed));
    }

    lab.step("every host has a route to every other");
    for host in &hosts {
        let what = format!("{} has a route to every other", host.name());
        let lacks = |host: &Host| -> Outcome<Vec<String>> {
            let routes = host.routes()?;
            let there = |other: &Host| {
                routes
                    .iter()
                    .any(|route| route.to == other.prefix() && route.via.as_ref() == Some(&other.address()))
            };
            let others = hosts.iter().filter(|other| other.name() != host.name());
            Ok(others.filter(|other| !there(other)).map(Host::prefix).collect())
        };
        wait::holds(&what, LIMIT.saturating_sub(begun.elapsed()), || Ok(lacks(host)?.is_empty()))
            .map_err(|failure| failure.showing(format!("it lacks {:?}", lacks(host))))?;
    }
    lab.say(&format!("all routes everywhere after {:.1} s", begun.elapsed().as_secs_f32()));
    for host in &hosts {
        host.ipvland_well()?;
        host.stop_ipvland()?;
    }
    Ok(())
}
