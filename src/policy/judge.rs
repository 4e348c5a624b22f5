//! The judgement of a fleet's records, kept up to date record by record.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use ipvland_store::{Key, Stray};

use super::{
    Accepted, Judgement, Local, Records, Refused,
    contest::{Claim, Contest, Standing},
    reserved,
};
use crate::record::{Reason, Record, Underlay};

/// Which of the fleet's prefixes this host believes, and all that is needed to judge changed records alone.
///
/// However it got there, it says what [`judge`](super::judge) says of the same records, strays and local facts.
#[derive(Debug, Default)]
pub struct Judge {
    local: Local,
    /// Whether `local` is a host's. Without one, nothing is refused for the want of an interface.
    is_host: bool,
    own: Option<IpAddr>,
    /// Every address of this host.
    addresses: BTreeSet<IpAddr>,
    hosts: BTreeMap<IpAddr, Host>,
    contest: Contest,
    refused: BTreeMap<(Key, Option<IpNet>), String>,
    strays: Vec<Stray>,
}

/// What is told about one host.
#[derive(Debug, Clone)]
struct Host {
    /// The file that counts.
    key: Key,
    record: Arc<Record>,
    /// Files about the same host in other spellings, which don't.
    others: BTreeMap<Key, Arc<Record>>,
}

/// What an update may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Anything: all was judged anew.
    Anew,
    /// This alone.
    Only(Changes),
}

/// What became of changed records, and of what overlaps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The prefixes whose routes may be others than before; [`Judge::next_hop`] tells them.
    pub prefixes: BTreeSet<IpNet>,
    /// The files, and prefixes in them, that may be refused otherwise than before, and why they are now, if they are.
    pub refused: BTreeMap<(String, Option<IpNet>), Option<String>>,
}

/// What is to be looked at, and what was looked at, while records are taken in.
#[derive(Default)]
struct Work {
    /// New claims, in order of hosts and prefixes.
    new: Vec<(IpAddr, IpNet)>,
    /// Claims that a change of lower hosts' may have changed.
    touched: BTreeSet<(IpAddr, IpNet)>,
    prefixes: BTreeSet<IpNet>,
    refused: BTreeSet<(Key, Option<IpNet>)>,
    /// Whether nobody asks what changed.
    anew: bool,
}

impl Judge {
    /// Makes the judge of a host that knows no record yet.
    pub fn new(local: Local) -> Self {
        let nets = local.underlay.iter().chain(local.elsewhere.iter().map(|(_, net)| net));
        let addresses = nets.map(IpNet::addr).collect();
        let own = local.own.as_ref().and_then(Record::host_of);
        Self { local, is_host: true, own, addresses, ..Self::default() }
    }

    /// Makes the judge of what every host refuses, whatever its own interfaces are.
    pub(super) fn of_no_host() -> Self {
        Self { is_host: false, ..Self::new(Local::default()) }
    }

    /// Returns what is known of this host.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Takes in the records as they are now. `changed` are the keys of those that may differ from the last update's, those
    /// that are gone included; without it all is judged anew.
    pub fn update(&mut self, records: &Records, strays: &[Stray], changed: Option<&BTreeSet<Key>>) -> Update {
        let Some(changed) = changed else {
            let is_host = self.is_host;
            *self = Self { is_host, ..Self::new(std::mem::take(&mut self.local)) };
            self.strays = strays.to_vec();
            self.take_all(records);
            return Update::Anew;
        };
        let mut work = Work::default();
        self.take(changed.iter().map(|key| (key, records.get(key))), &mut work);
        let mut changes = Changes { prefixes: work.prefixes, ..Changes::default() };
        for (key, prefix) in work.refused {
            let why = self.refused.get(&(key.clone(), prefix)).cloned();
            changes.refused.insert((key.to_string(), prefix), why);
        }
        if self.strays != strays {
            let before = std::mem::replace(&mut self.strays, strays.to_vec());
            changes.refused.extend(before.into_iter().map(|stray| ((stray.name, None), None)));
            let now = strays.iter().map(|stray| ((stray.name.clone(), None), Some(stray.reason.clone())));
            changes.refused.extend(now);
        }
        Update::Only(changes)
    }

