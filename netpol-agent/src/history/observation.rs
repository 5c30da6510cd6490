use std::{net::IpAddr, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use netpol_common::net::proto;
use serde::{Deserialize, Serialize};

use crate::{
    flow::{FlowRecord, Kind, PartyRecord, Verdict, no_labels, protocol_number},
    model::{Labels, Workload},
    oracle::Family,
};

/// Connections that no policy can tell apart, except by the addresses of pods: the same labels, protocol, port and verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The node whose programs saw them.
    pub node: Arc<str>,
    /// Who opened them.
    pub source: ObservedParty,
    /// Who was reached or meant, after service translation.
    pub destination: ObservedParty,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port, 0 for protocols without ports.
    pub port: u16,
    /// What became of them.
    pub verdict: Verdict,
    /// Connections that were opened, or packets that were dropped or told of by policies in audit mode. 0: connections from
    /// before went on.
    pub count: u64,
    /// When the first was seen.
    pub first: Timestamp,
    /// When the last was seen.
    pub last: Timestamp,
}

/// One end. Of several pods with the same labels: the one seen last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObservedParty {
    /// Its address.
    pub address: IpAddr,
    /// Namespace of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// What made the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<Workload>>,
    /// Labels that the pod had, all of them.
    #[serde(default, skip_serializing_if = "no_labels")]
    pub labels: Labels,
    /// The node that has the address, if it is a node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// It is a pod of another node: whether its policies let the connection through is known there, not to the node that saw it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// What records say of an end that was not judged, see [`FlowRecord::egress`].
const ELSEWHERE: &str = "elsewhere";

/// What observations are summed up by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Key {
    node: Arc<str>,
    source: Who,
    destination: Who,
    v4: bool,
    protocol: u8,
    port: u16,
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Who {
    Pod(Arc<str>, Labels, Option<Arc<Workload>>, bool),
    Other(IpAddr, Option<Arc<str>>),
}

impl Observation {
    /// What a record tells of; `None` if policy had no say: a drop for another reason, a pod that speaks to itself, a packet
    /// that was not read so far.
    #[must_use]
    pub fn of(record: &FlowRecord) -> Option<Self> {
        if record.verdict == Verdict::Dropped && record.reason.as_deref() != Some("policy") {
            return None;
        }
        let protocol = protocol_number(&record.protocol)?;
        let source = ObservedParty::of(record.source.as_ref()?, &record.egress);
        let reached = record.translated.as_ref().or(record.destination.as_ref())?;
        let destination = ObservedParty::of(reached, &record.ingress);
        if source.pod.is_some() && source.is_same_pod(&destination) {
            return None;
        }
        let count = match record.kind {
            Kind::Opened => 1,
            Kind::Packet => record.suppressed.max(1),
            Kind::Heartbeat | Kind::Closed => 0,
        };
        Some(Self {
            node: record.node.clone(),
            source,
            destination,
            protocol,
            port: if has_ports(protocol) { reached.port } else { 0 },
            verdict: record.verdict,
            count,
            first: record.first.filter(|_| record.kind == Kind::Packet).unwrap_or(record.time),
            last: record.time,
        })
    }

    pub(super) fn key(&self) -> Key {
        Key {
            node: self.node.clone(),
            source: self.source.who(),
            destination: self.destination.who(),
            v4: self.family() == Family::V4,
            protocol: self.protocol,
            port: self.port,
            verdict: match self.verdict {
                Verdict::Forwarded => "forwarded",
                Verdict::Dropped => "dropped",
                Verdict::Audit => "audit",
            },
        }
    }

    /// Adds another of the same key. Both ends are taken from one of the two: the later one.
    pub(super) fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        if other.last >= self.last {
            (self.source, self.destination, self.last) = (other.source, other.destination, other.last);
        }
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.destination.address)
    }

    /// Whether it passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdict != Verdict::Dropped
    }
}

impl ObservedParty {
    /// `judged`: what the record says of the policies at this end.
    fn of(party: &PartyRecord, judged: &str) -> Self {
        let PartyRecord { address, namespace, pod, workload, labels, node, .. } = party.clone();
        // A pod without a name cannot be told from others.
        let is_pod = namespace.is_some() && pod.is_some();
        let (namespace, pod) = if is_pod { (namespace, pod) } else { (None, None) };
        Self { address, namespace, pod, workload, labels, node, elsewhere: is_pod && judged == ELSEWHERE }
    }

    fn who(&self) -> Who {
        match &self.namespace {
            Some(namespace) => {
                Who::Pod(namespace.clone(), self.labels.clone(), self.workload.clone(), self.elsewhere)
            }
            None => Who::Other(self.address, self.node.clone()),
        }
    }

    fn is_same_pod(&self, other: &Self) -> bool {
        (&self.namespace, &self.pod) == (&other.namespace, &other.pod)
    }
}

/// Whether a protocol has ports that a policy can name.
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::SCTP)
}
