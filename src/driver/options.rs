//! From the options and pools of a CreateNetwork to a [`Network`]: a pure function.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    Refusal, Settings, host_access,
    wire::{self, CreateNetwork, Pool},
};
use crate::{
    datapath::dummy_name,
    kernel::{Flag, Mode},
    network::{Network, Subnet, short_id},
    parent::Parent,
};

/// Where Docker puts the `-o` options.
const GENERIC: &str = "com.docker.network.generic";
/// What `--internal` becomes.
const INTERNAL: &str = "com.docker.network.internal";
/// Docker's own option for the MTU.
const DRIVER_MTU: &str = "com.docker.network.driver.mtu";

const KNOWN: &str = "parent (or host_iface), ipvlan_mode (or mode), ipvlan_flag, mtu (or \
                     com.docker.network.driver.mtu), ipvland.name, ipvland.host_access";

/// What the options of a network ask for; what they leave open is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) parent: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) flag: Option<Flag>,
    pub(super) mtu: Option<u32>,
    pub(super) name: Option<String>,
    pub(super) host_access: Option<bool>,
    pub(super) internal: bool,
}

impl Wish {
    /// Tells whether the network gets no way out: as was asked for, or since neither it nor the host names a parent.
    pub(super) fn is_internal(&self, settings: &Settings) -> bool {
        self.internal || self.parent.is_none() && settings.interface.is_none()
    }
}

/// Reads the options of CreateNetwork or GwAllocCheck.
pub(super) fn read(options: &Map<String, Value>) -> Result<Wish, Refusal> {
    let empty = Map::new();
    let generic = match options.get(GENERIC) {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(generic)) => generic,
        Some(_) => return Err(Refusal(format!("{GENERIC} is not a map of options"))),
    };
    let mut given = BTreeMap::new();
    for (key, value) in generic {
        let value = match value {
            Value::String(value) => value.trim().to_owned(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return Err(Refusal(format!("option {key} is neither text, a number, true nor false"))),
        };
        given.insert(key.as_str(), value);
    }
    let parent = one_of(&mut given, "parent", "host_iface")?.map(check_parent).transpose()?;
    let mode = one_of(&mut given, "ipvlan_mode", "mode")?.map(|mode| parse_mode(&mode)).transpose()?;
    let flag = given.remove("ipvlan_flag").map(|flag| parse_flag(&flag)).transpose()?;
    let mtu = one_of(&mut given, DRIVER_MTU, "mtu")?.map(|mtu| parse_mtu(&mtu)).transpose()?;
    let name = given.remove("ipvland.name").map(check_name).transpose()?;
    let host_access =
        given.remove("ipvland.host_access").map(|wish| host_access::parse(&wish)).transpose()?;
    let internal = truth(options.get(INTERNAL)) || given.get(INTERNAL).is_some_and(|value| value == "true");
    // Docker's own options ask for nothing that a container would miss on our networks.
    match given.keys().find(|key| !key.starts_with("com.docker.")) {
        Some(unknown) => Err(Refusal(format!("unknown option {unknown:?} (known: {KNOWN})"))),
        None => Ok(Wish { parent, mode, flag, mtu, name, host_access, internal }),
    }
}

