//! The host with Docker, the machine beside it, and words for what rows do there.

use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;

use super::row::Driver;
use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// The address that names outside are given by the machine beside the host.
pub(super) const OUTSIDE: &str = "203.0.113.53";

/// A host with Docker and ipvland, which this is, and a machine beside it.
pub(super) struct Ground {
    host: Host,
    /// The machine on the same wire: a gateway, a name server, somebody to ping.
    pub(super) beside: Host,
    /// Whether the engine is of 20.10.
    pub(super) old: bool,
}

impl Deref for Ground {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Ground {
    /// Makes both; the machine beside answers any name with [`OUTSIDE`].
    pub(super) fn new(lab: &mut Lab) -> Outcome<Self> {
        let beside = lab.host("beside", 99)?;
        let host = lab.host("h1", 48)?;
        let ground = Self { host, beside, old: false };
        ground.name_server(&ground.beside, "10.1.1.99")?;
        ground.start_ipvland(&ground.words())?;
        ground.start_docker(Restart::Lives)?;
        let version = ground.look("docker version --format '{{.Server.Version}}'")?;
        lab.say(&format!("Docker {}", version.trim()));
        Ok(Self { old: version.starts_with("20.10."), ..ground })
    }

    /// What the daemon is started with.
    pub(super) fn words(&self) -> String {
        format!("-d --host-interface={CARD} --store=memory")
    }

    /// Starts a name server on a host that answers any name with [`OUTSIDE`].
    pub(super) fn name_server(&self, host: &Host, address: &str) -> Outcome {
        host.start(
            "dnsmasq",
            &format!(
                "dnsmasq --conf-file=/dev/null --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= \
                 --bind-interfaces --listen-address={address} --address=/#/{OUTSIDE}"
            ),
        )
    }

    /// Makes a network called `net`.
    pub(super) fn net(&self, driver: Driver, arguments: &str) -> Outcome {
        self.net_called(driver, "net", arguments)
    }

    /// Makes a network.
    pub(super) fn net_called(&self, driver: Driver, name: &str, arguments: &str) -> Outcome {
        self.run(&format!("docker network create -d {driver} {arguments} {name}")).map(|_| ())
    }

    /// Wants that a network is refused with these words.
    pub(super) fn net_refused(&self, driver: Driver, arguments: &str, words: &str) -> Outcome {
        let said = self.refused(&format!("docker network create -d {driver} {arguments} refused"))?;
        contains(&said, words)
    }

    /// Runs a command in a container of its own and gives what it said.
    pub(super) fn once(&self, arguments: &str, command: &str) -> Outcome<String> {
        self.run(&format!("docker run --rm {arguments} {IMAGE} {command}"))
    }

    /// Runs a command in a container.
    pub(super) fn exec(&self, container: &str, command: &str) -> Outcome<String> {
        self.run(&format!("docker exec {container} {command}"))
    }

    /// What a container has of an interface, as `ip -d -j link` and `ip -j addr` write it together.
    pub(super) fn inside(&self, container: &str, interface: &str) -> Outcome<Value> {
        let process = self.look(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}"))?;
        let line = format!("nsenter -t {} -n ip -d -j addr show dev {interface}", process.trim());
        let said = self.look(&line)?;
        let links: Value = serde_json::from_str(&said).or_fail("reading a container's link")?;
        Ok(links[0].clone())
    }

    /// What `ip -d link` says of an interface of a container.
    pub(super) fn shown(&self, container: &str, interface: &str) -> Outcome<String> {
        let process = self.look(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}"))?;
        self.look(&format!("nsenter -t {} -n ip -d link show dev {interface}", process.trim()))
    }

    /// The names of a container's interfaces, sorted.
    pub(super) fn interfaces(&self, container: &str) -> Outcome<Vec<String>> {
        let process = self.look(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}"))?;
        let said = self.look(&format!("nsenter -t {} -n ip -j link show", process.trim()))?;
        let links: Value = serde_json::from_str(&said).or_fail("reading a container's links")?;
        let mut names: Vec<_> = links
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|l| l["ifname"].as_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A container's routes of both families, without those of the kernel's own that tell nothing.
    pub(super) fn routes_of(&self, container: &str) -> Outcome<String> {
        let four = self.exec(container, "ip route")?;
        let six = self.exec(container, "ip -6 route")?;
        Ok(four + &six)
    }

    /// Wants an answer to a ping from a container.
    pub(super) fn pings(&self, container: &str, address: &str) -> Outcome {
        wait::holds(&format!("{container} reaches {address}"), Duration::from_secs(10), || {
            self.container_reaches(container, address)
        })
        .map(|_| ())
    }

    /// Wants no answer to a ping from a container.
    pub(super) fn does_not_ping(&self, container: &str, address: &str) -> Outcome {
        if self.container_reaches(container, address)? {
            return Err(Failure::new(format!("{container} reaches {address}, which it must not")));
        }
        Ok(())
    }

    /// Whether the host has a link of this name.
    pub(super) fn has_link(&self, name: &str) -> Outcome<bool> {
        Ok(self.host.links()?.iter().any(|link| link.name == name))
    }

    /// Wants that the host has, or has not, a link of this name.
    pub(super) fn wants_link(&self, name: &str, wanted: bool) -> Outcome {
        if self.has_link(name)? == wanted {
            return Ok(());
        }
        Err(Failure::new(format!("the link {name} is {}", if wanted { "missing" } else { "there" })))
    }

    /// The parent of a network, where that is a dummy that was made for it.
    pub(super) fn dummy_of(&self, network: &str) -> Outcome<Option<String>> {
        let id = self.look(&format!("docker network inspect --format '{{{{.Id}}}}' {network}"))?;
        let short: String = id.trim().chars().take(12).collect();
        let links = self.host.links()?;
        let dummy = links.into_iter().find(|link| link.kind == "dummy" && link.name.ends_with(&short));
        Ok(dummy.map(|link| link.name))
    }

    /// Names and kinds of the links in the host's namespace, but for what Docker keeps for itself.
    pub(super) fn links(&self) -> Outcome<Vec<String>> {
        let mut links: Vec<_> = self
            .host
            .links()?
            .into_iter()
            .filter(|link| link.name != "docker_gwbridge" && link.name != "docker0")
            .map(|link| format!("{} ({})", link.name, link.kind))
            .collect();
        links.sort_unstable();
        Ok(links)
    }

    /// Removes all containers and networks, and what a row gave to the machine beside.
    pub(super) fn clean(&self) -> Outcome {
        self.run(
            "test -z \"$(docker ps -aq)\" || docker rm -f $(docker ps -aq); docker network prune -f; \
             docker network ls --format '{{.Name}} {{.Driver}}'",
        )?;
        let left = self.look("docker network ls --format '{{.Driver}}'")?;
        if left.contains("ipvlan") {
            return Err(Failure::new("a network can't be removed").showing(left));
        }
        Ok(())
    }
}

/// Wants some words in what was said.
pub(super) fn contains(said: &str, words: &str) -> Outcome {
    if said.contains(words) {
        return Ok(());
    }
    Err(Failure::new(format!("\"{words}\" was not said")).showing(said))
}

/// Wants that words are not in what was said.
pub(super) fn lacks(said: &str, words: &str) -> Outcome {
    if !said.contains(words) {
        return Ok(());
    }
    Err(Failure::new(format!("\"{words}\" was said")).showing(said))
}
