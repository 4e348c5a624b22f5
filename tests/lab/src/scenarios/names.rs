//! Names of containers across hosts: off by default, and as docs/networking.md says where they are on.

use std::time::Duration;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::fleet::Fleet;
use crate::guest::git_server::REPOSITORY;
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// Where the responder listens on each host, as the host's `/etc/resolv.conf` says.
const SERVER: &str = "127.0.0.5";

/// The least time between two commits of a host's names, in seconds.
const INTERVAL: u64 = 10;

/// How soon a name must be known on another host: Docker is asked, the interval passes, the store is looked at.
const SOON: Duration = Duration::from_secs(INTERVAL + 20);

/// How long to look that nothing happens.
const A_WHILE: Duration = Duration::from_secs(6);

/// A container finds another host's by its name and its aliases, as they come, move and go.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step(
        "two hosts whose resolv.conf names a loopback server, and a third with a DNS server of other names",
    );
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51), ("up", 9)])?;
    let [h1, h2, up] = &*fleet.hosts else { return Err(Failure::new("a fleet of three has three hosts")) };
    for host in [h1, h2] {
        // A file of its own: the hosts share /etc.
        host.run(&format!(
            "echo nameserver {SERVER} >/run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf"
        ))?;
        host.start_ipvland(&fleet.words_with_prefix(host))?;
    }
    up.configures(
        "ipvland.toml",
        "[store]\nkind = \"memory\"\n[names]\nenabled = true\nupstream = \"192.0.2.53\"\n",
    )?;
    up.launch_ipvland(&format!("-d --host-interface={CARD}"))?;
    fleet.start_docker(Restart::Lives)?;
    other_names(up)?;
    for host in [h1, h2] {
        host.run(&format!(
            "docker network create -d ipvland --subnet {} -o parent={CARD} -o ipvlan_mode=l3 -o \
             ipvland.host_access=true net1",
            host.prefix()
        ))?;
    }
    fleet_routes(h1, h2)?;

    lab.step("off by default: a container that starts is no commit, and nobody knows it elsewhere");
    let before = commits(&fleet)?;
    h1.container("box", "--net net1")?;
    h2.container("db", &format!("--net net1 --ip {}", h2.inside(7)))?;
    wait::stays("no commit", A_WHILE, || Ok(commits(&fleet)? == before))?;
    if looks_up(h1, "db.net1")?.contains(&h2.inside(7)) {
        return Err(Failure::new("names are off, and a name was found"));
    }
    h2.remove_container("db")?;

    lab.step("names are switched on; a port that is taken is told, and no end");
    h1.start("taker", &format!("busybox httpd -f -p {SERVER}:53"))?;
    for host in [h1, h2] {
        host.stop_ipvland()?;
        let listen = format!("[\"{SERVER}\", \"{}\"]", host.address());
        let config = format!(
            "[names]\nenabled = true\nlisten = {listen}\nupstream = \"{}\"\ninterval = \"{INTERVAL}s\"\n",
            up.address()
        );
        host.configures("ipvland.toml", &config)?;
        host.launch_ipvland(&fleet.words_with_prefix(host))?;
    }
    let problem = format!("names are not answered on {SERVER}:53: Address already in use");
    wait::holds("the taken port is told", SOON, || {
        Ok(h1.attempt("ipvland status")?.output.contains(&problem))
    })?;
    h1.signal("taker", "KILL")?;
    h1.ipvland_well()?;
    h2.ipvland_well()?;

    lab.step("a container on the other host is found by its name and its aliases");
    h2.container("db", &format!("--net net1 --network-alias sql --ip {}", h2.inside(7)))?;
    finds(h1, "db.net1", &h2.inside(7))?;
    h1.container_pings("box", "db.net1")?;
    h1.container_pings("box", "sql.net1")?;
    h1.show("docker exec box nslookup db.net1; docker exec box cat /etc/resolv.conf; true")?;
    finds(h2, "box.net1", "10.1.48.")?;
    fleet
        .server
        .host
        .show(&format!("git -C {REPOSITORY} show main:endpoints/{}.names.json", h2.address()))?;

    lab.step("all other names are found as before, by the server of other names");
    finds(h1, "www.example", "10.1.1.200")?;
    let said = looks_up(h1, "nobody.example")?;
    if !said.contains("SERVFAIL") {
        return Err(Failure::new("a name that nobody knows is not as its server says").showing(said));
    }

    lab.step(
        "a container that is told its host's address as its DNS server asks from inside, by host access",
    );
    h1.container("via", &format!("--net net1 --dns {}", h1.address()))?;
    h1.container_pings("via", "db.net1")?;
    let said = h1.show("docker exec via nslookup www.example; true")?;
    if !said.contains("10.1.1.200") {
        return Err(Failure::new("a name of others is not found by way of the host's address").showing(said));
    }

    lab.step("a name follows its container to another address, and goes with it");
    h2.run(&format!(
        "docker network disconnect net1 db && docker network connect --alias sql --ip {} net1 db",
        h2.inside(99)
    ))?;
    finds(h1, "db.net1", &h2.inside(99))?;
    h1.container_pings("box", "sql.net1")?;
    h2.run("docker rename db store")?;
    finds(h1, "store.net1", &h2.inside(99))?;
    h2.run("docker rename store db")?;
    finds(h1, "db.net1", &h2.inside(99))?;
    h2.run("docker stop -t 1 db")?;
    loses(h1, "db.net1", &h2.inside(99))?;
    h2.run("docker start db")?;
    finds(h1, "sql.net1", &h2.inside(99))?;

    lab.step("Docker is away on the other host: its containers go on, and so do their names");
    h2.kill_docker()?;
    wait::holds("the status says so", SOON, || {
        Ok(h2.attempt("ipvland status")?.output.contains("Docker's API on"))
    })?;
    wait::stays("the name", A_WHILE, || Ok(looks_up(h1, "db.net1")?.contains(&h2.inside(99))))?;
    h2.start_docker(Restart::Lives)?;
    h2.ipvland_well()?;

    lab.step("a burst: ten containers start at once, and are a commit or two");
    let before = commits(&fleet)?;
    let starts: Vec<_> =
        (0..10).map(|n| format!("docker run -d --name n{n} --net net1 {IMAGE} sleep 100000 & ")).collect();
    h2.run(&format!("{}wait", starts.concat()))?;
    for n in 0..10 {
        finds(h1, &format!("n{n}.net1"), "10.1.51.")?;
    }
    let burst = commits(&fleet)? - before;
    lab.say(&format!("ten starts were {burst} commits"));
    fleet.server.host.show(&format!("git -C {REPOSITORY} log --oneline -n {}", burst + 1))?;
    if !(1..=3).contains(&burst) {
        return Err(Failure::new(format!("ten starts were {burst} commits")));
    }

    lab.step("a hostile file is refused by itself");
    let hostile = |names: &str| {
        format!(
            "printf '{{\"version\": 1, \"host\": \"10.1.1.66\", \"id\": \"x\", \"names\": {{\"net1\": {names}}}}}' >endpoints/10.1.1.66.names.json"
        )
    };
    let theirs = format!("{{\"db\": [\"{}\"], \"evil\": [\"10.9.9.9\"]}}", h1.inside(66));
    fleet.server.operator("a bad name", &hostile(&theirs))?;
    finds(h1, "evil.net1", "10.9.9.9")?;
    let said = h1.show("ipvland status | sed -n '/^names/,$p'")?;
    let wanted = format!(
        "10.1.1.66.names.json: db.net1: {} is in {}, which {} has",
        h1.inside(66),
        h1.prefix(),
        h1.address()
    );
    if !said.contains(&wanted) || looks_up(h1, "db.net1")?.contains(&h1.inside(66)) {
        return Err(Failure::new("a name of another's address is not refused").showing(said));
    }
    fleet.server.operator("a broken file", "echo '<<<' >endpoints/10.1.1.66.names.json")?;
    loses(h1, "evil.net1", "10.9.9.9")?;
    h1.ipvland_well()?;
    let said = h1.show(&format!("ipvland store show --repo {}", fleet.server.url()))?;
    if !said.contains("names (3)") || !said.contains("10.1.1.66.names.json  10.1.1.66  -") {
        return Err(Failure::new("the store's names are not shown").showing(said));
    }
    fleet.server.operator("gone", "git rm -q endpoints/10.1.1.66.names.json")?;

    lab.step("names go with the host that leaves, and where they are switched off");
    h2.show("ipvland leave")?;
    // Started before it had seen the commit, it would hold the routes of a host that is missing from the store.
    h1.loses_route(&h2.prefix(), SOON)?;
    h1.stop_ipvland()?;
    h1.configures("ipvland.toml", "")?;
    h1.start_ipvland(&fleet.words_with_prefix(h1))?;
    wait::holds("no names are in the store", SOON, || {
        Ok(fleet.server.records()? == [format!("{}.json", h1.address())])
    })?;
    Ok(())
}