/// Returns the network that a CreateNetwork asks for, with what the host's configuration says for the rest.
pub(super) fn network(request: &CreateNetwork, settings: &Settings) -> Result<Network, Refusal> {
    wire::check_id("network", &request.network)?;
    let wish = read(&request.options)?;
    let internal = wish.is_internal(settings);
    let parent = match (wish.parent, &settings.interface) {
        (Some(parent), _) => parent,
        (None, Some(interface)) if !internal => interface.clone(),
        (None, _) => dummy_name(&request.network),
    };
    let mut subnets = Vec::new();
    for pool in request.ipv4.iter().chain(&request.ipv6) {
        subnets.extend(read_pool(pool)?);
    }
    if subnets.is_empty() {
        return Err(Refusal(
            "the network has no subnet: give one with `--subnet 10.1.48.0/24`, and keep Docker's own address \
             management (no `--ipam-driver null`)"
                .to_owned(),
        ));
    }
    let mode = wish.mode.unwrap_or(settings.defaults.mode);
    let mtu = wish.mtu.or(settings.defaults.mtu);
    let has_v6 = subnets.iter().any(|subnet| matches!(subnet.pool, IpNet::V6(_)));
    if let (Some(mtu), true) = (mtu.filter(|mtu| *mtu < 1280), has_v6) {
        return Err(Refusal(format!(
            "MTU {mtu} is too small for IPv6, which needs 1280 at least (RFC 8200)"
        )));
    }
    if mode == Mode::L2 && !internal {
        for subnet in &mut subnets {
            subnet.gateway = gateway(subnet, settings.defaults.gateway);
        }
    } else {
        // L3 containers leave by the interface itself, and internal ones not at all.
        subnets.iter_mut().for_each(|subnet| subnet.gateway = None);
    }
    let mut network = Network {
        name: wish.name.unwrap_or_else(|| short_id(&request.network).to_owned()),
        id: request.network.clone(),
        parent,
        made_parent: false,
        mode,
        flag: wish.flag.unwrap_or(settings.defaults.flag),
        mtu,
        internal,
        host_access: None,
        subnets,
        endpoints: BTreeMap::new(),
    };
    let pools = request.ipv4.iter().chain(&request.ipv6);
    network.host_access =
        host_access::wish(wish.host_access, settings.defaults.host_access, pools, &network)?;
    Ok(network)
}

/// Returns the gateway of an L2 subnet: the configured one in place of one that Docker picked by itself.
///
/// Docker doesn't say whether the user asked for a gateway; the first address is what it picks.
fn gateway(subnet: &Subnet, configured: Option<IpAddr>) -> Option<IpAddr> {
    let first = match subnet.pool {
        IpNet::V4(pool) if pool.prefix_len() < 31 => {
            IpAddr::V4(Ipv4Addr::from_bits(pool.network().to_bits() | 1))
        }
        IpNet::V6(pool) if pool.prefix_len() < 127 => {
            IpAddr::V6(Ipv6Addr::from_bits(pool.network().to_bits() | 1))
        }
        pool => pool.network(),
    };
    match configured {
        Some(address) if subnet.pool.contains(&address) && subnet.gateway.is_none_or(|gw| gw == first) => {
            Some(address)
        }
        _ => subnet.gateway,
    }
}

fn read_pool(pool: &Pool) -> Result<Option<Subnet>, Refusal> {
    if pool.pool.is_empty() {
        return Ok(None);
    }
    let net: IpNet = pool
        .pool
        .parse()
        .map_err(|_| Refusal(format!("{:?} is not a subnet such as 10.1.48.0/24", pool.pool)))?;
    if net.prefix_len() == 0 {
        // Docker's null address management gives 0.0.0.0/0 and ::/0.
        return Ok(None);
    }
    let gateway = match pool.gateway.split('/').next() {
        None | Some("") => None,
        Some(text) => {
            let wrong = || Refusal(format!("gateway {:?} is not an address", pool.gateway));
            Some(text.parse::<IpAddr>().map_err(|_| wrong())?)
        }
    };
    Ok(Some(Subnet { pool: net.trunc(), gateway }))
}

/// Takes an option that has two names.
fn one_of(given: &mut BTreeMap<&str, String>, name: &str, other: &str) -> Result<Option<String>, Refusal> {
    match (given.remove(name), given.remove(other)) {
        (Some(one), Some(two)) if one != two => Err(Refusal(format!(
            "options {name}={one} and {other}={two} contradict each other: give one of them"
        ))),
        (one, two) => Ok(one.or(two)),
    }
}

fn check_parent(text: String) -> Result<String, Refusal> {
    let parent: Parent = text.parse().map_err(|problem| Refusal(format!("parent {problem}")))?;
    Ok(parent.to_string())
}

