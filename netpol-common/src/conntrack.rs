//! Connections: one entry for both directions, found under a key that is the same for both.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::{
    direction::Direction,
    net::{Address, Be16, V4, V6},
    policy::RuleId,
};

/// Key of `np_ct4`: the two ends in the order of [`Address::before`], so that a packet and its reply share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct CtKey4 {
    /// Address of the end that comes first.
    pub low: V4,
    /// Address of the other end.
    pub high: V4,
    /// Port of `low`. For an ICMP echo: the identifier at the asking end, 0 at the other. 0 for other protocols.
    pub low_port: Be16,
    /// Port of `high`.
    pub high_port: Be16,
    /// Protocol, and [`BESIDE`]: a whole word, since padding of three bytes would be cleared by a loop on every lookup.
    pub proto: u32,
}

/// Key of `np_ct6`; see [`CtKey4`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct CtKey6 {
    /// Address of the end that comes first.
    pub low: V6,
    /// Address of the other end.
    pub high: V6,
    /// Port of `low`.
    pub low_port: Be16,
    /// Port of `high`.
    pub high_port: Be16,
    /// Protocol, and [`BESIDE`].
    pub proto: u32,
}

/// In a key's `proto`: the front entry of a connection whose own tuple is another connection's back entry, see
/// [`flags::BESIDE`].
pub const BESIDE: u32 = 1 << 8;

/// In the place of an interface, who pays for what clients outside use of the connection tables on their way to backends elsewhere:
/// all of them together.
pub const OUTSIDE: u32 = u32::MAX;

/// Value of `np_ct4` and `np_ct6`: the decision, and what the next packet needs.
///
/// A connection to a Service has two entries: the *front* one (client, service address) with the backend in `nat_*`, and
/// the *back* one (client, backend) with the service address in `nat_*`. Each is complete in itself. Where the backend must
/// see another client (`SNAT`), the back one's key has that other address and port instead.
///
/// "Original" is the direction of the packet that opened the connection.
///
/// What every packet needs comes first, in 64 bytes: in `np_ct4` they are one line of memory, and an element is three, see adr/0151.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct CtEntry {
    /// Packets, original and reply direction. Added to without a lock on every hit.
    pub packets: [u64; 2],
    /// Bytes, original and reply direction.
    pub bytes: [u64; 2],
    /// The decision and its epoch, always read and written as one word, see [`Judged`].
    pub judged: Judged,
    /// Low 32 bits of the kernel's jiffies at the last packet.
    pub last_seen: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Interface index of the initiator if it is a pod of this node, else 0.
    pub if_orig: u32,
    /// Interface index of the responder if it is a pod of this node, else 0.
    pub if_reply: u32,
    /// Port that belongs to `nat_addr`.
    pub nat_port: Be16,
    /// Port that belongs to `nat_saddr`.
    pub nat_sport: Be16,
    /// Front entry: the backend's address. Back entry: the service's address. See [`Address::to_words`].
    pub nat_addr: [u32; 4],
    /// Meaningful with `SNAT`. Front entry: the address that the backend takes for the client's. Back entry: the client's
    /// own. See [`Address::to_words`].
    pub nat_saddr: [u32; 4],
    /// The Service's port that the connection was made through
    /// ([`FrontendRow::svc`](crate::service::FrontendRow::svc)); meaningful with `FRONT` or `BACK`.
    pub svc: u32,
    /// The rule that allowed the initiator to send, or a constant of [`RuleId`].
    pub rule_egress: RuleId,
    /// The rule that allowed the responder to receive, or a constant of [`RuleId`].
    pub rule_ingress: RuleId,
    /// With `OUTSIDE`: the uplink that the client came in by, where its answers leave. Else 0.
    pub uplink: u32,
    /// Low 32 bits of the kernel's jiffies when it was entered. 0 in entries of agents before this was kept.
    pub opened: u32,
    /// Of a TCP connection whose both ends have sent a FIN: by what its last segment is known. An element of `np_ct4` ends here,
    /// where a line does.
    pub last: LastSegment,
}

/// Sequence and acknowledgement number (`SEG.SEQ` and `SEG.ACK` of RFC 9293 §3.3.1) of the segment after which neither end of a TCP
/// connection has anything more to say. One aligned word, read and written as such.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct LastSegment(pub u64);

impl LastSegment {
    /// Nobody knows.
    pub const UNKNOWN: Self = Self(0);

    /// With these numbers, in host order. The pair of zeros is as good as unknown.
    #[must_use]
    #[inline(always)]
    pub const fn new(seq: u32, ack: u32) -> Self {
        Self(seq as u64 | (ack as u64) << 32)
    }
}

/// A decision and the epoch it was made under. One aligned word: a decision of one epoch is never seen under another, and
/// following the state of a connection (which changes [`CtEntry::flags`] without a lock) cannot undo it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Judged(u64);

