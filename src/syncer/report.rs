//! What a pass found: for the status board, and for the log when it is new.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use crate::{
    host_access::Access,
    kernel::{KernelError, LinkIndex, Route, RouteOp},
    plan::Plan,
    policy::{Accepted, Judgement},
    status::{Board, HostAccessStatus, Learned, Refused, RouteStatus},
};

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Report {
    learned: Vec<Learned>,
    refused: Vec<Refused>,
    routes: Vec<RouteStatus>,
    /// What became of each prefix whose route is not installed: the state and why.
    trouble: HashMap<IpNet, (&'static str, String)>,
    host_access: Vec<HostAccessStatus>,
    complaints: BTreeMap<String, String>,
    /// Why the board's routes can't be vouched for, where the kernel did not answer.
    uncertain: Option<String>,
}

/// What is wrong, by what it is about: told when it appears or changes, and when it is over, not at each pass.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, String>);

impl Complaints {
    /// Logs what is new and what is over.
    pub(super) fn tell(&mut self, now: BTreeMap<String, String>, certain: bool) {
        let (new, over) = self.update(now, certain);
        for (about, why) in new {
            tracing::warn!(about, "{why}");
        }
        for (about, why) in over {
            tracing::info!(about, "no longer: {why}");
        }
    }

    /// Returns what is new or said otherwise, and what is over. A pass that could not look at everything ends nothing.
    fn update(
        &mut self,
        now: BTreeMap<String, String>,
        certain: bool,
    ) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let mut over = std::mem::replace(&mut self.0, now);
        let is_old = |(about, why): &(&String, &String)| over.get(*about) == Some(*why);
        let new = self
            .0
            .iter()
            .filter(|told| !is_old(told))
            .map(|(about, why)| (about.clone(), why.clone()))
            .collect();
        over.retain(|about, _| !self.0.contains_key(about));
        if !certain {
            self.0.append(&mut over);
        }
        (new, over)
    }
}

impl Report {
    /// Notes that something is wrong.
    pub(super) fn complain(&mut self, about: impl Into<String>, why: String) {
        self.complaints.insert(about.into(), why);
    }

    /// Returns what is wrong.
    pub(super) fn complaints(&self) -> BTreeMap<String, String> {
        self.complaints.clone()
    }

    /// Notes which records are believed and which are not.
    pub(super) fn judged(&mut self, judgement: &Judgement) {
        self.learned = judgement.accepted.iter().map(learned).collect();
        for refused in &judgement.refused {
            let about = match refused.prefix {
                Some(prefix) => format!("{} {prefix}", refused.file),
                None => refused.file.clone(),
            };
            self.complain(about, format!("refused: {}", refused.reason));
            self.refused.push(Refused {
                file: refused.file.clone(),
                prefix: refused.prefix,
                reason: refused.reason.clone(),
            });
        }
    }

    /// Notes that no route can be, for want of a parent.
    pub(super) fn no_parent(&mut self, accepted: &[Accepted], parent: Option<&str>, why: &str) {
        if !accepted.is_empty() || parent.is_some() {
            self.complain("parent", why.to_owned());
        }
        self.routes = accepted
            .iter()
            .map(|accepted| RouteStatus {
                prefix: accepted.prefix,
                next_hop: accepted.next_hop,
                interface: parent.unwrap_or_default().to_owned(),
                state: "failed".into(),
                reason: Some(why.to_owned()),
            })
            .collect();
    }

    /// Tells whether the kernel answered, so that what isn't noted isn't.
    pub(super) fn is_certain(&self) -> bool {
        self.uncertain.is_none()
    }

    /// Notes that the kernel could not be asked.
    pub(super) fn nothing_certain(&mut self, error: &KernelError) {
        self.uncertain = Some(error.to_string());
    }

