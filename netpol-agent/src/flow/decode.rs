//! Numbers of an event → types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpol_common::{
    direction::Direction,
    event::PacketEvent,
    policy::{RuleId, SlotId},
    reason::DropReason,
};

/// What became of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It opened a connection.
    Forwarded,
    /// Policies that are being tried deny it; it went on.
    Audited,
    /// It was dropped.
    Dropped(DropReason),
}

/// An event in types that say what they mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// What became of the packet.
    pub outcome: Outcome,
    /// As the pod sees it whose rules decided.
    pub direction: Direction,
    /// `None`: the packet was dropped before its addresses were read.
    pub ends: Option<Ends>,
    /// IANA protocol number; 0 if it was not read.
    pub protocol: u8,
    /// TCP flags as on the wire; for ICMP the type.
    pub tcp_flags: u8,
    /// Interface the packet was seen on.
    pub ifindex: u32,
    /// Interface of the pod whose rules decided, 0 if there is none.
    pub endpoint: u32,
    /// Length with Ethernet header, in bytes.
    pub length: u32,
    /// The kernel's jiffies.
    pub jiffies: u64,
    /// Rule that allowed the initiator to send.
    pub rule_egress: RuleId,
    /// Rule that allowed the responder to receive.
    pub rule_ingress: RuleId,
    /// For a policy drop: the slot without a matching rule.
    pub slot: SlotId,
}

/// Addresses and ports (host order).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Who sent it.
    pub source: (IpAddr, u16),
    /// Where it was sent to.
    pub destination: (IpAddr, u16),
    /// Where it went after service translation; the same as `destination` without.
    pub translated: (IpAddr, u16),
}

/// An event that cannot be what the programs of this version write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Another layout.
    #[error("event of version {0}, not {expected}", expected = PacketEvent::VERSION)]
    Version(u8),
    /// No drop reason has the number.
    #[error("no drop reason has number {0}")]
    Reason(u8),
    /// No direction has the number.
    #[error("no direction has number {0}")]
    Direction(u8),
    /// Neither IPv4 nor IPv6.
    #[error("no address family has number {0}")]
    Family(u8),
}

/// Decodes an event.
///
/// # Errors
/// If a number in it means nothing.
pub fn decode(event: &PacketEvent) -> Result<Decoded, Fault> {
    if event.version != PacketEvent::VERSION {
        return Err(Fault::Version(event.version));
    }
    let outcome = match event.reason {
        0 if event.audit != 0 => Outcome::Audited,
        0 => Outcome::Forwarded,
        number => Outcome::Dropped(DropReason::from_u8(number).ok_or(Fault::Reason(number))?),
    };
    let address = |bytes: [u8; 16]| -> IpAddr {
        if event.family == 4 {
            let [a, b, c, d, ..] = bytes;
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            Ipv6Addr::from(bytes).into()
        }
    };
    let ends = match event.family {
        0 => None,
        4 | 6 => Some(Ends {
            source: (address(event.src), event.sport),
            destination: (address(event.dst), event.dport),
            translated: (address(event.nat_dst), event.nat_dport),
        }),
        other => return Err(Fault::Family(other)),
    };
    Ok(Decoded {
        outcome,
        direction: Direction::from_u8(event.direction).ok_or(Fault::Direction(event.direction))?,
        ends,
        protocol: event.proto,
        tcp_flags: event.tcp_flags,
        ifindex: event.ifindex,
        endpoint: event.endpoint,
        length: event.len,
        jiffies: event.jiffies,
        rule_egress: event.rule_egress,
        rule_ingress: event.rule_ingress,
        slot: event.slot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> PacketEvent {
        PacketEvent {
            version: PacketEvent::VERSION,
            reason: 1,
            direction: 1,
            family: 4,
            ..PacketEvent::default()
        }
    }

    #[test]
    fn addresses_are_read_by_family() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 0, 0, 1]);
        let four = decode(&PacketEvent { src: bytes, sport: 80, ..event() }).unwrap();
        assert_eq!(four.ends.unwrap().source, ("10.0.0.1".parse().unwrap(), 80));
        assert_eq!((four.outcome, four.direction), (Outcome::Dropped(DropReason::Policy), Direction::Egress));
        let six = "fd00::1".parse::<Ipv6Addr>().unwrap();
        let six = decode(&PacketEvent { family: 6, nat_dst: six.octets(), reason: 0, ..event() }).unwrap();
        assert_eq!(six.ends.unwrap().translated.0, "fd00::1".parse::<IpAddr>().unwrap());
        assert_eq!(six.outcome, Outcome::Forwarded);
        assert_eq!(decode(&PacketEvent { family: 0, ..event() }).unwrap().ends, None);
    }

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        assert_eq!(decode(&PacketEvent { version: 9, ..event() }), Err(Fault::Version(9)));
        assert_eq!(decode(&PacketEvent { reason: 200, ..event() }), Err(Fault::Reason(200)));
        assert_eq!(decode(&PacketEvent { direction: 2, ..event() }), Err(Fault::Direction(2)));
        assert_eq!(decode(&PacketEvent { family: 5, ..event() }), Err(Fault::Family(5)));
    }
}
