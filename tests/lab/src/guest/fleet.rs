//! A Git server and hosts with Docker and ipvland: what most scenarios begin with.

use std::time::Duration;

use super::docker::Restart;
use super::git_server::GitServer;
use super::host::{CARD, Host};
use super::lab::Lab;
use crate::failure::Outcome;

/// How often the hosts of a fleet look into the repository, in seconds.
const INTERVAL: u64 = 3;

/// How soon a change must be on every host: one interval, and time for the work on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(INTERVAL + 4);

/// How soon what two hosts publish at once must be on every host: one of them lost the race and tried again first.
pub(crate) const AFTER_A_RACE: Duration = SOON.saturating_mul(3);

/// A Git server and a few hosts.
pub(crate) struct Fleet {
    /// The server, at 10.1.1.1.
    pub(crate) server: GitServer,
    /// The hosts, in the order in which they were named.
    pub(crate) hosts: Vec<Host>,
}

impl Fleet {
    /// Makes the server and the hosts; nothing runs on the hosts yet.
    ///
    /// # Errors
    /// Where a host or the server does not come up.
    pub(crate) fn new(lab: &mut Lab, hosts: &[(&str, u8)]) -> Outcome<Self> {
        let server = GitServer::new(lab)?;
        let hosts = hosts.iter().map(|(name, number)| lab.host(name, *number)).collect::<Outcome<_>>()?;
        Ok(Self { server, hosts })
    }

    /// What every host of a fleet gets behind `ipvland run`; a scenario adds more.
    pub(crate) fn words(&self) -> String {
        format!("-d --host-interface={CARD} --repo={} --poll-interval={INTERVAL}s", self.server.url())
    }

    /// [`Fleet::words`] for a host that publishes its prefix at once, in mode L3.
    pub(crate) fn words_with_prefix(&self, host: &Host) -> String {
        format!("{} --mode=l3 --ipvlan-subnet={}", self.words(), host.prefix())
    }

    /// Starts Docker on all hosts at once and waits for them.
    ///
    /// # Errors
    /// Where one does not come up.
    pub(crate) fn start_docker(&self, restart: Restart) -> Outcome {
        for host in &self.hosts {
            host.launch_docker(restart)?;
        }
        for host in &self.hosts {
            host.docker_answers()?;
            host.image()?;
        }
        Ok(())
    }

    /// Waits until every host has a route to every other host's prefix.
    ///
    /// # Errors
    /// Names the first host and the prefix that is missing.
    pub(crate) fn all_routes(&self) -> Outcome {
        for host in &self.hosts {
            for other in self.hosts.iter().filter(|other| other.name() != host.name()) {
                host.gets_route(&other.prefix(), &other.address(), AFTER_A_RACE)?;
            }
        }
        Ok(())
    }
}
