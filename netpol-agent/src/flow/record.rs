//! A flow record: what `netpolctl flows` shows and `-o json` prints, one per line.

use std::{fmt, net::IpAddr, time::SystemTime};

use k8s_openapi::jiff::Timestamp;
use netpol_common::net::proto;
use serde::{Deserialize, Serialize};

use crate::model::Name;

/// One packet that was dropped, or that opened a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowRecord {
    /// When the programs saw it; RFC 3339, UTC, milliseconds.
    pub time: Timestamp,
    /// The node whose programs saw it.
    pub node: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The drop reason's name (`docs/drop-reasons.md`); not there if it was forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `ingress` or `egress`, as the pod sees it whose rules decided.
    pub direction: String,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, else the IANA number; empty if it was not read.
    pub protocol: String,
    /// Who sent it; not there if the packet was dropped before its addresses were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PartyRecord>,
    /// Where it was sent to, as the sender wrote it: for a Service its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<PartyRecord>,
    /// The backend it went to instead, if it was sent to a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<PartyRecord>,
    /// Who decided. Forwarded: the rules that allowed it. Dropped by policy: the policies that isolate the pod, none of
    /// whose rules allows it.
    #[serde(default)]
    pub policies: Vec<PolicyRecord>,
    /// Why the initiator may send: `not-isolated`, `node`, `self`, `elsewhere` (not a pod of this node), a rule such as
    /// `shop/web spec.egress[0]`, or empty if it was not decided or does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub egress: String,
    /// Why the responder may receive, in the same words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ingress: String,
    /// TCP flags, such as `SYN` or `SYN,ACK`; empty for other protocols.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tcp_flags: String,
    /// Interface of the pod whose rules decided (host side), 0 if there is none.
    pub interface: u32,
    /// Length with Ethernet header, in bytes.
    pub length: u32,
}

/// One end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartyRecord {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 for protocols without ports. For an ICMP echo: the identifier at the asking end.
    pub port: u16,
    /// Namespace of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The Service that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRecord>,
    /// The node that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A Service.
pub type ServiceRecord = Name;

/// A policy, and the rule of it that allowed the connection if one did.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.ingress[1]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// It was deleted and is in force until the pods of its namespace, which is being deleted, are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It opened a connection.
    Forwarded,
    /// It was dropped.
    Dropped,
}

/// Which records are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Only those with this pod at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Name>,
    /// Only those from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Filter {
    /// Whether a record is wanted.
    #[must_use]
    pub fn wants(&self, record: &FlowRecord) -> bool {
        let ends = [&record.source, &record.destination, &record.translated];
        self.verdict.is_none_or(|verdict| verdict == record.verdict)
            && self.pod.as_ref().is_none_or(|pod| ends.into_iter().flatten().any(|end| end.is_pod(pod)))
            && self.since.is_none_or(|since| record.time >= since)
    }

    /// Whether forwarded connections may be wanted, which the programs report on demand only.
    #[must_use]
    pub fn wants_forwarded(&self) -> bool {
        self.verdict != Some(Verdict::Dropped)
    }
}

impl PartyRecord {
    fn is_pod(&self, name: &Name) -> bool {
        self.namespace.as_deref() == Some(&name.namespace) && self.pod.as_deref() == Some(&name.name)
    }
}

impl fmt::Display for PartyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, namespace, pod, service, node } = self;
        match (namespace, pod, service, node) {
            (Some(namespace), Some(pod), ..) => write!(f, "{namespace}/{pod}")?,
            (_, _, Some(service), _) => write!(f, "service:{service}")?,
            (_, _, _, Some(node)) => write!(f, "node:{node}")?,
            // As in a URL, so that the port can be told from the address.
            _ if address.is_ipv6() && *port != 0 => write!(f, "[{address}]")?,
            _ => write!(f, "{address}")?,
        }
        if *port == 0 { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl fmt::Display for PolicyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, rule, kept } = self;
        write!(f, "{namespace}/{name}")?;
        rule.iter().try_for_each(|rule| write!(f, " {rule}"))?;
        if *kept { f.write_str(" (kept)") } else { Ok(()) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
        })
    }
}

/// `TCP` and the like; the number where netpol has no name for it.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match number {
        proto::TCP => "TCP".to_owned(),
        proto::UDP => "UDP".to_owned(),
        proto::SCTP => "SCTP".to_owned(),
        proto::ICMP => "ICMP".to_owned(),
        proto::ICMPV6 => "ICMPv6".to_owned(),
        other => other.to_string(),
    }
}

/// A clock's time as records hold it: whole milliseconds, because the kernel dates events in jiffies. The epoch if it
/// lies outside of what RFC 3339 can write.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let exact = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}
