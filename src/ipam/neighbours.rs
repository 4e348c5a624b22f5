//! The other hosts, as far as addresses go: which they have themselves, and which blocks they lease.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use ipvland_store::Key;
use tokio::sync::watch;

use crate::{
    fleet::View,
    lease::free::touch,
    policy::{Local, Records},
    record::Record,
};

/// What is known of them. It is brought up to the newest view when it is asked for, which costs what changed since.
#[derive(Debug)]
pub(super) struct Neighbours {
    views: watch::Receiver<Arc<View>>,
    local: watch::Receiver<Local>,
    /// Up to which view what is known.
    known: Option<(Arc<View>, Arc<Hosts>)>,
}

/// The hosts of the fleet.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    own: Option<IpAddr>,
    /// The addresses that hosts have themselves, by the records that say so; this host's interfaces stand under none.
    addresses: BTreeMap<(IpAddr, Option<Key>), Option<Arc<Record>>>,
    /// The hosts with blocks whose address is lower than this host's: where two overlap, theirs count.
    stronger: BTreeMap<Key, Arc<Record>>,
}

impl Neighbours {
    pub(super) fn new(views: watch::Receiver<Arc<View>>, local: watch::Receiver<Local>) -> Self {
        Self { views, local, known: None }
    }

    /// Returns what is known now.
    pub(super) fn look(&mut self) -> Arc<Hosts> {
        if self.local.has_changed().unwrap_or(false) {
            self.known = None;
        }
        let view = self.views.borrow_and_update().clone();
        let (before, mut hosts) = match self.known.take() {
            Some(known) => known,
            None => (Arc::default(), Arc::new(Hosts::without_records(&self.local.borrow_and_update()))),
        };
        if !Arc::ptr_eq(&before, &view) {
            Arc::make_mut(&mut hosts).update(&before.records, &view.records);
        }
        self.known = Some((view, Arc::clone(&hosts)));
        hosts
    }
}

impl Hosts {
    fn without_records(local: &Local) -> Self {
        let elsewhere = local.elsewhere.iter().map(|(_, net)| net);
        let own = local.underlay.iter().chain(elsewhere).map(IpNet::addr);
        Self {
            own: local.own.as_ref().and_then(Record::host_of),
            addresses: own.map(|address| ((address, None), None)).collect(),
            stronger: BTreeMap::new(),
        }
    }

    fn update(&mut self, before: &Records, now: &Records) {
        for (key, _) in now.diff(before) {
            if let Some(Ok(old)) = before.get(key) {
                for address in own_addresses(old) {
                    self.addresses.remove(&(address, Some(key.clone())));
                }
                self.stronger.remove(key);
            }
            if let Some(Ok(new)) = now.get(key) {
                for address in own_addresses(new) {
                    self.addresses.insert((address, Some(key.clone())), Some(Arc::clone(new)));
                }
                // Records are judged by address everywhere, IPv4 before IPv6, so that all hosts decide alike.
                if !new.blocks.is_empty() && self.own.is_some_and(|own| new.host < own) {
                    self.stronger.insert(key.clone(), Arc::clone(new));
                }
            }
        }
    }

    /// Returns the addresses in a subnet that hosts have themselves, sorted.
    pub(super) fn inside(&self, net: IpNet) -> impl Iterator<Item = IpAddr> {
        let range = self.addresses.range((net.network(), None)..);
        range.map(|((address, _), _)| *address).take_while(move |address| *address <= net.broadcast())
    }

    /// Says which host has an address itself.
    pub(super) fn whose(&self, address: IpAddr) -> Option<String> {
        let ((found, _), record) = self.addresses.range((address, None)..).next()?;
        (*found == address).then(|| record.as_deref().map_or_else(|| "this host".to_owned(), label))
    }

    /// Says who has a block that overlaps one of ours, and counts before us: somebody edited the store by hand.
    pub(super) fn contender(&self, block: IpNet) -> Option<(IpNet, String)> {
        self.stronger.values().find_map(|record| {
            let theirs = record.blocks.iter().find(|theirs| touch(theirs, &block))?;
            Some((*theirs, label(record)))
        })
    }
}

fn own_addresses(record: &Record) -> impl Iterator<Item = IpAddr> {
    record.next_hops.iter().copied().chain([record.host])
}

fn label(record: &Record) -> String {
    match record.name.as_str() {
        "" => format!("host {}", record.host),
        name => format!("host {name} ({})", record.host),
    }
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

    fn records(all: &[Record]) -> Records {
        all.iter().map(|record| (Record::key(record.host), Ok(Arc::new(record.clone())))).collect()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn local() -> Local {
        Local {
            own: Some(Record::key("10.1.1.51".parse().unwrap())),
            underlay: vec![net("10.1.1.51/24")],
            ..Local::default()
        }
    }

    #[test]
    fn the_lower_address_keeps_its_block() {
        let mut hosts = Hosts::without_records(&local());
        let all = records(&[
            record("10.1.1.48", &["10.9.0.0/28"]),
            record("10.1.1.51", &[]),
            record("10.1.1.77", &["10.9.0.16/28"]),
        ]);
        hosts.update(&Records::default(), &all);
        assert_eq!(hosts.contender(net("10.9.0.0/30")).unwrap().1, "host web (10.1.1.48)");
        assert_eq!(hosts.contender(net("10.9.0.16/28")), None);
        let whose = |address: &str| hosts.whose(address.parse().unwrap());
        assert_eq!(whose("10.1.1.51").unwrap(), "this host");
        assert_eq!(whose("10.1.1.77").unwrap(), "host web (10.1.1.77)");
        assert_eq!(whose("10.1.1.50"), None);
        let inside: std::collections::BTreeSet<_> = hosts.inside(net("10.1.1.50/31")).collect();
        assert_eq!(inside, ["10.1.1.51".parse().unwrap()].into());
    }

    #[test]
    fn what_changed_is_learned_and_the_rest_stays() {
        let (views, seen) = watch::channel(Arc::<View>::default());
        let (locals, own) = watch::channel(local());
        let mut neighbours = Neighbours::new(seen, own);
        let mut show = |all: &[Record]| {
            views.send_replace(Arc::new(View { records: Arc::new(records(all)), ..View::default() }));
            neighbours.look()
        };
        let shared = Record { next_hops: vec!["10.1.1.60".parse().unwrap()], ..record("10.1.1.49", &[]) };
        show(&[record("10.1.1.48", &["10.9.0.0/28"]), record("10.1.1.60", &[]), shared.clone()]);
        let hosts = show(&[record("10.1.1.48", &["10.9.0.32/28"]), shared]);
        // Of two that say that they have an address, one is gone.
        assert_eq!(hosts.whose("10.1.1.60".parse().unwrap()).unwrap(), "host web (10.1.1.49)");
        assert_eq!((hosts.contender(net("10.9.0.0/28")), hosts.addresses.len()), (None, 4));
        assert!(hosts.contender(net("10.9.0.32/28")).is_some());

        locals.send_replace(Local::default());
        let hosts = neighbours.look();
        assert_eq!((hosts.contender(net("10.9.0.32/28")), hosts.addresses.len()), (None, 3));
    }
}
