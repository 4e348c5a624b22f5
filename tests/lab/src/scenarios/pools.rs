//! Twenty hosts lease prefixes from a pool that has room for sixteen.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::guest::git_server::GitServer;
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

const HOSTS: u8 = 20;

/// What all hosts lease from: sixteen times a /24.
const POOL: &str = "10.2.0.0/20";

/// How long the fleet may take until every host has a prefix or a sentence.
const LIMIT: Duration = Duration::from_secs(120);

/// Sixteen get a prefix each and four a sentence; a prefix is kept over a restart, and given back by who leaves.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step(&format!(
        "a Git server and {HOSTS} hosts with one config file, which names a pool and no subnet"
    ));
    let server = GitServer::new(lab)?;
    let hosts: Vec<Host> = (0..HOSTS).map(|n| lab.host(&format!("n{n}"), 100 + n)).collect::<Outcome<_>>()?;
    let config = format!(
        "[host]\ninterface = \"{CARD}\"\n[network]\nmode = \"l3\"\npool = \"{POOL}\"\nprefix_length = 24\n[store.git]\n\
         repo = \"{}\"\ninterval = \"3s\"\n",
        server.url()
    );
    for host in &hosts {
        host.configures("ipvland.toml", &config)?;
    }

    lab.step("all of them start at once");
    for host in &hosts {
        host.start("ipvland", "ipvland run -d")?;
    }
    let (mut have, mut lack) = (Vec::new(), Vec::new());
    for host in &hosts {
        let what = format!("{} has a prefix or a sentence", host.name());
        let (prefix, why) = wait::until(&what, LIMIT, || {
            goes_on(host)?;
            let status = if host.attempt("test -S /run/docker/plugins/ipvland.sock")?.code == 0 {
                host.ipvland_status()?
            } else {
                return Ok(None);
            };
            let (prefix, why) = (prefix(&status), status["published"]["lacking"].as_str().map(str::to_owned));
            Ok((prefix.is_some() || why.is_some()).then_some((prefix, why)))
        })?;
        match prefix {
            Some(prefix) => have.push((host, prefix)),
            None => lack.push((host, why.unwrap_or_default())),
        }
    }
    let prefixes: BTreeSet<&String> = have.iter().map(|(_, prefix)| prefix).collect();
    if prefixes.len() != 16 || have.len() != 16 || lack.len() != 4 {
        return Err(Failure::new(format!("{} hosts have {} prefixes", have.len(), prefixes.len())));
    }
    let (poor, why) = &lack[0];
    lab.say(&format!("16 hosts have a /24 each; {} has none: {why}", poor.name()));
    if !why.contains("no /24 is free in 10.2.0.0/20") || poor.attempt("ipvland status")?.code == 0 {
        return Err(Failure::new("who gets none is not told").showing(why));
    }
    poor.show("ipvland status | head -3")?;

    lab.step("every host routes to the sixteen");
    for host in &hosts {
        for (other, prefix) in have.iter().filter(|(other, _)| other.name() != host.name()) {
            host.gets_route(prefix, &other.address(), LIMIT)?;
        }
    }

    lab.step("a restart keeps the prefix, a kill too");
    let (first, kept) = &have[0];
    first.stop_ipvland()?;
    first.start_ipvland("-d")?;
    let (second, also) = &have[1];
    second.kill_ipvland()?;
    second.start_ipvland("-d")?;
    for (host, prefix) in [(first, kept), (second, also)] {
        let now = self::prefix(&host.ipvland_status()?);
        if now.as_ref() != Some(prefix) {
            return Err(Failure::new(format!("{} had {prefix} and now {now:?}", host.name())));
        }
    }

    lab.step("one host leaves, and one of the four gets its prefix");
    let (leaver, given_back) = &have[2];
    leaver.show("ipvland leave")?;
    let heir = wait::until("somebody has it", LIMIT, || {
        for (host, _) in &lack {
            if prefix(&host.ipvland_status()?).as_ref() == Some(given_back) {
                return Ok(Some(host));
            }
        }
        Ok(None)
    })?;
    lab.say(&format!("{} has {given_back} now", heir.name()));
    heir.ipvland_well()?;
    first.gets_route(given_back, &heir.address(), LIMIT)?;
    if !server.record(&leaver.address())?.unwrap_or_default().is_empty() {
        return Err(Failure::new("the record of the host that left is still there"));
    }

    lab.step("an operator pins a prefix for it beforehand, outside of the pool");
    leaver.stop_ipvland()?;
    let pin = format!("{config}\n").replace("mode = \"l3\"", "mode = \"l3\"\nsubnet = \"10.3.9.0/24\"");
    leaver.configures("ipvland.toml", &pin)?;
    leaver.start_ipvland("-d")?;
    first.gets_route("10.3.9.0/24", &leaver.address(), LIMIT)?;
    let records: String =
        hosts.iter().filter_map(|host| server.record(&host.address()).ok().flatten()).collect();
    let count = (0..16).filter(|n| records.matches(&format!("\"10.2.{n}.0/24\"")).count() == 1).count();
    if count != 16 {
        return Err(
            Failure::new(format!("{count} of the 16 prefixes stand in the store once")).showing(records)
        );
    }
    Ok(())
}

fn goes_on(host: &Host) -> Outcome {
    if host.runs("ipvland")? {
        return Ok(());
    }
    Err(Failure::new(format!("ipvland ended on {}", host.name())))
}

/// The prefix that a host has leased and published.
fn prefix(status: &Value) -> Option<String> {
    let published = &status["published"];
    let prefix = published["prefixes"]["host"][0].as_str()?.to_owned();
    (published["state"] == "published").then_some(prefix)
}
