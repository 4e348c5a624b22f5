//! Restarts of Docker, of the daemon, and of the host.

use super::endpoints::has_interfaces;
use super::ground::{Ground, contains};
use super::row::{Driver, Row};
use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::host::CARD;
use crate::guest::ping::Pinging;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "docker-restarts",
        behaviour: "Docker restarts, which by default stops its containers",
        builtin: "networks are there, and containers start again",
        ours: "the same",
        check: docker_restarts,
    },
    Row {
        name: "live-restore",
        behaviour: "Docker restarts with `live-restore`",
        builtin: "no ping of a running container is lost",
        ours: "the same",
        check: live_restore,
    },
    Row {
        name: "live-restore-with-gateway",
        behaviour: "`connect` and `disconnect` after that, in L2 with a gateway",
        builtin: "yes",
        ours: "yes",
        check: live_restore_with_gateway,
    },
    Row {
        name: "live-restore-connect",
        behaviour: "`connect` after that, in L3 or `--internal`, on Docker up to 27",
        builtin: "fails: \"renaming interface … to eth0: file exists\"",
        ours: "yes; the interface is `eth10`, after another restart `eth20`",
        check: live_restore_connect,
    },
    Row {
        name: "live-restore-disconnect",
        behaviour: "`disconnect` after that, in L3 or `--internal`, on Docker up to 27",
        builtin: "the interface stays in the container, with an address that Docker gives to others",
        ours: "the interface is removed",
        check: live_restore_disconnect,
    },
    Row {
        name: "daemon-restarts",
        behaviour: "the driver restarts",
        builtin: "only with Docker",
        ours: "no ping is lost, killed or stopped; networks and containers go on",
        check: daemon_restarts,
    },
    Row {
        name: "host-restarts",
        behaviour: "the host loses power",
        builtin: "VLANs and dummies are made again when Docker starts, and containers start",
        ours: "the same, when a container starts",
        check: host_restarts,
    },
];

const L2: &str = "--subnet 10.6.0.0/24 -o parent=eth2";
const L3: &str = "--subnet 10.6.0.0/24 -o parent=eth2 -o ipvlan_mode=l3";

/// Stops Docker and starts it again, with its containers alive.
fn restart_alive(ground: &Ground) -> Outcome {
    ground.stop_docker()?;
    ground.start_docker(Restart::Lives)
}

fn docker_restarts(ground: &Ground, driver: Driver) -> Outcome {
    ground.stop_docker()?;
    ground.start_docker(Restart::Stops)?;
    let outcome = stopped_and_started(ground, driver);
    ground.clean()?;
    restart_alive(ground)?;
    outcome
}

fn stopped_and_started(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("{L2}.20"))?;
    ground.net_called(driver, "inner", "--internal --subnet 10.6.1.0/24")?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    ground.container("inside", "--net inner --ip 10.6.1.7")?;
    ground.stop_docker()?;
    ground.start_docker(Restart::Stops)?;
    ground.run("docker start box inside")?;
    ground.container("one", "--net net")?;
    ground.container("two", "--net inner")?;
    ground.pings("one", "10.6.0.7")?;
    ground.pings("two", "10.6.1.7")
}

fn live_restore(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    ground.container("there", "--net net")?;
    let pinging = Pinging::start(ground, "there", "10.6.0.7")?;
    restart_alive(ground)?;
    ground.pings("there", "box")?;
    pinging.lost_nothing().map(|_| ())
}

fn live_restore_with_gateway(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L2)?;
    ground.net_called(driver, "second", &format!("--internal --subnet 10.6.1.0/24 -o parent={CARD}.20"))?;
    ground.container("box", "--net net")?;
    ground.container("there", "--net second --ip 10.6.1.7")?;
    restart_alive(ground)?;
    ground.run("docker network connect second box")?;
    has_interfaces(ground, "box", &["eth0", "eth1", "lo"])?;
    ground.pings("box", "10.6.1.7")?;
    ground.run("docker network disconnect net box")?;
    has_interfaces(ground, "box", &["eth1", "lo"])
}

fn live_restore_connect(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    for (name, number) in [("second", 1), ("third", 2)] {
        let arguments = format!("--internal --subnet 10.6.{number}.0/24 -o parent={CARD}.2{number}");
        ground.net_called(driver, name, &arguments)?;
        ground.container(&format!("on-{name}"), &format!("--net {name} --ip 10.6.{number}.7"))?;
    }
    ground.container("box", "--net net")?;
    restart_alive(ground)?;
    if driver == Driver::BuiltIn {
        return contains(&ground.refused("docker network connect second box")?, "to \"eth0\": file exists");
    }
    ground.run("docker network connect second box")?;
    has_interfaces(ground, "box", &["eth0", "eth10", "lo"])?;
    ground.pings("box", "10.6.1.7")?;
    restart_alive(ground)?;
    ground.run("docker network connect third box")?;
    has_interfaces(ground, "box", &["eth0", "eth10", "eth20", "lo"])?;
    ground.pings("box", "10.6.2.7")?;
    ground.pings("box", "10.6.1.7")
}

fn live_restore_disconnect(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    restart_alive(ground)?;
    ground.run("docker network disconnect net box")?;
    if driver == Driver::BuiltIn {
        return has_interfaces(ground, "box", &["eth0", "lo"]);
    }
    has_interfaces(ground, "box", &["lo"])?;
    ground.container("other", "--net net --ip 10.6.0.7")?;
    ground.run("docker network connect net box")?;
    has_interfaces(ground, "box", &["eth0", "lo"])?;
    ground.pings("box", "10.6.0.7")
}

fn daemon_restarts(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, L3)?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    ground.container("there", "--net net")?;
    if driver == Driver::BuiltIn {
        // It is a part of Docker.
        ground.stop_docker()?;
        let refused = ground.refused("docker network inspect net");
        ground.start_docker(Restart::Lives)?;
        return refused.and_then(|_| ground.pings("there", "10.6.0.7"));
    }
    let pinging = Pinging::start(ground, "there", "10.6.0.7")?;
    ground.stop_ipvland()?;
    ground.start_ipvland(&ground.words())?;
    ground.kill_ipvland()?;
    ground.start_ipvland(&ground.words())?;
    ground.container("new", "--net net")?;
    ground.pings("new", "10.6.0.7")?;
    ground.run("docker network disconnect net new && docker network connect net new")?;
    ground.pings("new", "10.6.0.7")?;
    pinging.lost_nothing().map(|_| ())
}

fn host_restarts(ground: &Ground, driver: Driver) -> Outcome {
    let vlan = format!("{CARD}.20");
    ground.net(driver, &format!("--subnet 10.6.0.0/24 -o parent={vlan} -o ipvlan_mode=l3"))?;
    ground.net_called(driver, "inner", "--internal --subnet 10.6.1.0/24")?;
    ground.container("box", "--net net --ip 10.6.0.7")?;
    ground.container("inside", "--net inner --ip 10.6.1.7")?;
    ground.power_cut()?;
    ground.power_on()?;
    ground.start_ipvland(&ground.words())?;
    ground.start_docker(Restart::Lives)?;
    if driver == Driver::BuiltIn && !ground.has_link(&vlan)? {
        return Err(Failure::new("the VLAN is not there when Docker has started"));
    }
    ground.run("docker start box inside")?;
    ground.container("one", "--net net")?;
    ground.container("two", "--net inner")?;
    ground.pings("one", "10.6.0.7")?;
    ground.pings("two", "10.6.1.7")?;
    ground.run("docker rm -f box inside one two; docker network rm net inner")?;
    ground.wants_link(&vlan, false)
}
