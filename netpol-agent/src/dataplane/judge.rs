//! What the rows say of a packet, decided as the kernel programs decide it.

use std::net::IpAddr;

use ipnet::IpNet;
use netpol_common::{
    direction::Direction,
    endpoint::{EndpointRow, flags},
    logic::policy::{PolicyTables, evaluate},
    peer::{CidrRow, PeerRow},
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, RuleId, SlotId},
};

use super::{Backend, Frontend, Rows};

/// The tables that a verdict is read from.
pub trait Tables: PolicyTables {
    /// A row of `np_peer`.
    fn peer(&self, addr: IpAddr) -> Option<PeerRow>;
    /// The row of the longest prefix of `np_cidr` that contains the address.
    fn cidr(&self, addr: IpAddr) -> Option<CidrRow>;
    /// A row of `np_ep`.
    fn endpoint(&self, ifindex: u32) -> Option<EndpointRow>;
    /// The backends of a frontend; `None` if the address and port are no Service's.
    fn backends(&self, frontend: &Frontend) -> Option<Vec<Backend>>;
}

/// A new connection's first packet. A Service's address is to be translated before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IANA protocol number.
    pub proto: u8,
    /// Destination port, host order; 0 for protocols without ports.
    pub dport: u16,
}

/// What one end's rules say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Allowed, by this rule or for the reason of a constant of [`RuleId`].
    Allowed(RuleId),
    /// No rule of this slot allows it.
    Denied(SlotId),
    /// The pod's policy is not in place: closed.
    Pending,
}

impl Verdict {
    /// Whether the packet passes this end.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// What both ends say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// The egress rules of the source.
    pub egress: Verdict,
    /// The ingress rules of the destination.
    pub ingress: Verdict,
}

impl Judgement {
    /// Whether the packet arrives, as far as this node decides.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self.egress.is_allowed() && self.ingress.is_allowed()
    }
}

/// Judges a packet as the programs do: egress rules of the source if it is a pod of this node, then ingress rules of
/// the destination if it is one.
pub fn judge<T: Tables>(tables: &T, packet: Packet) -> Judgement {
    let (src, dst) = (tables.peer(packet.src), tables.peer(packet.dst));
    let ifindex = |row: Option<PeerRow>| row.map_or(0, |row| row.ifindex);
    let (from, to) = (ifindex(src), ifindex(dst));
    if from != 0 && from == to {
        let own = Verdict::Allowed(RuleId::SELF);
        return Judgement { egress: own, ingress: own };
    }
    let class = |row: Option<PeerRow>, addr| match row {
        Some(row) => row.class,
        None => tables.cidr(addr).map_or(ClassId::ANY, |row| row.class),
    };
    Judgement {
        egress: at_end(tables, Direction::Egress, from, class(dst, packet.dst), packet),
        ingress: at_end(tables, Direction::Ingress, to, class(src, packet.src), packet),
    }
}

fn at_end<T: Tables>(
    tables: &T,
    direction: Direction,
    ifindex: u32,
    class: ClassId,
    packet: Packet,
) -> Verdict {
    if ifindex == 0 {
        return Verdict::Allowed(RuleId::ELSEWHERE);
    }
    let Some(row) = tables.endpoint(ifindex).filter(|row| row.flags & flags::READY != 0) else {
        return Verdict::Pending;
    };
    let (slot, isolated, any, audit) = match direction {
        Direction::Ingress => (row.slot_in, flags::ISOLATED_IN, flags::ANY_IN, flags::AUDIT_IN),
        Direction::Egress => (row.slot_out, flags::ISOLATED_OUT, flags::ANY_OUT, flags::AUDIT_OUT),
    };
    if row.flags & isolated == 0 {
        return Verdict::Allowed(RuleId::NOT_ISOLATED);
    }
    match evaluate(tables, slot, class, row.flags & any != 0, packet.proto, packet.dport) {
        RuleId::NONE if row.flags & audit != 0 => Verdict::Allowed(RuleId::AUDIT),
        RuleId::NONE => Verdict::Denied(slot),
        rule => Verdict::Allowed(rule),
    }
}

impl PolicyTables for Rows {
    fn policy(&self, key: &PolicyKey) -> Option<PolicyRow> {
        self.policy.get(key).copied()
    }
    fn port(&self, key: &PortKey) -> Option<RuleId> {
        self.ports.get(key).copied()
    }
}

impl Tables for Rows {
    fn peer(&self, addr: IpAddr) -> Option<PeerRow> {
        self.peers.get(&addr).copied()
    }
    fn cidr(&self, addr: IpAddr) -> Option<CidrRow> {
        let mut around = Some(IpNet::from(addr));
        while let Some(prefix) = around {
            if let Some(row) = self.cidrs.get(&prefix) {
                return Some(*row);
            }
            around = prefix.supernet();
        }
        None
    }
    fn endpoint(&self, ifindex: u32) -> Option<EndpointRow> {
        self.endpoints.get(&ifindex).copied()
    }
    fn backends(&self, frontend: &Frontend) -> Option<Vec<Backend>> {
        let row = self.frontends.get(frontend)?;
        Some(self.backends.get(&row.near).cloned().unwrap_or_default())
    }
}
