//! Which subnets a host may call its own.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a subnet that may be published. The record's policy judges it again, together with what the kernel has.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub(super) fn parse(word: &str) -> Result<IpNet, String> {
    let subnet: IpNet = word.parse().map_err(|_| match word.parse::<IpAddr>() {
        Ok(address) => format!("{word:?} lacks its length: write \"{address}/24\", for instance"),
        Err(_) => format!("must be a subnet such as \"10.1.48.0/24\", or a list of them, not {word:?}"),
    })?;
    if subnet.trunc() != subnet {
        return Err(format!("{word:?} has host bits: write \"{}\"", subnet.trunc()));
    }
    match why_not(subnet) {
        Some(what) => {
            Err(format!("{word:?} is {what}, which would cut hosts off: name this host's own subnet"))
        }
        None => Ok(subnet),
    }
}

/// Parses an address or a subnet that is to be kept free; an address alone is a subnet of one.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub(super) fn parse_part(word: &str) -> Result<IpNet, String> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match word.parse::<IpNet>() {
        Ok(subnet) if subnet.trunc() == subnet => Ok(subnet),
        Ok(subnet) => {
            Err(format!("{word:?} has host bits: write \"{}\", or the address alone", subnet.trunc()))
        }
        Err(_) => {
            Err(format!("must be an address such as \"10.1.1.1\", a subnet, or a list of them, not {word:?}"))
        }
    }
}

/// Tells what a subnet is that no host may route to itself.
fn why_not(subnet: IpNet) -> Option<&'static str> {
    let special = [
        ("127.0.0.0/8", "loopback"),
        ("224.0.0.0/4", "multicast"),
        ("169.254.0.0/16", "link-local"),
        ("::1/128", "loopback"),
        ("ff00::/8", "multicast"),
        ("fe80::/10", "link-local"),
    ];
    if subnet.prefix_len() == 0 {
        return Some("a default route");
    }
    special.into_iter().find_map(|(range, what)| {
        let range: IpNet = range.parse().ok()?;
        (range.contains(&subnet) || subnet.contains(&range)).then_some(what)
    })
}
