//! What the lab tries: one file a subject, one function a scenario.

mod change;
mod compose;
mod crash;
mod docker_run;
mod etcd;
mod fifty;
mod flap;
mod ground;
mod host_access;
mod hostile;
mod ipam;
mod kernel;
mod modes;
mod multihost;
mod names;
mod neighbours;
mod outage;
mod parents;
mod parity;
mod pools;
mod ports;
mod quickstart;
mod restarts;
mod secrets;
mod shell;
mod swap;

use std::time::Duration;

use crate::cargo::{self, Program};
use crate::failure::Outcome;
use crate::guest::lab::Lab;
use crate::rootfs::Release;

/// One subject, and where it is tried.
pub(crate) struct Scenario {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// One line for a person.
    pub(crate) about: &'static str,
    /// The root filesystems that it runs on.
    pub(crate) roots: &'static [Release],
    /// What it needs of the kernel.
    pub(crate) needs: Needs,
    /// The programs that it runs besides `ipvland`.
    pub(crate) programs: &'static [&'static Program],
    /// The most time that it may take, boot included.
    pub(crate) limit: Duration,
    /// What it does and asserts, inside.
    pub(crate) run: fn(&mut Lab) -> Outcome,
}

/// What a scenario needs of the kernel that its hosts run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing but namespaces, which the machine's own kernel has.
    Nothing,
    /// ipvlan links.
    Ipvlan,
    /// ipvlan links, and a kernel of its own that serves NFS, whatever the machine's has.
    Nfs,
}

const TRIXIE: &[Release] = &[Release::Trixie];
const BOTH: &[Release] = Release::ALL;

