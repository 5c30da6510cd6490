//! A flow record: what `netpolctl flows` shows and `-o json` prints, one per line.

use std::{fmt, sync::Arc, time::SystemTime};

use k8s_openapi::jiff::Timestamp;
use netpol_common::{net::proto, told::ToldRow};
use serde::{Deserialize, Serialize};

use super::{party::PartyRecord, policy::PolicyRecord};
use crate::model::Name;

/// Version of what records look like in JSON. It goes up when a field goes or changes its meaning; new fields may come any time.
pub const SCHEMA: u32 = 1;

/// A packet that was dropped, or a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowRecord {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What is told of.
    pub kind: Kind,
    /// When the programs saw it; RFC 3339, UTC, milliseconds. Of several packets: the last one.
    pub time: Timestamp,
    /// When they saw the first packet, if the record tells of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The node whose programs saw it.
    pub node: Arc<str>,
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
    /// Dropped by policy: the rule that came nearest to allowing it, and what it lacks, in words. Not there if the policies
    /// have no rules, or too many drops of different kinds come at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Arc<str>>,
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
    /// Of ICMP and ICMPv6: the message's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Interface of the pod whose rules decided (host side), 0 if there is none.
    pub interface: u32,
    /// The pod behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Name>,
    /// Length with Ethernet header, in bytes; of all suppressed packets together.
    pub length: u64,
    /// 0: the record tells of one packet. Else of so many that came after it within a second, of the same addresses and ports and
    /// dropped for the same reason. Without `source`: of the pod `endpoint`, which had made more records in this second than are
    /// told apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// What has gone over the connection so far, if it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// What a record tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A packet that was dropped.
    Packet,
    /// The first packet of a connection.
    Opened,
    /// A connection that goes on.
    Heartbeat,
    /// A connection that has ended.
    Closed,
}

/// What has gone over a connection, as its initiator sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets that the initiator has sent.
    pub packets_sent: u64,
    /// Packets that it has received.
    pub packets_received: u64,
    /// Bytes that it has sent, with Ethernet headers.
    pub bytes_sent: u64,
    /// Bytes that it has received, with Ethernet headers.
    pub bytes_received: u64,
}

impl FlowRecord {
    /// The record of what came after this one and was like it, as of `time`.
    #[must_use]
    pub fn repeated(self, time: SystemTime, row: &ToldRow) -> Self {
        let first = Some(self.time);
        Self { first, time: timestamp(time), suppressed: row.packets, length: row.bytes, ..self }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It opened a connection.
    Forwarded,
    /// It was dropped.
    Dropped,
    /// It was forwarded, and would have been dropped by policy if that were enforced.
    Audit,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
            Self::Audit => "audit",
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

/// The number of what [`protocol_name`] names; `None` if it is no protocol.
#[must_use]
pub fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(proto::TCP),
        "UDP" => Some(proto::UDP),
        "SCTP" => Some(proto::SCTP),
        "ICMP" => Some(proto::ICMP),
        "ICMPv6" => Some(proto::ICMPV6),
        number => number.parse().ok(),
    }
}

/// A clock's time as records hold it: whole milliseconds, because the kernel dates events in jiffies. The epoch if it
/// lies outside of what RFC 3339 can write.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let exact = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}
