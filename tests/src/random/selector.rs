use proptest::{collection::btree_map, option, prelude::*, sample::select};
use serde_json::{Value, json};

/// Keys and values of labels.
const KEYS: [&str; 2] = ["a", "b"];
const VALUES: [&str; 2] = ["x", "y"];

/// Labels of a pod or namespace.
pub(super) fn labels() -> impl Strategy<Value = Value> {
    btree_map(select(&KEYS[..]), select(&VALUES[..]), 0..=2).prop_map(|labels| json!(labels))
}

/// A selector over those labels; now and then one without a meaning.
pub(super) fn selector(extra_key: Option<&'static str>) -> impl Strategy<Value = Value> {
    let label = btree_map(select(&KEYS[..]), select(&VALUES[..]), 1..=2);
    prop_oneof![
        3 => Just(json!({})),
        3 => label.prop_map(|labels| json!({"matchLabels": labels})),
        5 => proptest::collection::vec(requirement(extra_key), 1..=2).prop_map(|all| json!({"matchExpressions": all})),
    ]
}

fn requirement(extra_key: Option<&'static str>) -> impl Strategy<Value = Value> {
    let keys: Vec<&str> = KEYS.into_iter().chain(extra_key).collect();
    let values = proptest::collection::vec(select(vec!["x", "y", "n0", "n1"]), 1..=2);
    let operator = prop_oneof![
        4 => Just("In"),
        4 => Just("NotIn"),
        2 => Just("Exists"),
        2 => Just("DoesNotExist"),
        1 => Just("Like"),
    ];
    (select(keys), operator, values, option::weighted(0.05, Just(()))).prop_map(
        |(key, operator, values, wrong)| {
            let takes_values = matches!(operator, "In" | "NotIn" | "Like");
            if takes_values == wrong.is_none() {
                json!({"key": key, "operator": operator, "values": values})
            } else {
                json!({"key": key, "operator": operator})
            }
        },
    )
}
