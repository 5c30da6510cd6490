use std::net::{IpAddr, SocketAddr};

use netpol_common::{direction::Direction, net::proto, policy::RuleId, reason::DropReason};

use crate::packet::{self, Hook, SYN};

/// The first packet of a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Where it is seen.
    pub hook: Hook,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port, host order; the identifier of an echo request.
    pub sport: u16,
    /// Destination port, host order; nothing for protocols without ports.
    pub dport: u16,
}

impl Opening {
    /// Its Ethernet frame: a TCP SYN, a UDP datagram, an SCTP INIT, an echo request, or 8 bytes of whatever else it is.
    pub(super) fn frame(&self) -> Vec<u8> {
        let from = SocketAddr::new(self.src, self.sport);
        let to = SocketAddr::new(self.dst, self.dport);
        match self.protocol {
            proto::TCP => packet::tcp(from, to, SYN, b""),
            proto::UDP => packet::udp(from, to, b"ping"),
            proto::SCTP => packet::sctp(from, to),
            proto::ICMP | proto::ICMPV6 => packet::echo_request(self.src, self.dst, self.sport),
            other => packet::other(self.src, self.dst, other, &[0; 8]),
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Forwarded, as the first packet of a connection.
    Forwarded {
        /// The rule that allowed it to be sent, or a constant of [`RuleId`].
        egress: RuleId,
        /// The rule that allowed it to be received, or a constant of [`RuleId`].
        ingress: RuleId,
        /// Where it goes, after service translation.
        to: SocketAddr,
    },
    /// Policy denied it.
    Denied {
        /// At which end.
        by: Direction,
        /// Where it was to go, after service translation.
        to: SocketAddr,
    },
    /// Dropped for a reason that is not policy.
    Dropped(DropReason),
}

impl Outcome {
    /// Whether policy denied it.
    #[must_use]
    pub fn is_denied(self) -> bool {
        matches!(self, Self::Denied { .. })
    }
}
