use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::{bool::weighted, collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    selector::selector,
    world::{NAMESPACES, object},
};

/// Prefixes around the addresses of pods, nodes and outsiders, some with host bits, some without a meaning.
const BLOCKS: [&str; 30] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.1.0/24",
    "10.0.1.77/24",
    "10.0.1.0/29",
    "10.0.1.2/31",
    "10.0.1.3/32",
    "10.0.2.0/24",
    "10.0.2.4/30",
    "10.0.2.5/32",
    "192.168.0.0/24",
    "192.168.0.2/32",
    "203.0.113.0/24",
    "203.0.113.7/32",
    "::/0",
    "fd00::/16",
    "fd00:1::/64",
    "fd00:1::2/127",
    "fd00:2::/64",
    "fd01::/64",
    "2001:db8::/32",
    "2001:db8::7/128",
    "10.0.0.0/33",
    "10.0.1.0/24/24",
    "10.0.1.3",
    "fd00:1::3/64",
    "fd00:1::/129",
    "::ffff:10.0.1.0/120",
    "::ffff:0:0/96",
];

/// A policy whose name is one of five per namespace.
pub(super) fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let types = prop_oneof![
        2 => Just(Value::Null),
        1 => Just(json!([])),
        3 => Just(json!(["Ingress"])),
        3 => Just(json!(["Egress"])),
        5 => Just(json!(["Ingress", "Egress"])),
        1 => Just(json!(["Sideways"])),
    ];
    let rules = |peers: &'static str| {
        let rule = (option::weighted(0.85, vec(peer(), 1..=3)), option::weighted(0.8, vec(port(), 1..=3)));
        option::weighted(
            0.8,
            vec(rule.prop_map(move |(list, ports)| json!({peers: list, "ports": ports})), 0..=3),
        )
    };
    (select(&NAMESPACES[..]), 0..5, selector(None), types, rules("from"), rules("to")).prop_map(
        |(namespace, number, subject, types, ingress, egress)| {
            object(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"namespace": namespace, "name": format!("q{number}")},
                "spec": {"podSelector": subject, "policyTypes": types, "ingress": ingress, "egress": egress}
            }))
        },
    )
}

fn peer() -> impl Strategy<Value = Value> {
    let namespaces = || selector(Some("kubernetes.io/metadata.name"));
    prop_oneof![
        3 => selector(None).prop_map(|pods| json!({"podSelector": pods})),
        3 => namespaces().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        4 => (namespaces(), selector(None))
            .prop_map(|(namespaces, pods)| json!({"namespaceSelector": namespaces, "podSelector": pods})),
        8 => block().prop_map(|block| json!({"ipBlock": block})),
        1 => Just(json!({})),
        1 => Just(json!({"podSelector": {}, "ipBlock": {"cidr": "0.0.0.0/0"}})),
    ]
}

/// Excepts lie inside their block, as the API server demands; now and then anywhere.
fn block() -> impl Strategy<Value = Value> {
    let anywhere = weighted(0.1);
    (select(&BLOCKS[..]), vec(select(&BLOCKS[..]), 0..=4), anywhere).prop_map(|(cidr, excepts, anywhere)| {
        let inside = |except: &&str| match (cidr.parse::<IpNet>(), except.parse::<IpNet>()) {
            (Ok(cidr), Ok(except)) => cidr.contains(&except) && cidr.trunc() != except.trunc(),
            _ => false,
        };
        let inside = |except: &&str| anywhere || inside(except);
        let excepts: Vec<&str> = excepts.into_iter().filter(inside).collect();
        json!({"cidr": cidr, "except": excepts})
    })
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![
        2 => Just(Value::Null),
        3 => Just(json!("TCP")),
        3 => Just(json!("UDP")),
        2 => Just(json!("SCTP")),
        1 => Just(json!("ICMP")),
    ];
    let number = prop_oneof![
        2 => Just((Value::Null, Value::Null)),
        6 => select(vec![1, 53, 80, 81, 8080, 65535]).prop_map(|port| (json!(port), Value::Null)),
        4 => select(vec![(53, 80), (80, 80), (80, 81), (1, 65535), (54, 8080), (81, 80), (80, 65536), (0, 80)])
            .prop_map(|(first, last)| (json!(first), json!(last))),
        5 => select(vec!["http", "dns", "nobody"]).prop_map(|name| (json!(name), Value::Null)),
        1 => select(vec![json!(0), json!(-80), json!(65536), json!("80"), json!("")]).prop_map(|port| (port, Value::Null)),
        1 => Just((json!("http"), json!(90))),
        1 => Just((Value::Null, json!(90))),
    ];
    (protocol, number)
        .prop_map(|(protocol, (port, end))| json!({"protocol": protocol, "port": port, "endPort": end}))
}
