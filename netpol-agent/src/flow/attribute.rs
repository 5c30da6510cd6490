//! Numbers → names.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use netpol_common::{
    direction::Direction,
    net::proto,
    policy::{RuleId, SlotId},
    reason::DropReason,
    told::ToldRow,
};

use super::{
    decode::{Decoded, Outcome},
    party::PartyRecord,
    policy::{PolicyKind, PolicyRecord},
    record::{FlowRecord, Kind, SCHEMA, Verdict, protocol_name, timestamp},
};
use crate::{
    engine::{
        Attribution,
        view::{Identity, PodRef, RuleRef, SlotRef},
    },
    model::Name,
};

/// Who knows the names.
pub trait Names {
    /// The rule behind a number; `None` for the constants of [`RuleId`].
    fn rule(&self, id: RuleId) -> Option<&RuleRef>;
    /// The policies behind a slot.
    fn slot(&self, id: SlotId) -> Option<&SlotRef>;
    /// Whether a policy is in force only because its namespace is being deleted.
    fn is_kept(&self, policy: &Name) -> bool;
    /// `metadata.generation` of a policy, 0 if that is not known.
    fn generation(&self, policy: &Name) -> i64;
    /// The pod behind an interface of this node.
    fn interface(&self, ifindex: u32) -> Option<&PodRef>;
    /// Who has an address.
    fn address(&self, address: IpAddr) -> Option<Identity>;
}

impl Names for Attribution {
    fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        Self::rule(self, id)
    }
    fn slot(&self, id: SlotId) -> Option<&SlotRef> {
        Self::slot(self, id)
    }
    fn is_kept(&self, policy: &Name) -> bool {
        Self::is_kept(self, policy)
    }
    fn generation(&self, policy: &Name) -> i64 {
        Self::generation(self, policy)
    }
    fn interface(&self, ifindex: u32) -> Option<&PodRef> {
        Self::interface(self, ifindex)
    }
    fn address(&self, address: IpAddr) -> Option<Identity> {
        Self::address(self, address)
    }
}

/// The record of an event that `node` saw at `time`.
#[must_use]
pub fn attribute(event: &Decoded, time: SystemTime, node: &Arc<str>, names: &dyn Names) -> FlowRecord {
    let (kind, verdict, reason) = match event.outcome {
        Outcome::Forwarded => (Kind::Opened, Verdict::Forwarded, None),
        Outcome::Audited => (Kind::Opened, Verdict::Audit, None),
        Outcome::Dropped(reason) => (Kind::Packet, Verdict::Dropped, Some(reason)),
    };
    let mut source = event.ends.map(|ends| party(ends.source, names));
    let destination = event.ends.map(|ends| party(ends.destination, names));
    let translated = event.ends.filter(|ends| ends.translated != ends.destination);
    let mut translated = translated.map(|ends| party(ends.translated, names));
    // The interface proves who it is; an address can be forged, or have changed hands since.
    let pod = names.interface(event.endpoint);
    if let Some(pod) = pod {
        let end = match event.direction {
            Direction::Egress => &mut source,
            Direction::Ingress if translated.is_some() => &mut translated,
            Direction::Ingress => &mut None,
        };
        if let Some(end) = end.as_mut().filter(|end| end.pod.is_none() && reason != Some(DropReason::Spoofed))
        {
            set_pod(end, pod);
        }
    }
    FlowRecord {
        reason: reason.map(|reason| reason.name().to_owned()),
        direction: event.direction.name().to_owned(),
        protocol: if event.ends.is_some() { protocol_name(event.protocol) } else { String::new() },
        source,
        destination,
        translated,
        policies: policies(event, names),
        egress: basis(event.rule_egress, names),
        ingress: basis(event.rule_ingress, names),
        tcp_flags: if event.protocol == proto::TCP { tcp_flags(event.tcp_flags) } else { String::new() },
        icmp_type: matches!(event.protocol, proto::ICMP | proto::ICMPV6).then_some(event.tcp_flags),
        length: event.length.into(),
        ..nameless(kind, verdict, time, node, (event.endpoint, pod))
    }
}

