//! Whether a new network is one that this host reaches: the option, the configuration, and what stands against it.

use std::net::IpAddr;

use super::{Refusal, wire::Pool};
use crate::{
    kernel::{Flag, Mode},
    network::{HostAccess, Network},
};

/// The name of the auxiliary address that is the host's: `--aux-address host=10.1.1.250`.
const AUX: &str = "host";

/// Reads the option `ipvland.host_access`.
pub(super) fn parse(wish: &str) -> Result<bool, Refusal> {
    match wish.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal(format!("ipvland.host_access {wish:?} is neither true nor false"))),
    }
}

/// Returns what a network gets: what its option says, else what the configuration says, `default`.
///
/// A network that can't have it is refused if it asked for it, and made without it if only the configuration did.
pub(super) fn wish<'a>(
    asked: Option<bool>,
    default: bool,
    pools: impl Iterator<Item = &'a Pool>,
    network: &Network,
) -> Result<Option<HostAccess>, Refusal> {
    if !asked.unwrap_or(default) {
        return Ok(None);
    }
    let access = HostAccess { addresses: aux_addresses(pools)? };
    match obstacle(network, &access) {
        None => Ok(Some(access)),
        Some(why) if asked.is_some() => Err(Refusal(why)),
        Some(_) => Ok(None),
    }
}

/// Says why two networks of one parent can't be: ipvlan has one flag a parent, and the host is reached by `bridge` only.
pub(super) fn conflict(new: &Network, known: &Network, label: &str) -> Option<Refusal> {
    if new.parent != known.parent || new.flag == known.flag {
        return None;
    }
    let (new_flag, flag) = (new.flag.as_str(), known.flag.as_str());
    if known.host_access.is_some() {
        return Some(Refusal(format!(
            "ipvlan_flag={new_flag} would cut this host off the containers of {label}, which has ipvland.host_access and \
             shares the parent {}: give another parent, or make {label} without ipvland.host_access",
            new.parent
        )));
    }
    new.host_access.is_some().then(|| {
        Refusal(format!(
            "ipvland.host_access needs ipvlan_flag=bridge on all networks of a parent, and {label} has {flag} on {}: give \
             another parent, or leave out ipvland.host_access",
            new.parent
        ))
    })
}

fn obstacle(network: &Network, access: &HostAccess) -> Option<String> {
    if network.flag != Flag::Bridge {
        let flag = network.flag.as_str();
        return Some(format!(
            "ipvland.host_access needs ipvlan_flag=bridge: with {flag}, links of a parent can't send to each other, and the \
             host is reached by such a link"
        ));
    }
    // Their containers have no route but to their own subnets.
    let internal = network.internal && network.mode != Mode::L2;
    let without = network.pools().find(|pool| {
        let given = access.addresses.iter().any(|address| pool.contains(address));
        internal && pool.addr().is_ipv4() && !given
    });
    without.map(|pool| {
        format!(
            "containers of an internal network in mode {} have no way to an address outside of {pool}: give the host one \
             in it with `--aux-address host=ADDRESS`, or leave out ipvland.host_access",
            network.mode
        )
    })
}

fn aux_addresses<'a>(pools: impl Iterator<Item = &'a Pool>) -> Result<Vec<IpAddr>, Refusal> {
    let texts = pools.filter_map(|pool| pool.aux.get(AUX));
    texts
        .map(|text| {
            let address = text.split('/').next().unwrap_or_default();
            address.parse().map_err(|_| Refusal(format!("the auxiliary address host={text:?} is no address")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::network::Subnet;

    fn network(mode: Mode, flag: Flag, internal: bool) -> Network {
        Network {
            id: "aa".into(),
            name: "blue".into(),
            parent: "eth2".into(),
            made_parent: false,
            mode,
            flag,
            mtu: None,
            internal,
            host_access: None,
            subnets: vec![Subnet { pool: "10.1.48.0/24".parse().unwrap(), gateway: None }],
            endpoints: Default::default(),
        }
    }

    fn pool(aux: serde_json::Value) -> Pool {
        serde_json::from_value(json!({"Pool": "10.1.48.0/24", "AuxAddresses": aux})).unwrap()
    }

    #[test]
    fn the_option_wins_over_the_configuration() {
        let blue = network(Mode::L3, Flag::Bridge, false);
        for (asked, default, wanted) in
            [(None, false, false), (None, true, true), (Some(false), true, false), (Some(true), false, true)]
        {
            let got = wish(asked, default, [].iter(), &blue).unwrap();
            assert_eq!(got.is_some(), wanted, "{asked:?} {default}");
        }
        for word in ["yes", "1", ""] {
            assert!(parse(word).unwrap_err().to_string().ends_with("is neither true nor false"), "{word}");
        }
        assert!(parse("True").unwrap());
    }

    #[test]
    fn a_flag_that_forbids_it_is_refused_when_asked_and_goes_without_otherwise() {
        for flag in [Flag::Private, Flag::Vepa] {
            let blue = network(Mode::L2, flag, false);
            let said = wish(Some(true), false, [].iter(), &blue).unwrap_err().to_string();
            assert!(said.starts_with("ipvland.host_access needs ipvlan_flag=bridge: with "), "{said}");
            assert_eq!(wish(None, true, [].iter(), &blue).unwrap(), None);
        }
    }

    #[test]
    fn the_address_set_aside_is_read_and_lets_an_internal_network_answer() {
        let blue = network(Mode::L3, Flag::Bridge, true);
        let said = wish(Some(true), false, [pool(json!(null))].iter(), &blue).unwrap_err().to_string();
        assert!(said.contains("--aux-address host=ADDRESS"), "{said}");
        for text in ["10.1.48.250", "10.1.48.250/24"] {
            let got =
                wish(Some(true), false, [pool(json!({"host": text, "other": "10.1.48.3"}))].iter(), &blue);
            assert_eq!(got.unwrap().unwrap().addresses, ["10.1.48.250".parse::<IpAddr>().unwrap()]);
        }
        assert!(wish(Some(true), false, [pool(json!({"host": "x"}))].iter(), &blue).is_err());
    }

    #[test]
    fn flags_of_one_parent_may_not_cut_the_host_off() {
        let with =
            Network { host_access: Some(HostAccess::default()), ..network(Mode::L2, Flag::Bridge, false) };
        let private = network(Mode::L2, Flag::Private, false);
        let said = conflict(&private, &with, "network blue").unwrap().to_string();
        assert!(said.contains("would cut this host off the containers of network blue"), "{said}");
        let said = conflict(&with, &private, "network blue").unwrap().to_string();
        assert!(said.contains("network blue has private on eth2"), "{said}");
        assert_eq!(conflict(&with, &with, ""), None);
        assert_eq!(conflict(&private, &Network { host_access: None, ..with.clone() }, ""), None);
        assert_eq!(conflict(&private, &Network { parent: "eth3".into(), ..with }, ""), None);
    }
}
