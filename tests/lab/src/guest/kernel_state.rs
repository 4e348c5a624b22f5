//! A host's routes and links, read from its kernel.

use std::time::Duration;

use serde_json::Value;

use super::host::Host;
use super::wait;
use crate::failure::{Failure, OrFail, Outcome};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The prefix as `ip` writes it.
    pub(crate) to: String,
    /// The next hop, where there is one.
    pub(crate) via: Option<String>,
    /// The device.
    pub(crate) dev: String,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// Its kind, such as `ipvlan` or `veth`.
    pub(crate) kind: String,
    /// Its alias.
    pub(crate) alias: Option<String>,
    /// Its MTU.
    pub(crate) mtu: u64,
}

impl Host {
    /// All routes of the main table, of both families.
    pub(crate) fn routes(&self) -> Outcome<Vec<Route>> {
        let mut all = Vec::new();
        for family in ["-4", "-6"] {
            let routes = self.json(&format!("ip -j -N -d {family} route show"))?;
            for route in routes.as_array().into_iter().flatten() {
                let text = |key: &str| route[key].as_str().map(str::to_owned);
                let via = text("gateway").or_else(|| route["via"]["host"].as_str().map(str::to_owned));
                all.push(Route {
                    to: text("dst").unwrap_or_default(),
                    via,
                    dev: text("dev").unwrap_or_default(),
                });
            }
        }
        Ok(all)
    }

    /// The routes to exactly this prefix.
    pub(crate) fn routes_to(&self, prefix: &str) -> Outcome<Vec<Route>> {
        Ok(self.routes()?.into_iter().filter(|route| route.to == prefix).collect())
    }

    /// Whether there is one route to exactly this prefix, by this next hop.
    pub(crate) fn has_route(&self, prefix: &str, via: &str) -> Outcome<bool> {
        Ok(matches!(&*self.routes_to(prefix)?, [route] if route.via.as_deref() == Some(via)))
    }

    /// Waits until there is one route to exactly this prefix, by this next hop; gives how long that took.
    ///
    /// # Errors
    /// Shows the routes that there are when the time is over.
    pub(crate) fn gets_route(&self, prefix: &str, via: &str, limit: Duration) -> Outcome<Duration> {
        let what = format!("{} has one route to {prefix} by {via}", self.name());
        wait::holds(&what, limit, || self.has_route(prefix, via)).map_err(|failure| self.with_routes(failure))
    }

    /// Waits until there is no route to exactly this prefix; gives how long that took.
    ///
    /// # Errors
    /// Shows the routes that there are when the time is over.
    pub(crate) fn loses_route(&self, prefix: &str, limit: Duration) -> Outcome<Duration> {
        let what = format!("{} has no route to {prefix}", self.name());
        let lost = wait::holds(&what, limit, || Ok(self.routes_to(prefix)?.is_empty()));
        lost.map_err(|failure| self.with_routes(failure))
    }

    /// Wants no ipvlan link in the host's own namespace.
    ///
    /// # Errors
    /// Names the links that were left behind.
    pub(crate) fn no_orphans(&self) -> Outcome {
        let left = self.ipvlans()?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("ipvlan links were left behind on {}", self.name()))
            .showing(format!("{left:?}")))
    }

    fn with_routes(&self, failure: Failure) -> Failure {
        failure.showing(self.look("ip -4 route; ip -6 route; ipvland status || true").unwrap_or_default())
    }

    /// All links in the host's own namespace.
    pub(crate) fn links(&self) -> Outcome<Vec<Link>> {
        let links = self.json("ip -j -d link show")?;
        Ok(links.as_array().into_iter().flatten().map(read_link).collect())
    }

    /// The ipvlan links in the host's own namespace: there are none while no container is being made.
    pub(crate) fn ipvlans(&self) -> Outcome<Vec<Link>> {
        Ok(self.links()?.into_iter().filter(|link| link.kind == "ipvlan").collect())
    }

    fn json(&self, line: &str) -> Outcome<Value> {
        let text = self.look(line)?;
        let text = if text.trim().is_empty() { "[]" } else { text.trim() };
        serde_json::from_str(text).or_fail(format_args!("reading {line}"))
    }
}

/// Reads one link as `ip -j -d link` writes it.
pub(crate) fn read_link(link: &Value) -> Link {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Link {
        name: text(&link["ifname"]),
        kind: text(&link["linkinfo"]["info_kind"]),
        alias: link["ifalias"].as_str().map(str::to_owned),
        mtu: link["mtu"].as_u64().unwrap_or_default(),
    }
}
