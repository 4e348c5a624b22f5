//! Which names are believed, and where they lead: pure functions of what the hosts tell.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    fleet::NamesFiles,
    policy::{Records, Refused, check_address},
    record::{Names, NamesRecord, Record},
};

/// Addresses by whole names in lower case, `db.net1`.
#[derive(Debug, Default)]
pub(super) struct Table {
    addresses: HashMap<String, Vec<IpAddr>>,
}

/// What the fleet's names came to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) table: Table,
    /// How many names of other hosts are believed.
    pub(super) learned: usize,
    /// What is left out: a file, or names of it.
    pub(super) refused: Vec<Refused>,
}

impl Table {
    /// Returns the addresses of a whole name in lower case, or nothing if there is no such name.
    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(Vec::as_slice)
    }

    fn add(&mut self, network: &str, name: &str, addresses: impl Iterator<Item = IpAddr>) {
        let known = self.addresses.entry(format!("{name}.{network}")).or_default();
        for address in addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
}

/// Judges the names of all hosts; `id` is this machine's, and `own` are its names where Docker has told them, which then
/// count in the place of what the store shows.
pub(super) fn judge(files: &NamesFiles, records: &Records, id: &str, own: Option<&Names>) -> Judged {
    let owners = Owners::new(records);
    let mut judged = Judged::default();
    for (network, names) in own.into_iter().flatten() {
        for (name, addresses) in names {
            judged.table.add(network, name, addresses.iter().copied());
        }
    }
    for (key, file) in files {
        let whole = match file {
            Ok(file) if file.id == id && own.is_some() => continue,
            Ok(file) => whose(file, records).map(|()| file),
            Err(reason) => Err(reason.0.clone()),
        };
        let (told, why) = match whole {
            Ok(file) => {
                let told = believed(file, &owners, &mut judged.table);
                if file.id != id {
                    judged.learned += told.count;
                }
                (told.refused, None)
            }
            Err(why) => (BTreeMap::new(), Some(why)),
        };
        // A file may be wrong in all of its names for one reason: one line is enough.
        let more = told.len().saturating_sub(1);
        let first = told.into_iter().next().map(|(name, why)| match more {
            0 => format!("{name}: {why}"),
            _ => format!("{name}: {why}, and {more} more names"),
        });
        let reason = why.or(first);
        judged.refused.extend(reason.map(|reason| Refused { file: key.to_string(), prefix: None, reason }));
    }
    judged
}

/// Checks that the machine which has a host's record also has its names.
fn whose(file: &NamesRecord, records: &Records) -> Result<(), String> {
    let record = records.get(&Record::key(file.host)).and_then(|record| record.as_ref().ok());
    match record.and_then(|record| record.id.as_deref()) {
        Some(id) if id != file.id => {
            Err(format!("another machine (id {id}) than that of these names publishes as {}", file.host))
        }
        _ => Ok(()),
    }
}

struct Told {
    count: usize,
    refused: BTreeMap<String, String>,
}

fn believed(file: &NamesRecord, owners: &Owners, table: &mut Table) -> Told {
    let mut told = Told { count: 0, refused: BTreeMap::new() };
    for (network, names) in &file.names {
        for (name, addresses) in names {
            let wrong = addresses.iter().find_map(|address| owners.check(*address, file.host).err());
            match wrong {
                Some(why) => _ = told.refused.insert(format!("{name}.{network}"), why),
                None => {
                    told.count += 1;
                    table.add(network, name, addresses.iter().copied());
                }
            }
        }
    }
    told
}

/// Whose which part of the address space is, by what hosts publish and lease.
struct Owners {
    nets: HashMap<IpNet, Vec<IpAddr>>,
    /// The lengths that occur, of IPv4 and of IPv6.
    lengths: [BTreeSet<u8>; 2],
}

impl Owners {
    fn new(records: &Records) -> Self {
        let mut owners = Self { nets: HashMap::new(), lengths: Default::default() };
        for record in records.values().flatten() {
            let prefixes = record.prefixes().map(|(_, prefix)| prefix);
            for net in prefixes.chain(record.blocks.iter().copied()) {
                owners.lengths[usize::from(net.addr().is_ipv6())].insert(net.prefix_len());
                owners.nets.entry(net.trunc()).or_default().push(record.host);
            }
        }
        owners
    }