/// Every scenario, in the order in which `cargo lab test` starts them.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "ground",
        about: "the lab itself: Docker's own ipvlan driver and routes made by hand",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(180),
        run: ground::run,
    },
    Scenario {
        name: "kernel",
        about: "the workspace's own tests that need a kernel with ipvlan",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[&cargo::KERNEL_TESTS],
        limit: Duration::from_secs(180),
        run: kernel::run,
    },
    Scenario {
        name: "modes",
        about: "l2, l3 and l3s, IPv4 and IPv6, MTU; several networks a parent; a second mode refused",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(420),
        run: modes::run,
    },
    Scenario {
        name: "host-access",
        about: "a host reaches its own containers and they it, in l2, l3 and l3s, IPv4 and IPv6; nothing is left behind",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(600),
        run: host_access::run,
    },
    Scenario {
        name: "parity",
        about: "docs/parity.md, row by row, with Docker's own ipvlan driver and with ours",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(1800),
        run: parity::run,
    },
    Scenario {
        name: "quickstart",
        about: "the demo, a third host with a YAML file, and everything removed again",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(300),
        run: quickstart::run,
    },
    Scenario {
        name: "ipam",
        about: "addresses by ipvland itself: a prefix or blocks for each host, --ip, restarts, none twice",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(480),
        run: ipam::run,
    },
    Scenario {
        name: "crash",
        about: "kill -9 of the daemon and restarts of Docker: no lost ping, nothing left behind",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(420),
        run: crash::run,
    },
    Scenario {
        name: "restarts",
        about: "Docker restarts 20 times with live-restore: no lost ping; connect and disconnect work afterwards",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(900),
        run: restarts::run,
    },
    Scenario {
        name: "compose",
        about: "a project of docker-compose on each of two hosts: names, addresses across, nothing left after down",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(600),
        run: compose::run,
    },
    Scenario {
        name: "outage",
        about: "the Git server is away, a host reboots meanwhile, and what changed arrives afterwards",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(420),
        run: outage::run,
    },
    Scenario {
        name: "neighbours",
        about: "an operator's routes, ipvlan link and VLANs survive everything untouched",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(300),
        run: neighbours::run,
    },
    Scenario {
        name: "secrets",
        about: "the password is in no log, status, config output, record or state",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(300),
        run: secrets::run,
    },
    Scenario {
        name: "change",
        about: "hosts join and leave; an operator edits a record in Git and reverts the edit",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(180),
        run: change::run,
    },
    Scenario {
        name: "flap",
        about: "the card goes down and up, routes are deleted by hand, an address changes",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(180),
        run: flap::run,
    },
    Scenario {
        name: "hostile",
        about: "1000 malformed or hostile records among 20 good ones",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(240),
        run: hostile::run,
    },
    Scenario {
        name: "fifty",
        about: "50 hosts publish at once through HTTP: none lost, one line of history",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(420),
        run: fifty::run,
    },
    Scenario {
        name: "parents",
        about: "one network and one config file on hosts whose interfaces have other names",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(300),
        run: parents::run,
    },
    Scenario {
        name: "ports",
        about: "what published ports and the host's firewall mean in l2, l3 and l3s",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(300),
        run: ports::run,
    },
    Scenario {
        name: "pools",
        about: "20 hosts lease a prefix each from a pool with room for 16; one leaves, the next gets its prefix",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(420),
        run: pools::run,
    },
    Scenario {
        name: "names",
        about: "names of containers across hosts by DNS: as they come, move and go; a burst of starts is a commit or two",
        roots: BOTH,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(900),
        run: names::run,
    },
    Scenario {
        name: "etcd",
        about: "the etcd store's own tests on this Debian's etcd: three members, TLS, members killed and stopped",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[&cargo::ETCD_CONFORMANCE, &cargo::ETCD_REAL],
        limit: Duration::from_secs(600),
        run: etcd::run,
    },
    Scenario {
        name: "multihost-git",
        about: "a fleet on a Git server: containers across hosts, the store away, a host more and one less",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(420),
        run: multihost::git,
    },
    Scenario {
        name: "multihost-etcd",
        about: "the same on three members of etcd",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[],
        limit: Duration::from_secs(420),
        run: multihost::etcd,
    },
    Scenario {
        name: "multihost-filesystem",
        about: "the same on a directory of an NFS server",
        roots: TRIXIE,
        needs: Needs::Nfs,
        programs: &[],
        limit: Duration::from_secs(420),
        run: multihost::filesystem,
    },
    Scenario {
        name: "multihost-redis",
        about: "the same on the store that was written outside",
        roots: TRIXIE,
        needs: Needs::Ipvlan,
        programs: &[&cargo::OUTSIDE],
        limit: Duration::from_secs(420),
        run: multihost::redis,
    },
    Scenario {
        name: "swap",
        about: "a running fleet moves from Git to etcd, host after host, and loses no route",
        roots: TRIXIE,
        needs: Needs::Nothing,
        programs: &[],
        limit: Duration::from_secs(240),
        run: swap::run,
    },
];

/// What `cargo lab demo` shows; the scenario `quickstart` asserts the same, and more.
pub(crate) const DEMO: Scenario = Scenario {
    name: "demo",
    about: "two Docker hosts, a Git server, containers that reach each other",
    roots: TRIXIE,
    needs: Needs::Ipvlan,
    programs: &[],
    limit: Duration::from_secs(300),
    run: quickstart::demo,
};

/// What `cargo lab bench docker` times.
pub(crate) const DOCKER_RUN: Scenario = Scenario {
    name: "docker-run",
    about: "docker run on our driver and on the built-in one, in turn",
    roots: BOTH,
    needs: Needs::Ipvlan,
    programs: &[],
    limit: Duration::from_secs(900),
    run: docker_run::run,
};

/// What `cargo lab shell` does.
pub(crate) const SHELL: Scenario = Scenario {
    name: "shell",
    about: "the demo, and then whatever is typed",
    limit: Duration::from_secs(24 * 3600),
    run: shell::run,
    ..DEMO
};

/// Finds a scenario by its name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().chain([&DEMO, &SHELL, &DOCKER_RUN]).find(|scenario| scenario.name == name)
}
