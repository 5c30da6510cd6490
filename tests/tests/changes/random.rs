//! Random policies and labels, drawn from small pools, so that they meet the pods that stream.

use serde_json::{Map, Value, json};

use super::dice::Dice;

/// Where the streaming pods live.
pub(crate) const HOME: &str = "t";
/// Where nobody of them lives.
pub(crate) const ELSEWHERE: &str = "u";
pub(crate) const PORT: u16 = 7000;

const TEAMS: [&str; 3] = ["red", "green", "blue"];
const TIERS: [&str; 2] = ["front", "back"];
const BLOCKS: [(&str, Option<&str>); 8] = [
    ("10.244.0.0/16", None),
    ("10.244.0.0/16", Some("10.244.2.0/24")),
    ("10.244.1.0/24", None),
    ("10.244.2.0/24", Some("10.244.2.4/31")),
    ("fd00:10:244::/48", None),
    ("fd00:10:244::/48", Some("fd00:10:244:1::/64")),
    ("fd00:10:244:2::/64", None),
    ("0.0.0.0/0", Some("10.244.1.0/24")),
];

/// The labels that policies look at.
pub(crate) fn labels(dice: &mut Dice) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert("team".to_owned(), json!(dice.one_of(&TEAMS)));
    labels.insert("tier".to_owned(), json!(dice.one_of(&TIERS)));
    labels
}

pub(crate) fn namespace(dice: &mut Dice, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"stage": dice.one_of(&["test", "live"])}},
    })
}

pub(crate) fn policy(dice: &mut Dice, namespace: &str, name: &str) -> Value {
    let types = dice.one_of(&[&["Ingress"][..], &["Egress"], &["Ingress", "Egress"]]).to_vec();
    let mut spec = json!({"podSelector": subject(dice), "policyTypes": types});
    for (kind, list, peers) in [("Ingress", "ingress", "from"), ("Egress", "egress", "to")] {
        if types.contains(&kind) {
            spec[list] = (0..dice.below(4)).map(|_| rule(dice, peers)).collect();
        }
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

fn subject(dice: &mut Dice) -> Value {
    match dice.below(8) {
        0 => json!({}),
        1..4 => json!({"matchLabels": {"team": dice.one_of(&TEAMS)}}),
        4..6 => json!({"matchLabels": {"tier": dice.one_of(&TIERS)}}),
        _ => json!({"matchLabels": {"team": dice.one_of(&TEAMS), "tier": dice.one_of(&TIERS)}}),
    }
}

fn rule(dice: &mut Dice, peers: &str) -> Value {
    let mut rule = json!({});
    if dice.percent(70) {
        rule[peers] = (0..=dice.below(2)).map(|_| peer(dice)).collect();
    }
    if dice.percent(40) {
        rule["ports"] = dice
            .one_of(&[
                json!([{"port": PORT}]),
                json!([{"port": PORT, "protocol": "UDP"}]),
                json!([{"port": PORT, "protocol": "UDP"}, {"port": PORT}]),
                json!([{"port": PORT - 10, "endPort": PORT + 10}]),
                json!([{"protocol": "UDP"}]),
                json!([{"port": 80}]),
            ])
            .clone();
    }
    rule
}

fn peer(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => json!({"podSelector": {}}),
        1 => json!({"podSelector": {"matchLabels": {"team": dice.one_of(&TEAMS)}}}),
        2 => json!({"podSelector": {"matchLabels": {"tier": dice.one_of(&TIERS)}}}),
        3 => json!({
            "namespaceSelector": {"matchLabels": {"stage": dice.one_of(&["test", "live"])}},
            "podSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": [dice.one_of(&TEAMS)]}]},
        }),
        4 => json!({"namespaceSelector": {"matchLabels": {"stage": dice.one_of(&["test", "live"])}}}),
        _ => {
            let (cidr, except) = dice.one_of(&BLOCKS);
            json!({"ipBlock": {"cidr": cidr, "except": except.iter().collect::<Vec<_>>()}})
        }
    }
}
