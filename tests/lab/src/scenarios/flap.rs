//! The card goes down and comes back, a route is deleted by hand, and a host's address changes.

use std::time::Duration;

use crate::failure::Outcome;
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// The kernel drops IPv4 routes with the link and tells nobody; a full pass brings them back.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    for host in &fleet.hosts {
        host.configures("ipvland.toml", &config(&fleet, host))?;
        host.start_ipvland("--config /etc/ipvland/ipvland.toml")?;
    }
    fleet.all_routes()?;
    let (h1, h2) = (&fleet.hosts[0], &fleet.hosts[1]);
    h1.gets_route(&h2.prefix6(), &h2.address6(), SOON)?;

    lab.step("the card goes down and comes back");
    h1.run(&format!("ip link set {CARD} down"))?;
    h1.loses_route(&h2.prefix(), Duration::from_secs(2))?;
    h1.run(&format!("ip link set {CARD} up"))?;
    let took = h1.gets_route(&h2.prefix(), &h2.address(), SOON)?;
    lab.say(&format!("the IPv4 route was back after {:.1} s", took.as_secs_f32()));
    // The kernel forgets IPv6 addresses with the link; a network manager would bring it back.
    h1.run(&format!("ip addr add {}/64 dev {CARD} nodad", h1.address6()))?;
    let took = h1.gets_route(&h2.prefix6(), &h2.address6(), SOON)?;
    lab.say(&format!("the IPv6 route was back after {:.1} s", took.as_secs_f32()));

    lab.step("routes are deleted by hand");
    h1.run(&format!("ip route del {} via {}", h2.prefix(), h2.address()))?;
    let took = h1.gets_route(&h2.prefix(), &h2.address(), SOON)?;
    lab.say(&format!("the IPv4 route was back after {:.1} s", took.as_secs_f32()));
    h1.run(&format!("ip route del {} via {}", h2.prefix6(), h2.address6()))?;
    h1.gets_route(&h2.prefix6(), &h2.address6(), SOON)?;

    lab.step("a host's address changes, and its record moves");
    h2.run(&format!("ip addr del 10.1.1.51/24 dev {CARD} && ip addr add 10.1.1.61/24 dev {CARD}"))?;
    wait::holds("the record has moved", SOON * 3, || {
        Ok(fleet.server.record("10.1.1.51")?.is_none() && fleet.server.record("10.1.1.61")?.is_some())
    })?;
    h1.gets_route(&h2.prefix(), "10.1.1.61", SOON)?;
    h2.gets_route(&h1.prefix(), &h1.address(), SOON)?;
    h1.ipvland_well()?;
    h2.ipvland_well()
}

/// A file with prefixes of both families.
fn config(fleet: &Fleet, host: &Host) -> String {
    format!(
        "[host]\ninterface = \"{CARD}\"\n[network]\nmode = \"l3\"\nsubnet = [\"{}\", \"{}\"]\n[store.git]\nrepo = \"{}\"\ninterval = \"3s\"\n",
        host.prefix(),
        host.prefix6(),
        fleet.server.url()
    )
}