impl Judged {
    /// Allowed under `epoch` ([`Config::epoch`](crate::config::Config::epoch)).
    #[must_use]
    #[inline(always)]
    pub const fn allowed(epoch: u32) -> Self {
        Self(epoch as u64)
    }
    /// Denied under `epoch` by the rules of the end that `direction` names: its packets drop until it is judged otherwise.
    #[must_use]
    #[inline(always)]
    pub const fn denied(epoch: u32, direction: Direction) -> Self {
        Self(epoch as u64 | (direction as u64 + 1) << 32)
    }
    /// The epoch of the decision.
    #[must_use]
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        self.0 as u32
    }
    /// Whether its packets drop.
    #[must_use]
    #[inline(always)]
    pub const fn is_denied(self) -> bool {
        self.0 >> 32 != 0
    }
}

/// Bits of [`CtEntry::flags`]: in the lower half what the connection is, which never changes and is never written again; in
/// the upper half its state, see [`tcp::advance`](crate::logic::tcp::advance), to which bits are only added.
pub mod flags {
    /// The packet that opened the connection went from the higher end of the key to the lower one.
    pub const FROM_HIGH: u32 = 1;
    /// Front entry of a translated connection.
    pub const FRONT: u32 = 1 << 1;
    /// Back entry of a translated connection.
    pub const BACK: u32 = 1 << 2;
    /// The node itself opened it towards its own pod.
    pub const NODE: u32 = 1 << 3;
    /// It was met in its middle: nobody saw who opened it, and the initiator is who seemed to be.
    pub const MID_FLOW: u32 = 1 << 4;
    /// An answer was seen.
    pub const REPLIED: u32 = 1 << 16;
    /// TCP: a FIN in original direction was seen.
    pub const FIN_ORIG: u32 = 1 << 17;
    /// TCP: a FIN in reply direction was seen.
    pub const FIN_REPLY: u32 = 1 << 18;
    /// TCP: a RST was seen.
    pub const RST: u32 = 1 << 19;
    /// TCP: the handshake is over.
    pub const ESTABLISHED: u32 = 1 << 20;
    /// It began before netpol did, and the node's own netfilter translates it. `nat_*` is where it goes, for judging; no
    /// packet is rewritten, and none handed over past the node.
    pub const NODE_NAT: u32 = 1 << 5;
    /// Front or back entry of a connection whose source is translated as well: see [`CtEntry::nat_saddr`](super::CtEntry::nat_saddr).
    pub const SNAT: u32 = 1 << 6;
    /// Front or back entry of a connection from outside, translated at the uplink: no pod of this node is the client.
    pub const OUTSIDE: u32 = 1 << 7;
    /// Front or back entry of a connection to a backend itself, from a port under which that one sees the client through a
    /// Service: it has another source port towards the backend (`SNAT`), and its front entry stands under its own tuple beside
    /// the other connection's back entry ([`BESIDE`](super::BESIDE)).
    pub const BESIDE: u32 = 1 << 8;
    /// Front entry without a back one, of a connection from outside whose packets are sent on to the backend's node as they are. Its
    /// answers go straight to the client, so they are never seen here: it counts as answered from the start.
    pub const DSR: u32 = 1 << 9;
    /// One end is a pod of this node, the other one's address was a pod's of another node when the entry was made, one that policies
    /// of this node select. Nothing is judged by it: it says whose packets may be sent out past the node's own forwarding.
    pub const ACROSS: u32 = 1 << 10;
    /// The connection is over: a new SYN opens a new one.
    #[must_use]
    pub const fn closed(flags: u32) -> bool {
        flags & RST != 0 || flags & (FIN_ORIG | FIN_REPLY) == FIN_ORIG | FIN_REPLY
    }
    /// Whether the key of the connection's other entry is one with [`super::BESIDE`].
    #[must_use]
    #[inline(always)]
    pub const fn partner_is_beside(flags: u32) -> bool {
        flags & (BACK | BESIDE) == BACK | BESIDE
    }
}

/// A packet's five-tuple, source and destination as on the wire. Up to the ports it lies in memory as it does in a packet without
/// options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port (see [`CtKey4::low_port`] for what stands in its place).
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Protocol.
    pub proto: u8,
}

impl CtEntry {
    /// Interface of the pod whose quota of entries it counts against: the initiator's, else the responder's. [`OUTSIDE`] for a
    /// connection from outside to no pod of this node.
    #[must_use]
    #[inline(always)]
    pub const fn owner(&self) -> u32 {
        if self.if_orig != 0 {
            self.if_orig
        } else if self.if_reply != 0 || self.flags & flags::OUTSIDE == 0 {
            self.if_reply
        } else {
            OUTSIDE
        }
    }

    /// The opening tuple of the other entry of a translated connection, given that of this one.
    #[must_use]
    #[inline(always)]
    pub fn partner<A: Address>(&self, opened: &Tuple<A>) -> Tuple<A> {
        let mut other = Tuple { dst: A::from_words(self.nat_addr), dport: self.nat_port, ..*opened };
        if self.flags & flags::SNAT != 0 {
            other.src = A::from_words(self.nat_saddr);
            other.sport = self.nat_sport;
        }
        other
    }
}