/// A DNS server of other names: an ipvland of another fleet, whose network is the segment that all hosts are on.
fn other_names(up: &Host) -> Outcome {
    up.run(&format!(
        "docker network create -d ipvland --subnet 10.1.1.0/24 --gateway 10.1.1.254 -o parent={CARD} -o ipvlan_mode=l2 example"
    ))?;
    up.container("www", "--net example --ip 10.1.1.200")
}

fn fleet_routes(h1: &Host, h2: &Host) -> Outcome {
    h1.gets_route(&h2.prefix(), &h2.address(), SOON)?;
    h2.gets_route(&h1.prefix(), &h1.address(), SOON)?;
    Ok(())
}

fn commits(fleet: &Fleet) -> Outcome<u32> {
    let count = fleet.server.git("rev-list --count main")?;
    count.trim().parse().or_fail("counting commits")
}

/// What a lookup by Docker's resolver in the host's container `box` or `db` says.
fn looks_up(host: &Host, name: &str) -> Outcome<String> {
    let container = if host.name() == "h1" { "box" } else { "db" };
    Ok(host.attempt(&format!("docker exec {container} nslookup {name}"))?.output)
}

fn finds(host: &Host, name: &str, address: &str) -> Outcome {
    let mut last = String::new();
    let found = wait::holds(&format!("{name} is {address} on {}", host.name()), SOON, || {
        last = looks_up(host, name)?;
        Ok(last.contains(address))
    });
    found.map(|_| ()).map_err(|failure| failure.showing(last))
}

fn loses(host: &Host, name: &str, address: &str) -> Outcome {
    let mut last = String::new();
    let lost = wait::holds(&format!("{name} is {address} no more on {}", host.name()), SOON, || {
        last = looks_up(host, name)?;
        Ok(!last.contains(address))
    });
    lost.map(|_| ()).map_err(|failure| failure.showing(last))
}
