//! What was read.

use crate::{conntrack::Tuple, logic::tcp, net::proto};

/// Offset of the network header: Ethernet without a tag.
pub const L3: u32 = 14;

/// What a packet is to the pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Belongs to a connection, or opens one.
    Flow,
    /// Reports an error about another packet, which it quotes.
    IcmpError,
    /// Neighbour discovery, MLD, or the pod's own DHCP: below what policies speak of.
    Pass,
}

/// What was read of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<A> {
    /// What it is to the pipeline.
    pub kind: Kind,
    /// Its five-tuple.
    pub tuple: Tuple<A>,
    /// Offset of the transport header.
    pub l4: u32,
    /// Whether that header lies in this packet (it does not in later fragments).
    pub has_l4: bool,
    /// TCP flags, or ICMP type.
    pub tcp_flags: u8,
    /// IPv4 header checksum, raw.
    pub l3_check: u16,
}

impl<A> Packet<A> {
    /// Whether it is a TCP segment with its header.
    #[inline(always)]
    fn is_segment(&self) -> bool {
        self.tuple.proto == proto::TCP && self.has_l4
    }
    /// Whether it is no TCP segment, or one whose flags make sense.
    #[must_use]
    #[inline(always)]
    pub fn is_sound(&self) -> bool {
        !self.is_segment() || tcp::sound(self.tcp_flags)
    }
    /// Whether it is a TCP segment that asks for a new connection.
    #[must_use]
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.is_segment() && tcp::opens(self.tcp_flags)
    }
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner<A> {
    /// Its five-tuple.
    pub tuple: Tuple<A>,
    /// Offset of its network header.
    pub l3: u32,
    /// Offset of its transport header.
    pub l4: u32,
    /// Its IPv4 header checksum, raw.
    pub l3_check: u16,
}
