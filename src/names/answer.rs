//! From a DNS query to its answer, where the name is one of a container's: pure functions.

use std::net::IpAddr;

use domain::{
    base::{
        Message, MessageBuilder, Rtype, StaticCompressor, Ttl,
        iana::{Class, Opcode, Rcode},
        message_builder::AnswerBuilder,
        name::ToName,
    },
    rdata::{A, Aaaa},
};

use super::table::Table;

/// How long an answer may be kept: a container that is started anew has another address.
const TTL: Ttl = Ttl::from_secs(5);

/// The longest answer over UDP to who says no length, in bytes (RFC 1035).
const PLAIN_UDP: usize = 512;

/// The longest answer over UDP that we send and ask for: it passes every link unfragmented (DNS flag day 2020).
const MOST_UDP: u16 = 1232;

/// How a query came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This is the answer.
    Answer(Vec<u8>),
    /// It is for the DNS servers of all other names.
    Forward,
    /// It is none.
    Drop,
}

/// Looks a query up.
pub(super) fn answer(query: &[u8], table: &Table, transport: Transport) -> Verdict {
    // What is shorter than a header, or an answer, gets none: two servers that answer each other's would never end.
    let Ok(message) = Message::from_slice(query) else { return Verdict::Drop };
    if message.header().qr() {
        return Verdict::Drop;
    }
    if message.header().opcode() != Opcode::QUERY {
        return failure(query, Rcode::NOTIMP).map_or(Verdict::Drop, Verdict::Answer);
    }
    let Ok(question) = message.sole_question() else {
        return failure(query, Rcode::FORMERR).map_or(Verdict::Drop, Verdict::Answer);
    };
    let name = whole_name(question.qname());
    let Some(addresses) = name.as_deref().and_then(|name| table.get(name)) else { return Verdict::Forward };
    if question.qclass() != Class::IN {
        return Verdict::Forward;
    }
    let fits = |address: &&IpAddr| match question.qtype() {
        Rtype::A => address.is_ipv4(),
        Rtype::AAAA => address.is_ipv6(),
        Rtype::ANY => true,
        // The name is there and has nothing else: an answer without a record.
        _ => false,
    };
    let mut addresses: Vec<IpAddr> = addresses.iter().filter(fits).copied().collect();
    fastrand::shuffle(&mut addresses);
    compose(message, question.qname(), &addresses, transport).map_or(Verdict::Drop, Verdict::Answer)
}

/// Returns the answer to a query that fails, or nothing where the query is none.
pub(super) fn failure(query: &[u8], rcode: Rcode) -> Option<Vec<u8>> {
    let message = Message::from_slice(query).ok()?;
    // A question that can't be read is left out of the answer.
    let mut answer = MessageBuilder::new_vec().start_error(message, rcode);
    answer.header_mut().set_ra(true);
    Some(answer.finish())
}

/// Returns a name of two labels in lower case, without the dot of the root.
fn whole_name(name: impl ToName) -> Option<String> {
    let mut labels = name.iter_labels();
    let (host, network, root) = (labels.next()?, labels.next()?, labels.next()?);
    if !root.is_root() || host.is_root() || network.is_root() {
        return None;
    }
    let text = |label: &domain::base::name::Label| {
        std::str::from_utf8(label.as_slice()).ok().map(str::to_ascii_lowercase)
    };
    Some(format!("{}.{}", text(host)?, text(network)?))
}

fn compose(
    query: &Message<[u8]>,
    name: impl ToName + Copy,
    addresses: &[IpAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    let asked = query.opt().map(|opt| opt.udp_payload_size());
    let limit = match (transport, asked) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(size)) => usize::from(size.min(MOST_UDP)).max(PLAIN_UDP),
    };
    let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new())).ok()?;
    builder.set_push_limit(limit);
    let mut answer = builder.start_answer(query, Rcode::NOERROR).ok()?;
    answer.header_mut().set_aa(true);
    answer.header_mut().set_ra(true);
    let push = |answer: &mut AnswerBuilder<StaticCompressor<Vec<u8>>>, address: &IpAddr| match address {
        IpAddr::V4(address) => answer.push((name, Class::IN, TTL, A::new(*address))),
        IpAddr::V6(address) => answer.push((name, Class::IN, TTL, Aaaa::new(*address))),
    };
    // Any of the addresses will do, so as many as fit are told; who wants all asks again by TCP.
    if !addresses.iter().all(|address| push(&mut answer, address).is_ok()) {
        answer.header_mut().set_tc(true);
    }
    let mut additional = answer.additional();
    if asked.is_some() {
        // Too long for a message that is full: then who asks by EDNS is told by the mark that there is more.
        let _ = additional.opt(|opt| {
            opt.set_udp_payload_size(MOST_UDP);
            Ok(())
        });
    }
    Some(additional.finish().into_target())
}
