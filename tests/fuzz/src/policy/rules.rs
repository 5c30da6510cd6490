//! Choices → a NetworkPolicy.

use serde_json::{Value, json};

use super::world::{LABELS, VALUES, address, namespace};
use crate::choices::Choices;

/// Ports where a rule begins or ends: questions are asked around them.
pub(super) type Edges = Vec<u16>;

/// The number in its name is one of four.
pub(super) fn policy(choices: &mut Choices<'_>, edges: &mut Edges) -> Value {
    let (namespace, name) = (namespace(choices), format!("q{}", choices.below(4)));
    let types = choices.of(&[
        json!(["Ingress", "Egress"]),
        json!(["Ingress"]),
        json!(["Egress"]),
        Value::Null,
        json!([]),
        json!(["Sideways"]),
    ]);
    let mut rules = |peers: &str| {
        choices.some(3, |choices| {
            let from = choices.some(3, peer);
            let ports = choices.some(3, |choices| port(choices, edges));
            json!({peers: from, "ports": ports})
        })
    };
    let (ingress, egress) = (rules("from"), rules("to"));
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"podSelector": selector(choices), "policyTypes": types, "ingress": ingress, "egress": egress}
    })
}

fn selector(choices: &mut Choices<'_>) -> Value {
    let key = |choices: &mut Choices<'_>| {
        choices.of(&[LABELS[0], LABELS[1], LABELS[0], "kubernetes.io/metadata.name", "nobody", ""])
    };
    let value = |choices: &mut Choices<'_>| choices.of(&[VALUES[0], VALUES[1], "n0", ""]);
    match choices.below(4) {
        0 => json!({}),
        1 => json!({"matchLabels": {key(choices): value(choices)}}),
        _ => json!({"matchExpressions": choices.some(2, |choices| {
            let operator = choices.of(&["In", "NotIn", "Exists", "DoesNotExist", "NotIn", "Like"]);
            let takes_values = matches!(operator, "In" | "NotIn") != choices.once_in(16);
            let values = if takes_values { choices.some(2, value) } else { Vec::new() };
            json!({"key": key(choices), "operator": operator, "values": values})
        })}),
    }
}

fn peer(choices: &mut Choices<'_>) -> Value {
    match choices.below(8) {
        0 => json!({"podSelector": selector(choices)}),
        1 => json!({"namespaceSelector": selector(choices)}),
        2 => json!({"namespaceSelector": selector(choices), "podSelector": selector(choices)}),
        7 => choices.of(&[json!({}), json!({"podSelector": {}, "ipBlock": {"cidr": "::/0"}})]),
        _ => json!({"ipBlock": {"cidr": cidr(choices), "except": choices.some(3, cidr)}}),
    }
}

/// Any prefix of anybody's address; now and then one without a meaning.
fn cidr(choices: &mut Choices<'_>) -> String {
    const ODD: [&str; 6] =
        ["10.0.0.0/33", "10.0.1.3", "", "10.0.1.0/024", "::ffff:10.0.1.0/120", "fd00::/129"];
    if choices.once_in(16) {
        return choices.of(&ODD).to_owned();
    }
    let address = address(choices);
    format!("{address}/{}", choices.below(if address.is_ipv4() { 33 } else { 129 }))
}

fn port(choices: &mut Choices<'_>, edges: &mut Edges) -> Value {
    let protocol = choices.of(&[
        json!("TCP"),
        Value::Null,
        json!("UDP"),
        json!("SCTP"),
        json!("TCP"),
        json!("ICMP"),
        json!(""),
    ]);
    let mut number = |choices: &mut Choices<'_>| {
        let number = choices.word();
        edges.push(number);
        i32::from(number)
    };
    let (port, end) = match choices.below(8) {
        0 | 1 => (json!(number(choices)), Value::Null),
        2 | 3 => (json!(number(choices)), json!(number(choices))),
        4 => (json!(choices.of(&["http", "dns", "nobody", ""])), Value::Null),
        5 => (Value::Null, Value::Null),
        6 => (json!(choices.of(&[-80, 65536, 0])), Value::Null),
        _ => choices.of(&[(Value::Null, json!(90)), (json!("http"), json!(90)), (json!(80), json!(65536))]),
    };
    json!({"protocol": protocol, "port": port, "endPort": end})
}
