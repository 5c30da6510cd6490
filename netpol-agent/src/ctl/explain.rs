//! What a connection would meet: the reference evaluator's answer with its reasons, next to what the maps say.

use std::net::IpAddr;

use netpol_common::net::proto;

use super::{
    api::{ExplainRequest, Explanation, MapsAnswer, Way},
    maps::{self, Origin},
    party::{End, parse_party},
    target::{Target, targets},
};
use crate::{
    dataplane::{Rows, judge::Packet},
    flow::{Names, protocol_name},
    model::Name,
    oracle::{self, Family, Party, Question, Unanswerable, Verdict, World},
};

/// What a question is answered from.
#[derive(Clone, Copy)]
pub struct Knowledge<'a> {
    /// Every object that the source has delivered.
    pub world: &'a World,
    /// The node whose maps these are.
    pub node: &'a str,
    /// The contents of the maps.
    pub rows: &'a Rows,
    /// Names for the numbers in them.
    pub names: &'a dyn Names,
}

/// Why a question cannot be answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExplainError {
    /// It is not clear who is meant.
    #[error("{0:?} is none of NAMESPACE/POD, node:NAME, service:NAMESPACE/NAME and an address")]
    Party(String),
    /// A Service opens no connections.
    #[error("a Service opens no connections: FROM is one of NAMESPACE/POD, node:NAME and an address")]
    FromService,
    /// Nobody has that name.
    #[error("there is no {0}")]
    Unknown(String),
    /// It has no address.
    #[error("{0} has no address in its status")]
    NoAddress(String),
    /// The Service has no address of its own.
    #[error("service {0} is headless: ask for one of its pods")]
    Headless(Name),
    /// The Service does not answer there.
    #[error("service {service} has no {protocol} port {port}; it has {known}")]
    NoServicePort {
        /// The Service.
        service: Name,
        /// The protocol asked for.
        protocol: String,
        /// The port asked for.
        port: u16,
        /// The ports that it has.
        known: String,
    },
    /// More than one port, or none, could be meant.
    #[error("--port is needed: {of} has {known}")]
    Port {
        /// Whose port.
        of: String,
        /// The ports that it has.
        known: String,
    },
    /// Not a protocol.
    #[error("{0:?} is none of TCP, UDP, SCTP, ICMP, ICMPv6 and the numbers from 0 to 255")]
    Protocol(String),
    /// One has only IPv4, the other only IPv6.
    #[error("{from} and {to} have no address family in common")]
    Families {
        /// Who opens it.
        from: String,
        /// Who is meant.
        to: String,
    },
    /// The reference evaluator finds no answer.
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
}

/// Answers a question.
///
/// # Errors
/// If it is not clear what is asked, or about whom.
pub fn explain(request: &ExplainRequest, known: Knowledge<'_>) -> Result<Explanation, ExplainError> {
    let ExplainRequest { from, to, port, protocol } = request;
    let protocol = parse_protocol(protocol)?;
    let has_ports = [proto::TCP, proto::UDP, proto::SCTP].contains(&protocol);
    let port = if has_ports { *port } else { Some(0) };
    let source = parse_party(from)?.resolve(known.world)?;
    let Target { service, port, ends } = targets(known.world, known.node, to, protocol, port)?;
    let mut ways = Vec::new();
    for (end, port) in &ends {
        for to in &end.addresses {
            for from in source.addresses.iter().filter(|from| from.is_ipv4() == to.is_ipv4()) {
                ways.push(way((&source, *from), (end, *to), *port, protocol, known)?);
            }
        }
    }
    if ways.is_empty() && !ends.is_empty() {
        return Err(ExplainError::Families { from: from.clone(), to: to.clone() });
    }
    let name = protocol_name(protocol);
    let question = if has_ports {
        format!("{from} → {to}, {name} port {port}")
    } else {
        format!("{from} → {to}, {name}")
    };
    Ok(Explanation {
        question,
        service,
        allowed: !ways.is_empty() && ways.iter().all(|way| way.egress.allows() && way.ingress.allows()),
        consistent: ways.iter().all(|way| way.consistent),
        ways,
    })
}

fn way(
    (source, from): (&End, IpAddr),
    (end, to): (&End, IpAddr),
    port: u16,
    protocol: u8,
    known: Knowledge<'_>,
) -> Result<Way, ExplainError> {
    let question = Question {
        from: source.party.clone(),
        to: end.party.clone(),
        family: Family::of(to),
        protocol,
        port,
    };
    let judgement = oracle::judge(known.world, &question)?;
    let here = |end: &End| end.pod_node.as_deref() == Some(known.node);
    let origin =
        if source.node.as_deref() == Some(known.node) { Origin::ThisNode } else { Origin::Elsewhere };
    let packet = Packet { src: from, dst: to, proto: protocol, dport: port };
    let mut maps = maps::judge(known.rows, packet, origin, known.names);
    // A pod of this node that the maps do not know is closed, not somebody else's.
    for (answer, end) in [(&mut maps.egress, source), (&mut maps.ingress, end)] {
        if *answer == MapsAnswer::Elsewhere && here(end) {
            *answer = MapsAnswer::Pending;
        }
    }
    let consistent = agree(&judgement.egress, &maps.egress) && agree(&judgement.ingress, &maps.ingress);
    let pod = match &end.party {
        Party::Pod { namespace, name } => Some(Name::new(namespace, name)),
        Party::Node(_) | Party::Address(_) => end.pod.clone(),
    };
    Ok(Way { from, to, pod, port, egress: judgement.egress, ingress: judgement.ingress, maps, consistent })
}

/// Whether the maps say what the reference says, as far as they say anything.
fn agree(reference: &Verdict, maps: &MapsAnswer) -> bool {
    maps.allows().is_none_or(|allows| allows == reference.allows())
}

fn parse_protocol(text: &str) -> Result<u8, ExplainError> {
    match text.to_ascii_uppercase().as_str() {
        "" | "TCP" => Ok(proto::TCP),
        "UDP" => Ok(proto::UDP),
        "SCTP" => Ok(proto::SCTP),
        "ICMP" => Ok(proto::ICMP),
        "ICMPV6" => Ok(proto::ICMPV6),
        number => number.parse().ok().ok_or_else(|| ExplainError::Protocol(text.to_owned())),
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
