//! An agent that leaves Services to the node's own netfilter, and judges what that has translated.

use std::{net::SocketAddr, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, Family, Place},
    flows::status,
    probe::{Attempt, MIN_SIZE, Outcome, Protocol},
};
use serde_json::{Value, json};

use crate::{
    address,
    cluster::{START, build, follow_connections, service, translate},
};

const SERVERS: [&str; 2] = ["10.96.0.7", "fd00:10:96::7"];
const PATIENCE: Duration = Duration::from_secs(2);

fn ask(bed: &Bed, from: &str, protocol: Protocol, to: SocketAddr) -> Outcome {
    let from = bed.netns(&Place::Pod(format!("t/{from}"))).unwrap();
    bed.runtime().block_on(Attempt { from, protocol, to, size: MIN_SIZE, timeout: PATIENCE }.make()).1
}

/// Friends may ask addresses of Services: the packets that a pod sends have no others.
fn to_services() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "services", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "friend"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.96.0.0/16"}}, {"ipBlock": {"cidr": "fd00:10:96::/112"}}]}],
        },
    })
}

#[test]
fn what_another_proxy_translates_is_judged_by_its_backend() {
    let mut bed = build(&[service("servers", "server", SERVERS), to_services()]);
    follow_connections(&bed);
    let arguments = vec!["--services=off".to_owned()];
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.await_agents(START).unwrap();
    for agent in bed.agents() {
        let status = status(agent).unwrap();
        assert_eq!(status.services, 0);
        assert!(status.node_services.starts_with("off: --services=off"), "{}", status.node_services);
    }
    let asked = || {
        [(Protocol::Tcp, 80), (Protocol::Udp, 53)].into_iter().flat_map(|(protocol, port)| {
            SERVERS.map(|text| (protocol, SocketAddr::new(text.parse().unwrap(), port)))
        })
    };
    for (protocol, service) in asked() {
        let outcome = ask(&bed, "routed-friend", protocol, service);
        assert!(!matches!(outcome, Outcome::Answered(_)), "nobody translates {service}: {outcome:?}");
    }
    for backend in ["routed-server", "bridged-server"] {
        for (protocol, service) in asked() {
            let to = SocketAddr::new(address(&bed, backend, Family::of(service.ip())), service.port());
            translate(&bed, protocol, service, to);
            for (from, allowed) in [
                ("routed-friend", true),
                ("bridged-friend", true),
                ("routed-stranger", false),
                ("bridged-stranger", false),
            ] {
                let outcome = ask(&bed, from, protocol, service);
                let as_expected = match &outcome {
                    Outcome::Answered(Some(reply)) => allowed && reply.pod == format!("t/{backend}"),
                    outcome => !allowed && *outcome == Outcome::Silent,
                };
                assert!(as_expected, "{from} → {service} → {to} ({}): {outcome:?}", protocol.name());
            }
        }
    }
}