fn check_name(name: String) -> Result<String, Refusal> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if (1..=64).contains(&name.len()) && name.chars().all(letters) {
        return Ok(name);
    }
    Err(Refusal(format!(
        "ipvland.name {name:?} is no name: letters, digits, `_`, `.` and `-` only, at most 64"
    )))
}

fn parse_mode(mode: &str) -> Result<Mode, Refusal> {
    match mode.to_ascii_lowercase().as_str() {
        "l2" => Ok(Mode::L2),
        "l3" => Ok(Mode::L3),
        "l3s" => Ok(Mode::L3s),
        _ => Err(Refusal(format!("unknown ipvlan_mode {mode:?} (known: l2, l3, l3s)"))),
    }
}

fn parse_flag(flag: &str) -> Result<Flag, Refusal> {
    match flag.to_ascii_lowercase().as_str() {
        "bridge" => Ok(Flag::Bridge),
        "private" => Ok(Flag::Private),
        "vepa" => Ok(Flag::Vepa),
        _ => Err(Refusal(format!("unknown ipvlan_flag {flag:?} (known: bridge, private, vepa)"))),
    }
}

fn parse_mtu(mtu: &str) -> Result<u32, Refusal> {
    match mtu.parse() {
        Ok(bytes) if (68..=65_535).contains(&bytes) => Ok(bytes),
        _ => Err(Refusal(format!("mtu {mtu:?} is not a number of bytes from 68 to 65535"))),
    }
}

