//! The other hosts, as far as addresses go: which they have themselves, and which blocks they lease.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use tokio::sync::watch;

use crate::{fleet::View, lease::free::touch, policy::Local, record::Record};

/// What is known of them; it is worked out anew only when the store or the interfaces change.
#[derive(Debug)]
pub(super) struct Neighbours {
    views: watch::Receiver<Arc<View>>,
    local: watch::Receiver<Local>,
    known: Option<Arc<Hosts>>,
}

/// The hosts of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// The addresses that hosts have themselves, this one among them, and whose they are.
    pub(super) addresses: BTreeMap<IpAddr, String>,
    /// The blocks of hosts whose address is lower than this host's: where two overlap, theirs count.
    pub(super) stronger: Vec<(IpNet, String)>,
}

impl Neighbours {
    pub(super) fn new(views: watch::Receiver<Arc<View>>, local: watch::Receiver<Local>) -> Self {
        Self { views, local, known: None }
    }

    /// Returns what is known now.
    pub(super) fn look(&mut self) -> Arc<Hosts> {
        let changed = self.views.has_changed().unwrap_or(false) || self.local.has_changed().unwrap_or(false);
        if let Some(known) = self.known.as_ref().filter(|_| !changed) {
            return Arc::clone(known);
        }
        let view = self.views.borrow_and_update().clone();
        let local = self.local.borrow_and_update().clone();
        let hosts = Arc::new(hosts(view.records.values().flatten().map(AsRef::as_ref), &local));
        self.known = Some(Arc::clone(&hosts));
        hosts
    }
}

impl Hosts {
    /// Says who has a block that overlaps one of ours, and counts before us: somebody edited the store by hand.
    pub(super) fn contender(&self, block: IpNet) -> Option<&(IpNet, String)> {
        self.stronger.iter().find(|(theirs, _)| touch(theirs, &block))
    }
}

fn hosts<'a>(records: impl Iterator<Item = &'a Record>, local: &Local) -> Hosts {
    let own = local.own.as_ref().and_then(Record::host_of);
    let mut hosts = Hosts::default();
    for record in records {
        let label = match record.name.as_str() {
            "" => format!("host {}", record.host),
            name => format!("host {name} ({})", record.host),
        };
        for address in record.next_hops.iter().chain([&record.host]) {
            hosts.addresses.insert(*address, label.clone());
        }
        // Records are judged by address everywhere, IPv4 before IPv6, so that all hosts decide alike.
        if own.is_some_and(|own| record.host < own) {
            hosts.stronger.extend(record.blocks.iter().map(|block| (*block, label.clone())));
        }
    }
    let elsewhere = local.elsewhere.iter().map(|(_, net)| net);
    let addresses = local.underlay.iter().chain(elsewhere).map(IpNet::addr);
    hosts.addresses.extend(addresses.map(|address| (address, "this host".to_owned())));
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(host: &str, blocks: &[&str]) -> Record {
        let key = Record::key(host.parse().unwrap());
        let text = serde_json::json!({
            "version": 1, "host": host, "name": "web", "next_hops": [host], "networks": [], "blocks": blocks,
            "underlay": {"kind": "direct"},
        });
        Record::parse(&key, text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_lower_address_keeps_its_block() {
        let records = [record("10.1.1.48", &["10.9.0.0/28"]), record("10.1.1.77", &["10.9.0.16/28"])];
        let local = Local {
            own: Some(Record::key("10.1.1.51".parse().unwrap())),
            underlay: vec!["10.1.1.51/24".parse().unwrap()],
            ..Local::default()
        };
        let hosts = hosts(records.iter(), &local);
        assert_eq!(hosts.contender("10.9.0.0/30".parse().unwrap()).unwrap().1, "host web (10.1.1.48)");
        assert_eq!(hosts.contender("10.9.0.16/28".parse().unwrap()), None);
        assert_eq!(hosts.addresses.len(), 3);
        assert_eq!(hosts.addresses[&"10.1.1.51".parse::<IpAddr>().unwrap()], "this host");
    }
}
