//! A flow record → Hubble's Flow.

use std::net::IpAddr;

use prost_types::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    identity,
    messages::{
        CiliumEventType, Emitter, Endpoint, Flow, FlowType, Icmp, Ip, IpVersion, Layer4, NetworkInterface,
        Policy, Ports, Protocol, Service, Tcp, TcpFlags, Workload,
    },
    view::{DROP, POLICY_VERDICT, View},
};
use crate::flow::{FlowRecord, PartyRecord, PolicyRecord, Verdict};

/// `policy_match_type`: a rule allows it. Cilium would also say whether the rule names peers and ports.
const MATCH_L3_L4: u32 = 2;
/// Everything is allowed at this end.
const MATCH_ALL: u32 = 4;

/// The Flow that tells what a record tells.
pub(super) fn flow(record: &FlowRecord) -> Flow {
    let view = View::of(record);
    let ends = view.source.zip(view.destination);
    let dropped = record.verdict == Verdict::Dropped;
    let event_type = if view.by_policy() { POLICY_VERDICT } else { DROP };
    let policies = |allows: bool, direction: &str| -> Vec<Policy> {
        let of_end = record.policies.iter().filter(|policy| policy.direction == direction);
        of_end.filter(|_| allows != dropped).map(policy).collect()
    };
    Flow {
        time: Some(time(record)),
        uuid: uuid(record),
        emitter: Some(Emitter { name: "netpol".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: view.verdict().into(),
        drop_reason: u32::try_from(view.drop_reason()).unwrap_or(0),
        ip: ends.map(|(source, destination)| Ip {
            source: source.address.to_string(),
            destination: destination.address.to_string(),
            ip_version: version(source.address).into(),
        }),
        l4: ends.and_then(|(source, destination)| layer4(record, source, destination)),
        source: view.source.map(|party| endpoint(party, record)),
        destination: view.destination.map(|party| endpoint(party, record)),
        r#type: FlowType::L3L4.into(),
        node_name: record.node.to_string(),
        event_type: Some(CiliumEventType {
            r#type: event_type,
            sub_type: if event_type == DROP { view.drop_reason() } else { 0 },
        }),
        source_service: view.source.and_then(service),
        destination_service: record.destination.as_ref().and_then(service),
        traffic_direction: view.direction().into(),
        policy_match_type: match (dropped, record.policies.is_empty()) {
            (true, _) => 0,
            (false, false) => MATCH_L3_L4,
            (false, true) => MATCH_ALL,
        },
        drop_reason_desc: view.drop_reason(),
        is_reply: view.is_reply(),
        interface: (record.interface != 0)
            .then(|| NetworkInterface { index: record.interface, name: String::new() }),
        summary: summary(record),
        egress_allowed_by: policies(true, "egress"),
        ingress_allowed_by: policies(true, "ingress"),
        egress_denied_by: policies(false, "egress"),
        ingress_denied_by: policies(false, "ingress"),
        policy_log: log(record),
    }
}

pub(super) fn time(record: &FlowRecord) -> Timestamp {
    let nanos = record.time.as_nanosecond();
    Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

fn version(address: IpAddr) -> IpVersion {
    if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
}

fn endpoint(party: &PartyRecord, record: &FlowRecord) -> Endpoint {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let workload = party.workload.iter();
    Endpoint {
        id: 0,
        identity: identity::of(party, &record.node),
        namespace: text(&party.namespace),
        labels: identity::labels(party, &record.node),
        pod_name: text(&party.pod),
        workloads: workload.map(|w| Workload { name: w.name.clone(), kind: w.kind.clone() }).collect(),
    }
}

fn service(party: &PartyRecord) -> Option<Service> {
    let service = party.service.as_ref()?;
    Some(Service { name: service.name.to_string(), namespace: service.namespace.to_string() })
}

fn layer4(record: &FlowRecord, source: &PartyRecord, destination: &PartyRecord) -> Option<Layer4> {
    let ports = Ports { source_port: u32::from(source.port), destination_port: u32::from(destination.port) };
    let icmp = Icmp { r#type: u32::from(record.icmp_type.unwrap_or(0)), code: 0 };
    let protocol = match record.protocol.as_str() {
        "TCP" => Protocol::Tcp(Tcp {
            source_port: ports.source_port,
            destination_port: ports.destination_port,
            flags: Some(tcp_flags(&record.tcp_flags)),
        }),
        "UDP" => Protocol::Udp(ports),
        "SCTP" => Protocol::Sctp(ports),
        "ICMP" => Protocol::IcmpV4(icmp),
        "ICMPv6" => Protocol::IcmpV6(icmp),
        _ => return None,
    };
    Some(Layer4 { protocol: Some(protocol) })
}

pub(super) fn tcp_flags(text: &str) -> TcpFlags {
    let has = |flag: &str| text.split(',').any(|word| word == flag);
    TcpFlags {
        fin: has("FIN"),
        syn: has("SYN"),
        rst: has("RST"),
        psh: has("PSH"),
        ack: has("ACK"),
        urg: has("URG"),
        ece: has("ECE"),
        cwr: has("CWR"),
        ns: false,
    }
}

fn policy(policy: &PolicyRecord) -> Policy {
    Policy {
        name: policy.name.to_string(),
        namespace: policy.namespace.to_string(),
        labels: Vec::new(),
        revision: u64::try_from(policy.generation).unwrap_or(0),
        kind: policy.kind.name().to_owned(),
    }
}

/// What stands in the column SUMMARY.
fn summary(record: &FlowRecord) -> String {
    match (record.protocol.as_str(), record.icmp_type) {
        ("TCP", _) => format!("TCP Flags: {}", record.tcp_flags.replace(',', ", ")),
        (protocol, Some(number)) => format!("{protocol} type {number}"),
        (protocol, None) => protocol.to_owned(),
    }
}

/// What has no field of its own: our word for the reason, the rules, and the nearest miss.
fn log(record: &FlowRecord) -> Vec<String> {
    let reason = record.reason.iter().map(|reason| format!("reason: {reason}"));
    let bases = [("egress", &record.egress), ("ingress", &record.ingress)].into_iter();
    let bases = bases.filter(|(_, basis)| !basis.is_empty()).map(|(end, basis)| format!("{end}: {basis}"));
    let peers = record.policies.iter().filter_map(|p| p.peer.as_ref().map(|peer| (p, peer)));
    let peers = peers.map(|(p, peer)| format!("{} peer: {}/{} {peer}", p.direction, p.namespace, p.name));
    let nearest = record.nearest.iter().map(|nearest| format!("nearest: {nearest}"));
    reason.chain(bases).chain(peers).chain(nearest).collect()
}

/// Made from what the record says (RFC 9562, version 8), so that a record has the same one whoever asks.
pub(super) fn uuid(record: &FlowRecord) -> String {
    let mut hash = Sha256::new();
    let party = |party: &Option<PartyRecord>| party.as_ref().map(|p| (p.address, p.port));
    let FlowRecord { time, node, direction, protocol, interface, length, .. } = record;
    let ends = (party(&record.source), party(&record.destination), party(&record.translated));
    hash.update(format!("{time}|{node}|{direction}|{protocol}|{interface}|{length}|{ends:?}"));
    hash.update(format!("{:?}|{:?}|{}", record.kind, record.reason, record.tcp_flags));
    let hash = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
