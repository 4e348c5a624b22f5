//! What the passes found, kept for whoever asks for the status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

use crate::{
    host_access::Access,
    kernel::{KernelError, LinkIndex, Route, RouteOp},
    plan::{Foreign, Plan},
    policy::Judge,
    status::{HostAccessStatus, Learned, Live, Refused, RouteStatus, Status},
};

/// What the passes found, shared with the status board.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Found>);

/// What the passes found so far. No row of the status is in it: those are made when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Which prefixes are believed, as of the last records that were looked at.
    pub(super) judge: Judge,
    /// Whether these are of concern: not before there are records, nor when the host has left.
    pub(super) is_judged: bool,
    /// The name of the parent interface.
    pub(super) interface: String,
    /// Why no route can be, for want of a parent.
    pub(super) no_parent: Option<String>,
    /// What became of each prefix whose route is not installed: the state and why.
    pub(super) trouble: BTreeMap<IpNet, (&'static str, String)>,
    /// The prefixes whose routes are being written at the moment, sorted.
    pub(super) pending: Vec<IpNet>,
    /// This host's own containers: a route for one by way of another host has no say.
    pub(super) reached: BTreeSet<IpNet>,
    /// How the networks are whose containers this host reaches.
    pub(super) host_access: Vec<HostAccessStatus>,
    /// Why none of it can be vouched for, where the kernel did not answer.
    pub(super) uncertain: Option<String>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Notes which routes a plan is about to write.
    pub(super) fn begins(&mut self, plan: &Plan) {
        let written = plan.ops.iter().filter(|op| !matches!(op, RouteOp::Remove(_)));
        self.pending = written.map(|op| op.route().prefix).collect();
        self.pending.sort_unstable();
    }

    /// Notes what became of a plan of the whole table, and returns what is wrong.
    pub(super) fn installed(
        &mut self,
        plan: &Plan,
        results: &[Result<(), KernelError>],
        name: impl Fn(Option<LinkIndex>) -> String,
    ) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        self.pending = Vec::new();
        self.trouble.clear();
        for (op, result) in plan.ops.iter().zip(results) {
            let Err(error) = result else { continue };
            let prefix = op.route().prefix;
            if matches!(op, RouteOp::Remove(_)) {
                wrong.push((format!("old route {prefix}"), error.to_string()));
            } else {
                self.trouble.insert(prefix, ("failed", error.meaning.clone()));
                wrong.push((format!("route {prefix}"), error.to_string()));
            }
        }
        for foreign in &plan.foreign {
            wrong.push(self.left_to(foreign, &name));
        }
        wrong
    }

    /// Notes what became of a plan for these prefixes, all of whose changes were made; returns what is wrong, or no longer.
    pub(super) fn amended(
        &mut self,
        prefixes: &BTreeSet<IpNet>,
        plan: &Plan,
        name: impl Fn(Option<LinkIndex>) -> String,
    ) -> Vec<(String, Option<String>)> {
        let mut wrong = BTreeMap::new();
        self.pending = Vec::new();
        for prefix in prefixes {
            self.trouble.remove(prefix);
            wrong.insert(format!("route {prefix}"), None);
            wrong.insert(format!("old route {prefix}"), None);
        }
        for foreign in &plan.foreign {
            let (about, why) = self.left_to(foreign, &name);
            wrong.insert(about, Some(why));
        }
        wrong.into_iter().collect()
    }

    fn left_to(&mut self, foreign: &Foreign, name: impl Fn(Option<LinkIndex>) -> String) -> (String, String) {
        let prefix = foreign.ours.prefix;
        let why = describe(&foreign.theirs, name);
        let wrong = (format!("route {prefix}"), format!("not installed: {why}"));
        self.trouble.insert(prefix, ("foreign", why));
        wrong
    }

    /// Notes how the networks are whose containers this host reaches, after [`Found::installed`]; returns what is wrong.
    pub(super) fn accessed(&mut self, access: Access) -> Vec<(String, String)> {
        let mut networks = access.networks;
        for (id, route) in &access.routes {
            let Some((state, why)) = self.trouble.get(&route.prefix) else { continue };
            let of_network = |network: &&mut HostAccessStatus| id.starts_with(&network.id);
            if let Some(network) = networks.iter_mut().find(of_network).filter(|it| it.state == "reached") {
                network.state = "failed".into();
                network.reason = Some(format!("the route to {} is {state}: {why}", route.prefix.addr()));
            }
        }
        let failed = networks.iter().filter(|network| network.state == "failed");
        let wrong = failed.map(|network| {
            (format!("host access of {}", network.network), network.reason.clone().unwrap_or_default())
        });
        let wrong = wrong.collect();
        self.host_access = networks;
        wrong
    }

    fn routes(&self) -> Vec<RouteStatus> {
        let routes = self.judge.routes().filter(|(prefix, _)| {
            !self.reached.contains(prefix) && self.pending.binary_search(prefix).is_err()
        });
        let rows = routes.map(|(prefix, next_hop)| {
            let trouble = match (&self.uncertain, &self.no_parent) {
                (Some(why), _) | (None, Some(why)) => Some(("failed", why)),
                (None, None) => self.trouble.get(&prefix).map(|(state, why)| (*state, why)),
            };
            RouteStatus {
                prefix,
                next_hop,
                interface: self.interface.clone(),
                state: trouble.map_or("installed", |(state, _)| state).to_owned(),
                reason: trouble.map(|(_, why)| why.clone()),
            }
        });
        rows.collect()
    }
}

impl Live for Shared {
    fn write(&self, status: &mut Status) {
        let found = self.lock();
        if found.is_judged {
            let learned = found.judge.accepted().map(|accepted| Learned {
                file: accepted.key.to_string(),
                host: accepted.host,
                network: accepted.network,
                prefix: accepted.prefix,
                next_hop: accepted.next_hop,
            });
            status.learned = learned.collect();
            let refused = found.judge.refused().into_iter();
            status.refused =
                refused.map(|it| Refused { file: it.file, prefix: it.prefix, reason: it.reason }).collect();
            status.routes = found.routes();
        }
        status.host_access.clone_from(&found.host_access);
        if let Some(why) = &found.uncertain {
            for network in &mut status.host_access {
                network.state = "failed".into();
                network.reason = Some(why.clone());
            }
        }
    }
}

fn describe(theirs: &Route, name: impl Fn(Option<LinkIndex>) -> String) -> String {
    let via = theirs.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let on = theirs.link.map(|link| format!(" on {}", name(Some(link)))).unwrap_or_default();
    let prefix = theirs.prefix;
    format!(
        "somebody else routes {prefix}{via}{on} (protocol {}, metric {}), and theirs wins; remove it with `ip route del \
         {prefix}` if ours is wanted",
        theirs.protocol, theirs.metric
    )
}