impl<A: Address> Tuple<A> {
    /// The same connection, seen from the other end.
    #[must_use]
    #[inline(always)]
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, proto: self.proto }
    }
    /// Both ports, raw, the source's first.
    #[must_use]
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.sport.raw() as u32 | (self.dport.raw() as u32) << 16
    }
    /// This one, or if `swap` has all bits and not none, the [reversed](Self::reversed) one.
    #[must_use]
    #[inline(always)]
    pub fn swapped_if(&self, swap: u32) -> Self {
        Self {
            src: self.src.or_if(self.dst, swap),
            dst: self.dst.or_if(self.src, swap),
            sport: self.sport.or_if(self.dport, swap),
            dport: self.dport.or_if(self.sport, swap),
            proto: self.proto,
        }
    }
    /// 0 if both have the same ends.
    #[must_use]
    #[inline(always)]
    pub fn differs_from(&self, other: &Self) -> u32 {
        self.src.differs_from(other.src) | self.dst.differs_from(other.dst) | self.ports() ^ other.ports()
    }
    /// [`flags::FROM_HIGH`] if the source is the higher end of the key, else 0.
    #[must_use]
    #[inline(always)]
    pub fn order(&self) -> u32 {
        self.dst.before(self.dport, self.src, self.sport) as u32
    }
}

macro_rules! key_of {
    ($name:ident, $addr:ty) => {
        impl $name {
            /// The key of the connection that a packet with this tuple belongs to, in either direction.
            #[must_use]
            #[inline(always)]
            pub fn of(t: &Tuple<$addr>) -> Self {
                // All bits or none: a choice by `if` would be walked by the verifier with all that follows, once for each outcome.
                let Tuple { src, dst, sport, dport, proto } = t.swapped_if(t.order().wrapping_neg());
                Self { low: src, high: dst, low_port: sport, high_port: dport, proto: proto.into() }
            }
            /// The key beside it, see [`BESIDE`].
            #[must_use]
            #[inline(always)]
            pub const fn beside(self) -> Self {
                self.beside_if(1)
            }
            /// The key beside it if `is` is 1, itself if it is 0.
            #[must_use]
            #[inline(always)]
            pub const fn beside_if(self, is: u32) -> Self {
                Self { proto: self.proto | (BESIDE * is), ..self }
            }
            /// The tuple of the packet that opened the connection, given the entry's flags.
            #[must_use]
            pub fn tuple(&self, flags: u32) -> Tuple<$addr> {
                let low_first = Tuple {
                    src: self.low,
                    dst: self.high,
                    sport: self.low_port,
                    dport: self.high_port,
                    proto: self.proto as u8,
                };
                if flags & flags::FROM_HIGH != 0 { low_first.reversed() } else { low_first }
            }
        }
    };
}
key_of!(CtKey4, V4);
key_of!(CtKey6, V6);

// What `Tuple::order` computes is the flag.
const _: () = assert!(flags::FROM_HIGH == 1);
const _: () = assert!(size_of::<CtKey4>() == 16 && size_of::<CtKey6>() == 40 && size_of::<CtEntry>() == 128);
// Of an IPv4 address the first word is all of it.
const _: () = assert!(offset_of!(CtEntry, nat_addr) + size_of::<u32>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [u16; 4] = [0, 1, 0x8000, 0xffff];
    const WORDS: [u32; 5] = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];

    fn tuples<A: Address>(addresses: &[A]) -> impl Iterator<Item = Tuple<A>> {
        let ends = || addresses.iter().flat_map(|addr| PORTS.map(|port| (*addr, Be16::from_raw(port))));
        ends().flat_map(move |(src, sport)| {
            ends().map(move |(dst, dport)| Tuple { src, dst, sport, dport, proto: 6 })
        })
    }

    /// `rank` is the order as one would write it down.
    fn holds<A: Address, K: PartialEq, R: Ord>(
        addresses: &[A],
        rank: impl Fn(A) -> R,
        key: impl Fn(&Tuple<A>) -> K,
        tuple: impl Fn(&K, u32) -> Tuple<A>,
    ) {
        for t in tuples(addresses) {
            let end = |addr, port: Be16| (rank(addr), port.raw());
            assert_eq!(t.order() == 1, end(t.dst, t.dport) < end(t.src, t.sport));
            assert!(key(&t) == key(&t.reversed()), "an answer has the key of what it answers");
            assert_eq!(tuple(&key(&t), t.order()).differs_from(&t), 0);
            assert_eq!(t.differs_from(&t.reversed()) == 0, t.src == t.dst && t.sport == t.dport);
        }
    }

    #[test]
    fn both_directions_have_one_key_and_the_flag_tells_them_apart() {
        holds(&WORDS.map(V4), |addr| addr.0, CtKey4::of, CtKey4::tuple);
        let differing_in_one = |at: usize| {
            WORDS.map(|word| {
                let mut words = [7; 4];
                words[at] = word;
                V6(words)
            })
        };
        let v6 = [0, 1, 2, 3].map(differing_in_one);
        holds(v6.as_flattened(), |V6([a, b, c, d])| [d, c, b, a], CtKey6::of, CtKey6::tuple);
    }
}
