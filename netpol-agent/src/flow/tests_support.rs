//! A record for tests.

use super::{FlowRecord, Kind, PartyRecord, PolicyKind, PolicyRecord, SCHEMA, Verdict};
use crate::model::{Labels, Name};

/// A connection that a policy dropped.
pub(crate) fn sample() -> FlowRecord {
    let pod = |address: &str, port, name: &str| PartyRecord {
        namespace: Some("shop".into()),
        pod: Some(name.into()),
        labels: Labels::new([("app".to_owned(), name.trim_end_matches("-0").to_owned())].into()),
        ..PartyRecord::unknown(address.parse().unwrap(), port)
    };
    FlowRecord {
        schema: SCHEMA,
        kind: Kind::Packet,
        first: None,
        time: "2026-03-01T12:03:04.512Z".parse().unwrap(),
        node: "node-1".into(),
        verdict: Verdict::Dropped,
        reason: Some("policy".into()),
        direction: "ingress".into(),
        protocol: "TCP".into(),
        source: Some(pod("10.244.1.13", 43122, "frontend")),
        destination: Some(pod("10.244.1.20", 5432, "db-0")),
        translated: None,
        policies: vec![PolicyRecord {
            kind: PolicyKind::NetworkPolicy,
            namespace: "shop".into(),
            name: "db-ingress".into(),
            generation: 3,
            direction: "ingress".into(),
            index: None,
            rule: None,
            peer: None,
            kept: false,
        }],
        nearest: None,
        egress: "not-isolated".into(),
        ingress: String::new(),
        tcp_flags: "SYN".into(),
        icmp_type: None,
        interface: 11,
        endpoint: Some(Name::new("shop", "db-0")),
        length: 74,
        suppressed: 0,
        traffic: None,
    }
}
