//! A record for tests.

use super::{FlowRecord, PartyRecord, PolicyRecord, Verdict};

/// A connection that a policy dropped.
pub(crate) fn sample() -> FlowRecord {
    let pod = |address: &str, port, name: &str| PartyRecord {
        address: address.parse().unwrap(),
        port,
        namespace: Some("shop".into()),
        pod: Some(name.into()),
        service: None,
        node: None,
    };
    FlowRecord {
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
            namespace: "shop".into(),
            name: "db-ingress".into(),
            rule: None,
            kept: false,
        }],
        egress: "not-isolated".into(),
        ingress: String::new(),
        tcp_flags: "SYN".into(),
        interface: 11,
        length: 74,
    }
}