    /// Says why a host's container can't have an address. One that no host publishes or leases is of a segment that they
    /// share without leases, and nobody can tell whose it is.
    fn check(&self, address: IpAddr, host: IpAddr) -> Result<(), String> {
        check_address(address).map_err(|reason| reason.0)?;
        let mut other = None;
        for length in &self.lengths[usize::from(address.is_ipv6())] {
            let net = IpNet::new(address, *length).map(|net| net.trunc());
            let Some((net, hosts)) = net.ok().and_then(|net| Some((net, self.nets.get(&net)?))) else {
                continue;
            };
            if hosts.contains(&host) {
                return Ok(());
            }
            other = hosts.first().map(|host| (net, *host));
        }
        match other {
            Some((net, other)) => Err(format!("{address} is in {net}, which {other} has")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Record;

    fn file(host: &str, id: &str, names: &[(&str, &str, &str)]) -> NamesRecord {
        let mut all = Names::new();
        for (network, name, address) in names {
            let addresses = all.entry((*network).into()).or_default().entry((*name).into()).or_default();
            addresses.insert(address.parse().unwrap());
        }
        NamesRecord { host: host.parse().unwrap(), id: id.into(), names: all }
    }

    fn files(files: Vec<NamesRecord>) -> NamesFiles {
        files.into_iter().map(|file| (NamesRecord::key(file.host), Ok(Arc::new(file)))).collect()
    }

    fn records(hosts: &[(&str, &str, &str, &str)]) -> Records {
        let record = |(host, id, prefix, block): &(&str, &str, &str, &str)| {
            let key = Record::key(host.parse().unwrap());
            let blocks = if block.is_empty() { String::new() } else { format!("\"{block}\"") };
            let text = format!(
                "{{\"version\": 1, \"host\": \"{host}\", \"id\": \"{id}\", \"next_hops\": [\"{host}\"], \"networks\": \
                 [{{\"name\": \"n\", \"prefixes\": [\"{prefix}\"]}}], \"blocks\": [{blocks}]}}"
            );
            (key.clone(), Ok(Arc::new(Record::parse(&key, text.as_bytes()).unwrap())))
        };
        hosts.iter().map(record).collect()
    }

    fn addresses(judged: &Judged, name: &str) -> Vec<String> {
        let mut found: Vec<_> =
            judged.table.get(name).unwrap_or_default().iter().map(ToString::to_string).collect();
        found.sort();
        found
    }

    #[test]
    fn hosts_that_have_one_name_are_all_told() {
        let files = files(vec![
            file("10.1.1.48", "a", &[("net1", "web", "10.1.48.7")]),
            file("10.1.1.51", "b", &[("net1", "web", "10.1.51.7"), ("net1", "db", "10.1.51.8")]),
        ]);
        let records =
            records(&[("10.1.1.48", "a", "10.1.48.0/24", ""), ("10.1.1.51", "b", "10.1.51.0/24", "")]);
        let judged = judge(&files, &records, "a", None);
        assert_eq!(addresses(&judged, "web.net1"), ["10.1.48.7", "10.1.51.7"]);
        assert_eq!(addresses(&judged, "db.net1"), ["10.1.51.8"]);
        assert!(judged.table.get("db").is_none() && judged.table.get("db.net2").is_none());
        assert_eq!((judged.learned, judged.refused.len()), (2, 0));
    }

    #[test]
    fn what_docker_says_of_the_own_host_counts_before_the_store() {
        let files = files(vec![file("10.1.1.48", "a", &[("net1", "old", "10.1.48.7")])]);
        let own = file("10.1.1.48", "a", &[("net1", "new", "10.1.48.8")]).names;
        let judged = judge(&files, &Records::new(), "a", Some(&own));
        assert_eq!(addresses(&judged, "new.net1"), ["10.1.48.8"]);
        assert!(judged.table.get("old.net1").is_none());
        assert_eq!(judged.learned, 0);
    }

    #[test]
    fn a_host_names_nothing_that_another_has() {
        let records = records(&[
            ("10.1.1.48", "a", "10.1.48.0/24", "192.168.1.16/28"),
            ("10.1.1.51", "b", "10.1.51.0/24", ""),
        ]);
        let names = [
            ("net1", "good", "10.1.51.7"),
            ("net1", "shared", "192.168.1.40"),
            ("net1", "taken", "10.1.48.7"),
            ("net1", "leased", "192.168.1.17"),
            ("net1", "loop", "127.0.0.1"),
            ("net1", "all", "0.0.0.0"),
            ("net1", "many", "ff02::1"),
        ];
        let mut all = files(vec![file("10.1.1.51", "b", &names), file("10.1.1.48", "x", &names[..1])]);
        all.insert(
            NamesRecord::key("10.1.1.9".parse().unwrap()),
            Err(crate::record::Reason("it is bad".into())),
        );
        let judged = judge(&all, &records, "a", None);
        for (name, wanted) in
            [("good", 1), ("shared", 1), ("taken", 0), ("leased", 0), ("loop", 0), ("all", 0)]
        {
            assert_eq!(addresses(&judged, &format!("{name}.net1")).len(), wanted, "{name}");
        }
        assert_eq!(judged.learned, 2);
        let refused: Vec<_> = judged.refused.iter().map(|r| format!("{} {}", r.file, r.reason)).collect();
        assert_eq!(
            refused,
            [
                "10.1.1.48.names.json another machine (id a) than that of these names publishes as 10.1.1.48",
                "10.1.1.51.names.json all.net1: 0.0.0.0 is in the unspecified range 0.0.0.0/8, and 4 more names",
                "10.1.1.9.names.json it is bad",
            ]
        );
    }

    #[test]
    fn a_prefix_inside_another_hosts_is_the_inner_ones() {
        // Blocks may lie inside a prefix that the same host publishes.
        let records = records(&[
            ("10.1.1.48", "a", "10.1.0.0/16", "10.1.48.0/28"),
            ("10.1.1.51", "b", "10.2.0.0/16", ""),
        ]);
        let own = files(vec![file("10.1.1.48", "a", &[("n", "x", "10.1.48.3"), ("n", "y", "10.1.50.3")])]);
        let judged = judge(&own, &records, "b", None);
        assert_eq!((judged.learned, judged.refused.len()), (2, 0));
    }
}