    /// Notes what became of each wanted route.
    pub(super) fn installed(
        &mut self,
        wanted: &[Route],
        plan: &Plan,
        results: &[Result<(), KernelError>],
        name: impl Fn(Option<LinkIndex>) -> String,
    ) {
        let mut trouble = HashMap::new();
        for (op, result) in plan.ops.iter().zip(results) {
            if let Err(error) = result {
                let prefix = op.route().prefix;
                let about = match op {
                    RouteOp::Remove(_) => format!("old route {prefix}"),
                    RouteOp::Add(_) | RouteOp::Replace(_) => {
                        trouble.insert(prefix, ("failed", error.meaning.clone()));
                        format!("route {prefix}")
                    }
                };
                self.complain(about, error.to_string());
            }
        }
        for foreign in &plan.foreign {
            let prefix = foreign.ours.prefix;
            let why = describe(&foreign.theirs, &name);
            self.complain(format!("route {prefix}"), format!("not installed: {why}"));
            trouble.insert(prefix, ("foreign", why));
        }
        for route in wanted {
            let Some(next_hop) = route.gateway else { continue };
            let (state, reason) = match trouble.get(&route.prefix) {
                Some((state, reason)) => (*state, Some(reason.clone())),
                None => ("installed", None),
            };
            self.routes.push(RouteStatus {
                prefix: route.prefix,
                next_hop,
                interface: name(route.link),
                state: state.into(),
                reason,
            });
        }
        self.trouble = trouble;
    }

    /// Notes how the networks are whose containers this host reaches, after [`Report::installed`].
    pub(super) fn accessed(&mut self, access: Access) {
        let mut networks = access.networks;
        for (id, route) in &access.routes {
            let Some((state, why)) = self.trouble.get(&route.prefix) else { continue };
            let of_network = |network: &&mut HostAccessStatus| id.starts_with(&network.id);
            if let Some(network) = networks.iter_mut().find(of_network).filter(|it| it.state == "reached") {
                network.state = "failed".into();
                network.reason = Some(format!("the route to {} is {state}: {why}", route.prefix.addr()));
            }
        }
        for network in networks.iter().filter(|network| network.state == "failed") {
            let why = network.reason.clone().unwrap_or_default();
            self.complain(format!("host access of {}", network.network), why);
        }
        self.host_access = networks;
    }

    /// Writes the sections of the board.
    pub(super) fn post(self, board: &Board) {
        board.update(|status| match self.uncertain {
            Some(why) => {
                for route in &mut status.routes {
                    route.state = "failed".into();
                    route.reason = Some(why.clone());
                }
                for network in &mut status.host_access {
                    network.state = "failed".into();
                    network.reason = Some(why.clone());
                }
            }
            None => {
                status.learned = self.learned;
                status.refused = self.refused;
                status.routes = self.routes;
                status.host_access = self.host_access;
            }
        });
    }
}

fn learned(accepted: &Accepted) -> Learned {
    Learned {
        file: accepted.key.to_string(),
        host: accepted.host.clone(),
        network: accepted.network.clone(),
        prefix: accepted.prefix,
        next_hop: accepted.next_hop,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(about, why)| ((*about).to_owned(), (*why).to_owned())).collect()
    }

    #[test]
    fn a_complaint_is_told_when_it_comes_changes_and_goes() {
        let mut complaints = Complaints::default();
        let a = told(&[("a", "bad")]);
        assert_eq!(complaints.update(a.clone(), true), (a.clone(), told(&[])));
        assert_eq!(complaints.update(a.clone(), true), (told(&[]), told(&[])));
        let worse = told(&[("a", "worse")]);
        assert_eq!(complaints.update(worse.clone(), true), (worse.clone(), told(&[])));
        assert_eq!(complaints.update(told(&[]), true), (told(&[]), worse));
    }

    #[test]
    fn a_pass_that_saw_nothing_ends_nothing() {
        let mut complaints = Complaints::default();
        let (a, kernel) = (told(&[("a", "bad")]), told(&[("kernel", "silent")]));
        complaints.update(a.clone(), true);
        assert_eq!(complaints.update(kernel.clone(), false), (kernel.clone(), told(&[])));
        assert_eq!(complaints.update(a, true), (told(&[]), kernel));
    }
}
