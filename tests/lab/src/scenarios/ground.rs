//! The lab itself, without ipvland: where this fails, no other failure means anything.

use crate::failure::{Failure, Outcome};
use crate::guest::docker::Restart;
use crate::guest::git_server::GitServer;
use crate::guest::host::CARD;
use crate::guest::lab::Lab;
use crate::guest::ping::Pinging;

/// Two hosts with Docker's own driver and routes by hand; containers ping across; the Git server takes a push.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("a Git server with a password takes a push");
    let server = GitServer::new(lab)?;
    server.operator("a first file", "mkdir -p endpoints; echo '{}' >endpoints/10.1.1.9.json")?;
    if server.records()? != ["10.1.1.9.json"] {
        return Err(Failure::new("the push did not arrive").showing(server.git("log --stat")?));
    }
    let anonymous =
        server.host.refused(&format!("GIT_TERMINAL_PROMPT=0 git ls-remote {}", server.bare_url()))?;
    if anonymous.is_empty() {
        return Err(Failure::new("the Git server refused without a word"));
    }

    lab.step("two hosts with Docker");
    let hosts = [lab.host("h1", 48)?, lab.host("h2", 51)?];
    for host in &hosts {
        host.launch_docker(Restart::Lives)?;
    }
    for (host, other) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
        host.docker_answers()?;
        host.image()?;
        host.run(&format!(
            "docker network create -d ipvlan --subnet {} -o parent={CARD} -o ipvlan_mode=l3 own",
            host.prefix()
        ))?;
        host.run(&format!("ip route add {} via {}", other.prefix(), other.address()))?;
        host.container("box", &format!("--net own --ip {}", host.inside(7)))?;
    }

    lab.step("containers ping across");
    let [h1, h2] = &hosts;
    let pinging = Pinging::start(h1, "box", &h2.inside(7))?;
    h1.container_pings("box", &h2.inside(7))?;
    h2.container_pings("box", &h1.inside(7))?;

    lab.step("Docker restarts, then is killed, and its containers go on");
    h1.stop_docker()?;
    h1.start_docker(Restart::Lives)?;
    h1.kill_docker()?;
    h1.start_docker(Restart::Lives)?;
    h1.container_pings("box", &h2.inside(7))?;
    pinging.lost_nothing()?;

    lab.step("a power cut takes everything but the disk");
    h2.power_cut()?;
    h2.power_on()?;
    if h1.container_reaches("box", &h2.inside(7))? {
        return Err(Failure::new("a container answered after the power cut of its host"));
    }
    h2.start_docker(Restart::Stops)?;
    h2.run("docker start box")?;
    h2.run(&format!("ip route add {} via {}", h1.prefix(), h1.address()))?;
    h1.container_pings("box", &h2.inside(7))
}
