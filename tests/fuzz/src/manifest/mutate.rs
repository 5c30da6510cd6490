//! A policy that is well written, and then is not.

use serde_json::{Map, Value, json};

use crate::choices::Choices;

/// Changes, at most.
const CHANGES: usize = 4;

/// A policy that uses every field, with changes anywhere but in what names it.
pub(super) fn policy(choices: &mut Choices<'_>) -> Value {
    let operator = choices.of(&["In", "NotIn"]);
    let types =
        choices.of(&[json!(["Ingress", "Egress"]), json!(["Ingress"]), json!(["Egress"]), Value::Null]);
    let mut spec = json!({
        "podSelector": {
            "matchLabels": {"a": "x"},
            "matchExpressions": [{"key": "b", "operator": operator, "values": ["x", "y"]}]
        },
        "policyTypes": types,
        "ingress": [{
            "from": [
                {"podSelector": {"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}},
                {"namespaceSelector": {"matchLabels": {"a": "x"}}, "podSelector": {}}
            ],
            "ports": [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "http"}]
        }],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.1.0/24"]}}]}, {}]
    });
    for _ in 0..=choices.below(CHANGES) {
        change(&mut spec, choices);
    }
    json!({
        "apiVersion": choices.of(&["networking.k8s.io/v1", "networking.k8s.io/v1", "networking.k8s.io/v2", "extensions/v1beta1"]),
        "kind": "NetworkPolicy",
        "metadata": {"name": "q0", "namespace": choices.of(&["n0", "n1", ""])},
        "spec": spec
    })
}

/// Goes down some way and changes what is there.
fn change(value: &mut Value, choices: &mut Choices<'_>) {
    let stay = choices.once_in(4);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let which = choices.below(fields.len());
            let key = fields.keys().nth(which).cloned().unwrap_or_default();
            if stay {
                change_field(fields, key, choices);
            } else if let Some(below) = fields.get_mut(&key) {
                change(below, choices);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let which = choices.below(items.len());
            match choices.below(if stay { 2 } else { 1 }) {
                0 => change(&mut items[which], choices),
                _ => drop(items.remove(which)),
            }
        }
        _ => *value = junk(choices),
    }
}

fn change_field(fields: &mut Map<String, Value>, key: String, choices: &mut Choices<'_>) {
    let Some(value) = fields.remove(&key) else { return };
    match choices.below(4) {
        // It goes.
        0 => {}
        1 => {
            // Misspelt: a letter is left out, doubled, or is a capital one.
            let letter = choices.below(key.len().max(1));
            let (before, after) = key.split_at(letter);
            let misspelt = match (choices.below(3), after.get(..1)) {
                (0, _) => format!("{before}{}", after.get(1..).unwrap_or_default()),
                (1, Some(letter)) => format!("{before}{letter}{after}"),
                _ => key.to_uppercase(),
            };
            fields.insert(misspelt, value);
        }
        2 => {
            fields.insert(key, junk(choices));
        }
        _ => {
            fields.insert(key, value);
            let new = choices.of(&["namespaces", "ports", "from", "to", "matchLabels", "key", "except"]);
            fields.insert(new.to_owned(), junk(choices));
        }
    }
}

fn junk(choices: &mut Choices<'_>) -> Value {
    choices.of(&[
        Value::Null,
        json!({}),
        json!([]),
        json!(""),
        json!("x"),
        json!(80),
        json!(80.5),
        json!(-1),
        json!(5_000_000_000_i64),
        json!(true),
        json!([null]),
        json!([{}]),
        json!(["Ingress"]),
        json!({"": "x"}),
        json!({"a": 1}),
        json!([{"key": "a", "operator": "Exists", "values": []}]),
    ])
}