/// The record of what a pod has sent, or was sent, that was counted and not told apart.
#[must_use]
pub fn too_loud(
    interface: u32,
    time: SystemTime,
    node: &Arc<str>,
    row: &ToldRow,
    names: &dyn Names,
) -> FlowRecord {
    FlowRecord {
        length: row.bytes,
        suppressed: row.packets,
        ..nameless(Kind::Packet, Verdict::Dropped, time, node, (interface, names.interface(interface)))
    }
}

/// What a record says before anything is known of its ends.
fn nameless(
    kind: Kind,
    verdict: Verdict,
    time: SystemTime,
    node: &Arc<str>,
    (interface, pod): (u32, Option<&PodRef>),
) -> FlowRecord {
    FlowRecord {
        schema: SCHEMA,
        kind,
        time: timestamp(time),
        first: None,
        node: node.clone(),
        verdict,
        reason: None,
        direction: String::new(),
        protocol: String::new(),
        source: None,
        destination: None,
        translated: None,
        policies: Vec::new(),
        nearest: None,
        egress: String::new(),
        ingress: String::new(),
        tcp_flags: String::new(),
        icmp_type: None,
        interface,
        endpoint: pod.map(|pod| pod.pod.clone()),
        length: 0,
        suppressed: 0,
        traffic: None,
    }
}

fn party((address, port): (IpAddr, u16), names: &dyn Names) -> PartyRecord {
    let mut party = PartyRecord::unknown(address, port);
    match names.address(address) {
        Some(Identity::Pod(pod)) => set_pod(&mut party, &pod),
        Some(Identity::Service(service)) => party.service = Some(service),
        Some(Identity::Node(node)) => party.node = Some(node.as_str().into()),
        None => {}
    }
    party
}

fn set_pod(party: &mut PartyRecord, pod: &PodRef) {
    party.namespace = Some(pod.pod.namespace.clone());
    party.pod = Some(pod.pod.name.clone());
    party.workload = pod.workload.clone();
    party.labels = pod.labels.clone();
}

fn policies(event: &Decoded, names: &dyn Names) -> Vec<PolicyRecord> {
    match event.outcome {
        Outcome::Audited | Outcome::Dropped(DropReason::Policy) => {
            let slot = names.slot(event.slot).into_iter();
            slot.flat_map(|slot| slot.policies.iter().map(|name| isolating(name, slot.direction, names)))
                .collect()
        }
        Outcome::Dropped(_) => Vec::new(),
        Outcome::Forwarded => [event.rule_egress, event.rule_ingress]
            .into_iter()
            .filter_map(|id| names.rule(id))
            .map(|rule| allowing(rule, names))
            .collect(),
    }
}

fn isolating(name: &Name, direction: Direction, names: &dyn Names) -> PolicyRecord {
    PolicyRecord {
        kind: PolicyKind::NetworkPolicy,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        generation: names.generation(name),
        direction: direction.name().to_owned(),
        index: None,
        rule: None,
        peer: None,
        kept: names.is_kept(name),
    }
}

fn allowing(rule: &RuleRef, names: &dyn Names) -> PolicyRecord {
    PolicyRecord {
        generation: rule.generation,
        index: Some(rule.index),
        rule: Some(rule.path.clone()),
        ..isolating(&rule.policy, rule.direction, names)
    }
}

/// Why an end lets the connection pass.
fn basis(id: RuleId, names: &dyn Names) -> String {
    match id {
        RuleId::NONE => String::new(),
        RuleId::NOT_ISOLATED => "not-isolated".to_owned(),
        RuleId::NODE => "node".to_owned(),
        RuleId::SELF => "self".to_owned(),
        RuleId::ELSEWHERE => "elsewhere".to_owned(),
        RuleId::AUDIT => "audit".to_owned(),
        id => match names.rule(id) {
            Some(rule) => format!("{} {}", rule.policy, rule.path),
            None => format!("rule {:#x}, which is gone", id.0),
        },
    }
}

fn tcp_flags(bits: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = names.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "attribute_tests.rs"]
mod tests;
