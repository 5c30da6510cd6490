//! What the maps say of a connection: the programs' own logic, run over the rows that the agent has written.

use std::net::IpAddr;

use netpol_common::{
    endpoint::flags,
    logic::policy::{PolicyTables, evaluate},
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, RuleId},
};

use super::api::{MapsAnswer, MapsVerdict};
use crate::{dataplane::Rows, flow::Names};

/// A connection after service translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) from: IpAddr,
    /// The source is a process of this node, not of a pod.
    pub(super) from_this_node: bool,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    /// Host order.
    pub(super) port: u16,
}

/// What the rows say of both ends.
pub(super) fn judge(rows: &Rows, connection: &Connection, names: &dyn Names) -> MapsVerdict {
    let Connection { from, from_this_node, to, protocol, port } = *connection;
    let local = |address: IpAddr| rows.peers.get(&address).map_or(0, |peer| peer.ifindex);
    let (sender, receiver) = (if from_this_node { 0 } else { local(from) }, local(to));
    if sender != 0 && sender == receiver {
        return MapsVerdict { egress: MapsAnswer::Always, ingress: MapsAnswer::Always };
    }
    let ask = |ifindex: u32, peer: IpAddr, end: End| {
        if ifindex == 0 {
            return MapsAnswer::Elsewhere;
        }
        let Some(row) = rows.endpoints.get(&ifindex).filter(|row| row.flags & flags::READY != 0) else {
            return MapsAnswer::Pending;
        };
        let (slot, isolated, any) = match end {
            End::Sender => (row.slot_out, flags::ISOLATED_OUT, flags::ANY_OUT),
            End::Receiver => (row.slot_in, flags::ISOLATED_IN, flags::ANY_IN),
        };
        if row.flags & isolated == 0 {
            return MapsAnswer::NotIsolated;
        }
        let class = class_of(rows, peer);
        answer(evaluate(&Tables(rows), slot, class, row.flags & any != 0, protocol, port), names)
    };
    let egress = ask(sender, to, End::Sender);
    let ingress = if from_this_node && receiver != 0 && rows.endpoints.contains_key(&receiver) {
        MapsAnswer::Always
    } else {
        ask(receiver, from, End::Receiver)
    };
    MapsVerdict { egress, ingress }
}

#[derive(Clone, Copy)]
enum End {
    Sender,
    Receiver,
}

struct Tables<'a>(&'a Rows);

impl PolicyTables for Tables<'_> {
    fn policy(&self, key: &PolicyKey) -> Option<PolicyRow> {
        self.0.policy.get(key).copied()
    }
    fn port(&self, key: &PortKey) -> Option<RuleId> {
        self.0.ports.get(key).copied()
    }
}

/// By address, else by the longest prefix.
fn class_of(rows: &Rows, address: IpAddr) -> ClassId {
    if let Some(peer) = rows.peers.get(&address) {
        return peer.class;
    }
    let around = rows.cidrs.iter().filter(|(prefix, _)| prefix.contains(&address));
    around.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(ClassId::ANY, |(_, row)| row.class)
}

fn answer(rule: RuleId, names: &dyn Names) -> MapsAnswer {
    if rule == RuleId::NONE {
        return MapsAnswer::Denied;
    }
    MapsAnswer::Allowed(match names.rule(rule) {
        Some(rule) => format!("{} {}", rule.policy, rule.path),
        None => format!("rule {:#x}, whose name is not known", rule.0),
    })
}

impl MapsAnswer {
    /// Whether this end lets the connection pass; `None` if this node's maps do not judge it.
    pub(super) fn allows(&self) -> Option<bool> {
        match self {
            Self::Elsewhere => None,
            Self::Pending | Self::Denied => Some(false),
            Self::NotIsolated | Self::Always | Self::Allowed(_) => Some(true),
        }
    }
}

#[cfg(test)]
#[path = "maps_tests.rs"]
mod tests;
