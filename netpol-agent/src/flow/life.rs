//! Connections that go on or have ended, as records.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::SystemTime,
};

use netpol_common::{
    conntrack::{CtEntry, Tuple, flags},
    direction::Direction,
    net::{Address, V4, V6, proto},
    policy::SlotId,
};

use super::{
    attribute::{Names, attribute},
    decode::{Decoded, Ends, Outcome},
    record::{FlowRecord, Kind, Traffic, timestamp},
};
use crate::dataplane::kernel::{ConnectionKey, Life};

/// When a connection was opened, and when its last packet was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// `None`: before that was kept.
    pub opened: Option<SystemTime>,
    /// The last packet, in either direction.
    pub seen: SystemTime,
}

/// The record of a connection that `node` has looked at.
#[must_use]
pub fn live(life: &Life, span: Span, node: &Arc<str>, names: &dyn Names) -> FlowRecord {
    let entry = &life.entry;
    let (protocol, ends) = match life.key {
        ConnectionKey::V4(key) => {
            let address = |addr: V4| Ipv4Addr::from(addr).into();
            (key.proto as u8, ends(&key.tuple(entry.flags), entry, address))
        }
        ConnectionKey::V6(key) => {
            let address = |addr: V6| Ipv6Addr::from(addr).into();
            (key.proto as u8, ends(&key.tuple(entry.flags), entry, address))
        }
    };
    let (direction, endpoint) = match entry.if_reply {
        0 => (Direction::Egress, entry.if_orig),
        pod => (Direction::Ingress, pod),
    };
    let decoded = Decoded {
        outcome: Outcome::Forwarded,
        direction,
        ends: Some(ends),
        protocol,
        tcp_flags: if protocol == proto::TCP { ending(entry.flags) } else { 0 },
        ifindex: endpoint,
        endpoint,
        length: 0,
        jiffies: 0,
        rule_egress: entry.rule_egress,
        rule_ingress: entry.rule_ingress,
        slot: SlotId::NONE,
    };
    let [packets_sent, packets_received] = entry.packets;
    let [bytes_sent, bytes_received] = entry.bytes;
    FlowRecord {
        kind: if life.ended { Kind::Closed } else { Kind::Heartbeat },
        first: span.opened.map(timestamp),
        icmp_type: None,
        length: bytes_sent.saturating_add(bytes_received),
        traffic: Some(Traffic { packets_sent, packets_received, bytes_sent, bytes_received }),
        ..attribute(&decoded, span.seen, node, names)
    }
}

fn ends<A: Address>(opened: &Tuple<A>, entry: &CtEntry, address: impl Fn(A) -> IpAddr) -> Ends {
    let destination = (address(opened.dst), opened.dport.to_host());
    Ends {
        source: (address(opened.src), opened.sport.to_host()),
        destination,
        translated: match entry.flags & flags::FRONT {
            0 => destination,
            _ => (address(A::from_words(entry.nat_addr)), entry.nat_port.to_host()),
        },
    }
}

/// The flags that have ended it, as on the wire.
fn ending(state: u32) -> u8 {
    const FIN: u8 = 1;
    const RST: u8 = 1 << 2;
    let fin = if state & (flags::FIN_ORIG | flags::FIN_REPLY) != 0 { FIN } else { 0 };
    fin | if state & flags::RST != 0 { RST } else { 0 }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
