//! One table per question that the API answers. The worlds are written as manifests are.

mod blocks;
mod explain;
mod isolation;
mod peers;
mod ports;
mod services;

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
};
use netpol_common::net::proto;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Family, Judgement, Party, Question, Verdict, World, judge};

pub(super) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a manifest")
}

/// Two namespaces, two nodes; `db` and `web` in shop, `tool` in ops, `agent` in its node's network, `done` ended with the
/// address that `web` has now.
pub(super) fn world() -> World {
    let pod = |ns: &str, name: &str, node: &str, ips: [&str; 2], labels: Value| -> Pod {
        object(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": ns, "name": name, "labels": labels},
            "spec": {"nodeName": node, "containers": [
                {"name": "a", "ports": [{"name": "http", "containerPort": 8080}]},
                {"name": "b", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
            "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ips[0]}, {"ip": ips[1]}]}
        }))
    };
    let mut agent = pod("ops", "agent", "n2", ["192.168.0.2", "fd01::2"], json!({"app": "agent"}));
    agent.spec.as_mut().expect("a spec").host_network = Some(true);
    let mut done = pod("shop", "done", "n1", ["10.0.1.2", "fd00:1::2"], json!({"app": "done"}));
    done.status.as_mut().expect("a status").phase = Some("Succeeded".into());
    let node = |name: &str, ips: [&str; 2]| -> Node {
        let addresses = ips.map(|ip| json!({"type": "InternalIP", "address": ip}));
        object(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}),
        )
    };
    let namespace = |name: &str, labels: Value| -> Namespace {
        object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    };
    World {
        namespaces: vec![
            namespace("shop", json!({"team": "shop"})),
            namespace("ops", json!({"team": "ops"})),
        ],
        nodes: vec![node("n1", ["192.168.0.1", "fd01::1"]), node("n2", ["192.168.0.2", "fd01::2"])],
        pods: vec![
            done,
            pod("shop", "db", "n1", ["10.0.1.1", "fd00:1::1"], json!({"app": "db", "tier": "back"})),
            pod("shop", "web", "n1", ["10.0.1.2", "fd00:1::2"], json!({"app": "web", "tier": "front"})),
            pod("ops", "tool", "n2", ["10.0.2.1", "fd00:2::1"], json!({"app": "tool"})),
            agent,
        ],
        ..World::default()
    }
}

pub(super) fn policy(spec: Value) -> NetworkPolicy {
    named_policy("p", spec)
}

pub(super) fn named_policy(name: &str, spec: Value) -> NetworkPolicy {
    object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": name}, "spec": spec
    }))
}

/// `db` isolated for ingress by these rules.
pub(super) fn into_db(rules: Value) -> World {
    with(json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": rules}))
}

/// `db` isolated for egress by these rules.
pub(super) fn out_of_db(rules: Value) -> World {
    with(json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"], "egress": rules}))
}

pub(super) fn with(spec: Value) -> World {
    World { policies: vec![policy(spec)], ..world() }
}

/// `shop/web`, `node:n1` or an address.
pub(super) fn party(text: &str) -> Party {
    if let Ok(address) = text.parse() {
        return Party::Address(address);
    }
    match (text.strip_prefix("node:"), text.split_once('/')) {
        (Some(node), _) => Party::Node(node.into()),
        (None, Some((namespace, name))) => Party::Pod { namespace: namespace.into(), name: name.into() },
        (None, None) => panic!("{text} is no party"),
    }
}

pub(super) fn ask(world: &World, from: &str, to: &str, protocol: u8, port: u16) -> Judgement {
    let family =
        [from, to].iter().find_map(|text| Some(Family::of(text.parse().ok()?))).unwrap_or(Family::V4);
    let question = Question { from: party(from), to: party(to), family, protocol, port };
    judge(world, &question).unwrap_or_else(|error| panic!("{from} → {to}: {error}"))
}

/// Whether `db` receives TCP 80 from there.
pub(super) fn reaches_db(world: &World, from: &str) -> bool {
    let to = if from.contains(':') && !from.starts_with("node:") { "fd00:1::1" } else { "shop/db" };
    ask(world, from, to, proto::TCP, 80).ingress.allows()
}

pub(super) fn service(value: Value) -> Service {
    object(value)
}

pub(super) fn slice(value: Value) -> EndpointSlice {
    object(value)
}

pub(super) fn isolated(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allowed { .. } | Verdict::Denied { .. })
}