    /// Returns what is to be routed, sorted by prefix, each with its next hop.
    pub fn routes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        self.contest.accepted().map(|(prefix, _, next_hop)| (prefix, next_hop))
    }

    /// Returns the next hop of a prefix, where it is to be routed.
    pub fn next_hop(&self, prefix: IpNet) -> Option<IpAddr> {
        self.contest.next_hop(prefix)
    }

    /// Returns what is to be routed, sorted by prefix, and whose it is.
    pub fn accepted(&self) -> impl Iterator<Item = Accepted> {
        self.contest.accepted().filter_map(|(prefix, address, next_hop)| {
            let Host { key, record, .. } = self.hosts.get(&address)?;
            let host = if record.name.is_empty() { record.host.to_string() } else { record.name.clone() };
            let networks = record.prefixes().filter(|(_, other)| other.trunc() == prefix);
            let network = networks.map(|(network, _)| network).min().unwrap_or_default().to_owned();
            Some(Accepted { key: key.clone(), host, network, prefix, next_hop })
        })
    }

    /// Returns what is left out, sorted by file.
    pub fn refused(&self) -> Vec<Refused> {
        let refused = self.refused.iter().map(|((key, prefix), reason)| Refused {
            file: key.to_string(),
            prefix: *prefix,
            reason: reason.clone(),
        });
        let strays = self.strays.iter().map(|stray| Refused {
            file: stray.name.clone(),
            prefix: None,
            reason: stray.reason.clone(),
        });
        let mut refused: Vec<Refused> = refused.chain(strays).collect();
        refused.sort_by(|a, b| (&a.file, a.prefix, &a.reason).cmp(&(&b.file, b.prefix, &b.reason)));
        refused
    }

    /// Returns the whole judgement.
    pub fn judgement(&self) -> Judgement {
        Judgement { accepted: self.accepted().collect(), refused: self.refused() }
    }

    /// Takes in files as they are now, `None` for one that is gone.
    fn take<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a Key, Option<&'a Result<Arc<Record>, Reason>>)>,
        work: &mut Work,
    ) {
        let mut hosts = BTreeSet::new();
        for (key, record) in files {
            // A record stands under a key that names its host, else it had been refused by itself.
            if let Some(host) = Record::host_of(key) {
                if hosts.insert(host) {
                    self.leave(host, work);
                }
                self.put(host, key, record.and_then(|record| record.as_ref().ok()));
            }
            self.pardon(key, None, work);
            if let Some(Err(reason)) = record {
                self.refuse(key.clone(), None, reason.0.clone(), work);
            }
        }
        for host in hosts {
            self.enter(host, work);
        }
        self.settle_all(work);
    }

    /// Looks at the claims in order of hosts, so that those of lower hosts are settled.
    fn settle_all(&mut self, work: &mut Work) {
        let mut new = std::mem::take(&mut work.new).into_iter().peekable();
        loop {
            let next = match (new.peek(), work.touched.first()) {
                (Some(new), Some(touched)) => new <= touched,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return,
            };
            let next = if next { new.next() } else { work.touched.pop_first() };
            if let Some((host, prefix)) = next {
                self.settle(host, prefix, work);
            }
        }
    }

    /// As [`Judge::take`], for a judge that knows nothing yet: sorted, claims that nobody contests are found in one walk.
    fn take_all(&mut self, records: &Records) {
        let mut work = Work { anew: true, ..Work::default() };
        let mut files = Vec::with_capacity(records.len());
        for (key, record) in records {
            match record {
                Ok(record) => files.push((record.host, key, record)),
                Err(Reason(reason)) => self.refuse(key.clone(), None, reason.clone(), &mut work),
            }
        }
        files.sort_by_key(|(address, ..)| *address);
        let mut hosts = Vec::with_capacity(files.len());
        for files in files.chunk_by(|(one, ..), (other, ..)| one == other) {
            let address = files.first().map(|(address, ..)| *address);
            let files = files.iter().map(|(_, key, record)| ((*key).clone(), Arc::clone(record)));
            hosts.extend(address.and_then(|address| Some((address, Host::of(address, files.collect())?))));
        }
        drop(files);
        let mut claims = Vec::with_capacity(hosts.len());
        for (address, host) in &hosts {
            self.claims(*address, host, &mut claims, &mut work);
        }
        self.hosts = hosts.into_iter().collect();
        claims.sort_unstable();
        claims.dedup();
        let alone = |claim| {
            let (standing, reason) = self.uncontested(claim);
            let key = self.hosts.get(&claim.host).map(|host| &host.key);
            if let (Some(reason), Some(key)) = (reason, key) {
                self.refused.insert((key.clone(), Some(claim.prefix)), reason);
            }
            standing
        };
        let (contest, contested) = Contest::of(&claims, alone);
        drop(claims);
        self.contest = contest;
        work.new = contested;
        self.settle_all(&mut work);
    }

    /// Puts a file in its place among those about its host, or takes it out.
    fn put(&mut self, host: IpAddr, key: &Key, record: Option<&Arc<Record>>) {
        let mut files = match self.hosts.remove(&host) {
            Some(Host { key, record, mut others }) => {
                others.insert(key, record);
                others
            }
            None => BTreeMap::new(),
        };
        match record {
            Some(record) => files.insert(key.clone(), Arc::clone(record)),
            None => files.remove(key),
        };
        self.hosts.extend(Host::of(host, files).map(|told| (host, told)));
    }

    /// Takes back all that was said of a host's record.
    fn leave(&mut self, host: IpAddr, work: &mut Work) {
        let Some(Host { key, record, others }) = self.hosts.get(&host) else { return };
        let keys: Vec<Key> = others.keys().chain([key]).cloned().collect();
        let (key, record) = (key.clone(), Arc::clone(record));
        for other in &keys {
            self.pardon(other, None, work);
        }
        for (_, prefix) in record.prefixes() {
            let prefix = prefix.trunc();
            self.pardon(&key, Some(prefix), work);
            if self.contest.withdraw(prefix, host) {
                work.touched.extend(self.contest.touched(prefix, host));
            }
            work.changes(prefix);
        }
    }

    /// Lets a host's record claim what it may.
    fn enter(&mut self, address: IpAddr, work: &mut Work) {
        let Some(host) = self.hosts.get(&address).cloned() else { return };
        let mut claims = Vec::new();
        self.claims(address, &host, &mut claims, work);
        claims.sort_unstable();
        for claim in claims {
            self.contest.enter(claim);
            work.new.push((address, claim.prefix));
        }
    }

    /// Adds what a host's record claims, and refuses what it can't. A prefix that stands there twice is added twice.
    fn claims(&mut self, address: IpAddr, host: &Host, claims: &mut Vec<Claim>, work: &mut Work) {
        let Host { key, record, others } = host;
        for loser in others.keys() {
            let reason = format!("{key} is about the same host {address}; remove one of them");
            self.refuse(loser.clone(), None, reason, work);
        }
        if let Underlay::Unknown(kind, _) = &record.underlay {
            let reason = format!("the underlay {kind:?} is not known to this ipvland (known: direct)");
            return self.refuse(key.clone(), None, reason, work);
        }
        for (_, prefix) in record.prefixes() {
            let prefix = prefix.trunc();
            match self.may_claim(record, prefix) {
                Ok(next_hop) => claims.push(Claim { prefix, host: address, next_hop }),
                Err(Reason(reason)) => self.refuse(key.clone(), Some(prefix), reason, work),
            }
        }
    }

    /// Returns the next hop of a prefix that takes part in the contest.
    fn may_claim(&self, record: &Record, prefix: IpNet) -> Result<IpAddr, Reason> {
        reserved::check_prefix(prefix)?;
        self.local.check_underlay(prefix)?;
        self.local.next_hop(record, prefix)
    }

    /// Finds what becomes of a claim, when those of all lower hosts are settled.
    fn settle(&mut self, host: IpAddr, prefix: IpNet, work: &mut Work) {
        let (Some(claim), Some(Host { key, .. })) = (self.contest.claim(prefix, host), self.hosts.get(&host))
        else {
            return;
        };
        let key = key.clone();
        let (standing, reason) = match self.contest.winner(prefix, host) {
            Some((theirs, owner)) => {
                let owner = self.hosts.get(&owner).map(|host| host.key.to_string()).unwrap_or_default();
                let reason = format!("it overlaps {theirs} of {owner}, whose host has the lower address");
                (Standing::Lost, Some(reason))
            }
            None => self.uncontested(claim),
        };
        match reason {
            Some(reason) => self.refuse(key, Some(prefix), reason, work),
            None => self.pardon(&key, Some(prefix), work),
        }
        if self.contest.settle(prefix, host, standing) {
            work.touched.extend(self.contest.touched(prefix, host));
        }
        work.changes(prefix);
    }

    /// Finds what becomes of a claim that no lower host's stands against.
    fn uncontested(&self, claim: Claim) -> (Standing, Option<String>) {
        if self.own == Some(claim.host) {
            return (Standing::Kept, None);
        }
        match self.may_route(claim.prefix, claim.next_hop) {
            Ok(()) => (Standing::Accepted, None),
            Err(Reason(reason)) => (Standing::Kept, Some(reason)),
        }
    }

    /// Says why this host alone can't route a prefix that is another's.
    fn may_route(&self, prefix: IpNet, next_hop: IpAddr) -> Result<(), Reason> {
        if self.is_host {
            self.local.check_family(next_hop)?;
        }
        if self.addresses.contains(&next_hop) {
            return Err(Reason(format!("next hop {next_hop} is an address of this host itself")));
        }
        self.local.check_elsewhere(prefix)
    }

    fn refuse(&mut self, key: Key, prefix: Option<IpNet>, reason: String, work: &mut Work) {
        let place = (key, prefix);
        if !work.anew {
            work.refused.insert(place.clone());
        }
        self.refused.insert(place, reason);
    }

    fn pardon(&mut self, key: &Key, prefix: Option<IpNet>, work: &mut Work) {
        // Few are refused; most often there is nothing to look for.
        if self.refused.is_empty() {
            return;
        }
        let place = (key.clone(), prefix);
        if self.refused.remove(&place).is_some() && !work.anew {
            work.refused.insert(place);
        }
    }
}

impl Host {
    /// Chooses the file that counts: the one that a host writes by itself wins over those in another spelling; else the
    /// first by name.
    fn of(host: IpAddr, mut files: BTreeMap<Key, Arc<Record>>) -> Option<Self> {
        let own = (files.len() > 1).then(|| files.remove_entry(&Record::key(host))).flatten();
        let (key, record) = own.or_else(|| files.pop_first())?;
        Some(Self { key, record, others: files })
    }
}

impl Work {
    fn changes(&mut self, prefix: IpNet) {
        if !self.anew {
            self.prefixes.insert(prefix);
        }
    }
}