fn truth(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => value == "true",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::NetworkConfig;

    fn settings() -> Settings {
        Settings {
            defaults: NetworkConfig::default(),
            interface: Some("eth2".to_owned()),
            deadline: Duration::from_secs(1),
            patience: Duration::from_secs(1),
        }
    }

    fn request(generic: Value, pools: &[(&str, &str)]) -> CreateNetwork {
        let pools: Vec<_> = pools.iter().map(|(pool, gw)| json!({"Pool": pool, "Gateway": gw})).collect();
        serde_json::from_value(json!({
            "NetworkID": "0123456789abcdef", "Options": {GENERIC: generic}, "IPv4Data": pools, "IPv6Data": null,
        }))
        .unwrap()
    }

    fn refused(generic: Value) -> String {
        network(&request(generic, &[("10.0.0.0/24", "")]), &settings()).unwrap_err().to_string()
    }

    #[test]
    fn every_option_is_read() {
        let asked = request(
            json!({"parent": "eth2.20", "ipvlan_mode": "l3s", "ipvlan_flag": "vepa", DRIVER_MTU: "1400",
                   "ipvland.name": "blue", "com.docker.network.something": "x"}),
            &[("10.1.48.0/24", ""), ("10.1.49.7/24", "")],
        );
        let made = network(&asked, &settings()).unwrap();
        assert_eq!((made.parent.as_str(), made.mode, made.flag), ("eth2.20", Mode::L3s, Flag::Vepa));
        assert_eq!((made.mtu, made.name.as_str()), (Some(1400), "blue"));
        assert_eq!(made.subnets[1].pool.to_string(), "10.1.49.0/24");
    }

    #[test]
    fn the_first_plugins_names_are_read() {
        let asked = request(json!({"host_iface": "eth7", "mode": "L3", "mtu": 1300}), &[("10.0.0.0/24", "")]);
        let made = network(&asked, &settings()).unwrap();
        assert_eq!((made.parent.as_str(), made.mode, made.mtu), ("eth7", Mode::L3, Some(1300)));
        assert_eq!(made.name, "0123456789ab");
    }

    #[test]
    fn what_cannot_be_is_refused_in_a_sentence() {
        for (generic, sentence) in [
            (json!({"parnet": "eth2"}), "unknown option \"parnet\" (known: parent (or host_iface), "),
            (json!({"parent": "eth2", "host_iface": "eth3"}), "parent=eth2 and host_iface=eth3 contradict"),
            (json!({"mode": "l4"}), "unknown ipvlan_mode \"l4\" (known: l2, l3, l3s)"),
            (json!({"ipvlan_flag": "x"}), "unknown ipvlan_flag \"x\" (known: bridge, private, vepa)"),
            (json!({"mtu": "-1"}), "not a number of bytes from 68 to 65535"),
            (json!({"parent": "a-name-too-long-for-linux"}), "is not the name of an interface"),
            (json!({"parent": ""}), "is not the name of an interface"),
            (json!({"parent": {"a": 1}}), "option parent is neither text"),
            (json!({"ipvland.name": "../x"}), "is no name"),
            (json!("x"), "is not a map of options"),
        ] {
            let said = refused(generic);
            assert!(said.contains(sentence), "{said}");
        }
        let asked = request(json!({"parent": "eth2", "host_iface": "eth2"}), &[("10.0.0.0/24", "")]);
        assert!(network(&asked, &settings()).is_ok(), "the same twice is no contradiction");
    }

    #[test]
    fn no_parent_is_a_dummy_and_internal_where_the_host_has_no_interface_or_it_is_asked_for() {
        let nowhere = Settings { interface: None, ..settings() };
        let asked = request(json!({"mode": "l3"}), &[("10.0.0.0/24", "10.0.0.1/24")]);
        let made = network(&asked, &nowhere).unwrap();
        assert_eq!((made.parent.as_str(), made.internal), ("di-0123456789ab", true));
        let made = network(&asked, &settings()).unwrap();
        assert_eq!((made.parent.as_str(), made.internal), ("eth2", false));
        let mut asked = request(json!({}), &[("10.0.0.0/24", "10.0.0.1/24")]);
        asked.options.insert(INTERNAL.to_owned(), json!(true));
        let made = network(&asked, &settings()).unwrap();
        assert_eq!((made.parent.as_str(), made.internal), ("di-0123456789ab", true));
        assert_eq!(made.subnets[0].gateway, None);
        let mut asked = request(json!({"parent": "eth2"}), &[("10.0.0.0/24", "10.0.0.1/24")]);
        asked.options.insert(INTERNAL.to_owned(), json!(true));
        let made = network(&asked, &settings()).unwrap();
        assert_eq!((made.parent.as_str(), made.internal), ("eth2", true));
    }

    #[test]
    fn no_subnet_says_how_to_give_one() {
        for pools in [&[][..], &[("0.0.0.0/0", "")], &[("", "")]] {
            let said = network(&request(json!({}), pools), &settings()).unwrap_err().to_string();
            assert!(said.contains("--subnet 10.1.48.0/24"), "{said}");
        }
    }

    #[test]
    fn a_configured_gateway_replaces_only_what_docker_picked() {
        let configured = Some("10.0.0.254".parse().unwrap());
        let mut settings = settings();
        settings.defaults.gateway = configured;
        let of =
            |pool, gw| network(&request(json!({}), &[(pool, gw)]), &settings).unwrap().subnets[0].gateway;
        assert_eq!(of("10.0.0.0/24", "10.0.0.1/24"), configured);
        assert_eq!(of("10.0.0.0/24", ""), configured, "Docker 29 infers none");
        assert_eq!(of("10.0.0.0/24", "10.0.0.7/24"), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(of("10.9.0.0/24", "10.9.0.1/24"), Some("10.9.0.1".parse().unwrap()));
    }

    #[test]
    fn small_subnets_and_small_mtus() {
        for pool in ["10.0.0.4/31", "10.0.0.4/32", "2001:db8::/127", "2001:db8::1/128"] {
            let made = network(&request(json!({"mode": "l3"}), &[(pool, "")]), &settings()).unwrap();
            assert_eq!(made.subnets[0].pool.to_string(), pool);
        }
        let asked = request(json!({"mtu": "1000"}), &[("2001:db8::/64", "")]);
        assert!(network(&asked, &settings()).unwrap_err().to_string().contains("1280"));
    }
}
