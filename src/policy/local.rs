//! The gates that look at this host's own addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Local, reserved};
use crate::{
    lease::free::touch,
    record::{Reason, Record},
};

impl Local {
    /// Returns the underlay's subnets of a family, link-local ones left out: no next hop of ours is in them.
    fn subnets(&self, of: IpAddr) -> impl Iterator<Item = &IpNet> {
        self.underlay.iter().filter(move |net| {
            net.addr().is_ipv4() == of.is_ipv4() && reserved::check_next_hop(net.addr()).is_ok()
        })
    }

    pub(super) fn check_underlay(&self, prefix: IpNet) -> Result<(), Reason> {
        match self.underlay.iter().find(|net| touch(net, &prefix)) {
            Some(net) => Err(Reason(format!("it overlaps {}'s subnet {}", self.parent, net.trunc()))),
            None => Ok(()),
        }
    }

    pub(super) fn check_elsewhere(&self, prefix: IpNet) -> Result<(), Reason> {
        match self.elsewhere.iter().find(|(_, net)| net.contains(&prefix)) {
            Some((interface, net)) => {
                let how = if net.trunc() == prefix { "equal to" } else { "part of" };
                Err(Reason(format!("it is {how} this host's subnet {} on {interface}", net.trunc())))
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_family(&self, next_hop: IpAddr) -> Result<(), Reason> {
        match self.subnets(next_hop).next() {
            Some(_) => Ok(()),
            None => Err(Reason(format!("{} has no {} address", self.parent, family(next_hop)))),
        }
    }

    /// Returns the next hop of a record for a prefix. Where the parent has no address of the family, nothing is said
    /// about the segment: other hosts may well have one.
    pub(super) fn next_hop(&self, record: &Record, prefix: IpNet) -> Result<IpAddr, Reason> {
        let Some(next_hop) =
            record.next_hops.iter().copied().find(|hop| hop.is_ipv4() == prefix.addr().is_ipv4())
        else {
            return Err(Reason(format!("the record has no {} next hop", family(prefix.addr()))));
        };
        if let Some(inside) = [next_hop, record.host].into_iter().find(|address| prefix.contains(address)) {
            return Err(Reason(format!("it holds its own next hop {inside}")));
        }
        reserved::check_next_hop(next_hop)?;
        let mut subnets = self.subnets(next_hop).peekable();
        let Some(&shown) = subnets.peek() else { return Ok(next_hop) };
        let Some(subnet) = subnets.find(|net| net.contains(&next_hop)) else {
            let subnet = shown.trunc();
            return Err(Reason(format!("next hop {next_hop} is not on {}'s subnet {subnet}", self.parent)));
        };
        // A /31 has neither (RFC 3021), and IPv6 has no broadcast; its subnet-router anycast address is no one host.
        let edge = next_hop == subnet.network() || (next_hop.is_ipv4() && next_hop == subnet.broadcast());
        if edge && subnet.max_prefix_len() - subnet.prefix_len() > 1 {
            return Err(Reason(format!("next hop {next_hop} is no host's address in {}", subnet.trunc())));
        }
        Ok(next_hop)
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
