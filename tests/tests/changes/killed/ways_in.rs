//! Changes of what clients beyond the nodes reach.

use std::net::IpAddr;

use anyhow::{Context, Result};
use netpol_common::net::proto::{TCP, UDP};
use serde_json::{Value, json};

use super::cases::{Case, Grain, PODS, SERVICES, far, service, with};

/// Hosts beyond the nodes.
pub(super) const CLIENTS: [&str; 3] = ["192.168.1.1", "192.168.2.1", "2001:db8::1"];
const BALANCER: [&str; 2] = ["198.18.1.9", "2001:db8:113:1::9"];
const NODE: [&str; 2] = ["172.18.0.1", "fd00:172:18::1"];
const NODE_PORTS: [u16; 2] = [30_080, 30_081];

/// What clients beyond the nodes ask for.
pub(super) fn asked_from_outside() -> Result<Vec<(IpAddr, u8, u16)>> {
    let mut asked = Vec::new();
    for text in [NODE, BALANCER, ["10.96.0.10", "fd00:10:96::10"]].concat() {
        let addr = text.parse().with_context(|| text.to_owned())?;
        let ports = NODE_PORTS.iter().chain(&[80]);
        asked.extend(ports.flat_map(|port| [(addr, TCP, *port), (addr, UDP, *port)]));
    }
    Ok(asked)
}

/// Under a cluster address, a node port and a load balancer's address, in both families; one pod answers.
fn balanced(app: &str, node_port: u16, more: &Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "t"},
        "spec": {
            "type": "LoadBalancer", "selector": {"app": app},
            "clusterIP": SERVICES[0], "clusterIPs": [SERVICES[0], "fd00:10:96::10"],
            "ports": [
                {"name": "tcp", "port": 80, "targetPort": 8080, "nodePort": node_port},
                {"name": "udp", "port": 80, "targetPort": 8080, "nodePort": node_port, "protocol": "UDP"},
            ],
        },
        "status": {"loadBalancer": {"ingress": BALANCER.map(|ip| json!({"ip": ip}))}},
    });
    if let (Some(spec), Some(more)) = (service["spec"].as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    service
}

/// No backend of a Service that asks for pods of this node.
fn elsewhere() -> Value {
    far("t", "a", &json!({"app": "far"}), &["10.244.9.1", "fd00:10:244:9::1"])
}

/// From a cluster address alone to all ways in, and back, with another backend.
pub(super) fn outside() -> Case {
    Case {
        name: "ways in from outside",
        both_ways: true,
        from: with(&[service("s", SERVICES[0], "web", 8080), elsewhere()]),
        to: with(&[balanced("db", NODE_PORTS[0], &json!({})), elsewhere()]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

pub(super) fn source_ranges() -> Case {
    let ranges = |ranges: &[&str]| json!({"loadBalancerSourceRanges": ranges});
    Case {
        name: "source ranges and another node port",
        both_ways: true,
        from: with(&[balanced("web", NODE_PORTS[0], &ranges(&["192.168.1.0/24"])), elsewhere()]),
        to: with(&[
            balanced("web", NODE_PORTS[1], &ranges(&["192.168.2.0/24", "2001:db8::/64"])),
            elsewhere(),
        ]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

/// Where nobody on this node answers, a policy of `Local` drops what comes from outside, and nothing else.
pub(super) fn external_policy() -> Case {
    let local = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30_180});
    Case {
        name: "external traffic policy",
        both_ways: true,
        from: with(&[balanced("far", NODE_PORTS[0], &json!({})), elsewhere()]),
        to: with(&[balanced("far", NODE_PORTS[0], &local), elsewhere()]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

/// One pod hands over to another, for clients that keep to theirs.
pub(super) fn endpoints() -> Case {
    let slices = |address: &str| {
        let endpoint = json!({"addresses": [address], "nodeName": "node9", "conditions": {"ready": true}});
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s", "namespace": "t", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "endpoints": [endpoint],
            "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}, {"name": "udp", "port": 8080, "protocol": "UDP"}],
        })
    };
    let affinity = balanced("none", NODE_PORTS[0], &json!({"sessionAffinity": "ClientIP"}));
    Case {
        name: "endpoints",
        both_ways: true,
        from: with(&[affinity.clone(), slices("10.244.9.1")]),
        to: with(&[affinity, slices("10.244.9.2")]),
        pods: PODS,
        grain: Grain::Connection,
    }
}
