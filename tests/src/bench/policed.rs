//! The pods that connections are measured between, and the policies at both of their ends.

use serde_json::{Value, json};

use super::traffic::PORT;

/// Where the bed's own server answers; the benchmark listens on [`PORT`].
pub(super) const PROBE: u16 = 5000;

/// Where the server listens for who comes by way of a Service: a connection from the same port of the client to the pod
/// itself would have the same answers, and netpol refuses the second of two such connections.
pub(super) const SERVED: u16 = 5003;

/// A pod of a node that the policies know by its role: `client`, `server`, or anything else.
pub(super) fn pod(role: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{role}-{node}"), "namespace": "bench", "labels": {"role": role}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": PROBE}]}]},
    })
}

/// Both ends are judged: the client's egress and the server's ingress.
pub(super) fn policies() -> [Value; 3] {
    let ports = json!([
        {"port": PROBE}, {"port": SERVED}, {"port": PORT, "protocol": "TCP"}, {"port": PORT, "protocol": "UDP"},
    ]);
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "client", "namespace": "bench"},
            "spec": {
                "podSelector": {"matchLabels": {"role": "client"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"role": "server"}}}], "ports": ports}],
            },
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "server", "namespace": "bench"},
            "spec": {
                "podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": ports}],
            },
        }),
    ]
}
