use netpol_common::net::proto;
use serde_json::json;

use super::{ask, into_db, out_of_db, reaches_db};

#[test]
fn a_block_matches_addresses_of_its_family() {
    for (cidr, except, from, expected) in [
        ("10.0.0.0/8", json!([]), "10.0.2.1", true),
        ("10.0.0.0/8", json!([]), "11.0.0.1", false),
        ("10.0.0.0/8", json!(["10.0.2.0/24"]), "10.0.2.1", false),
        ("10.0.0.0/8", json!(["10.0.2.0/24"]), "10.0.3.1", true),
        ("10.0.0.0/8", json!(["10.0.3.0/24", "10.0.2.1/32"]), "10.0.2.1", false),
        ("10.0.2.99/24", json!([]), "10.0.2.1", true),
        ("10.0.0.0/8", json!(["10.0.2.99/24"]), "10.0.2.1", false),
        ("10.0.2.1/32", json!([]), "ops/tool", true),
        ("0.0.0.0/0", json!([]), "8.8.8.8", true),
        ("0.0.0.0/0", json!([]), "2001:db8::1", false),
        ("::/0", json!([]), "8.8.8.8", false),
        ("::/0", json!([]), "2001:db8::1", true),
        ("::/0", json!(["2001:db8::/32"]), "2001:db8::1", false),
        ("::ffff:0:0/96", json!([]), "8.8.8.8", false),
        ("::ffff:8.8.8.8/128", json!([]), "8.8.8.8", false),
        ("8.8.8.8", json!([]), "8.8.8.8", false),
        ("8.8.8.8/33", json!([]), "8.8.8.8", false),
        ("0.0.0.0/0", json!(["nonsense"]), "8.8.8.8", false),
        ("0.0.0.0/0", json!(["2001:db8::/32"]), "8.8.8.8", false),
        ("10.0.2.0/24", json!(["10.0.0.0/8"]), "10.0.2.1", false),
        ("10.0.2.0/24", json!(["11.0.0.0/8"]), "10.0.2.1", true),
        ("192.168.0.0/24", json!([]), "node:n2", true),
    ] {
        let world = into_db(json!([{"from": [{"ipBlock": {"cidr": cidr, "except": except}}]}]));
        assert_eq!(reaches_db(&world, from), expected, "{cidr} except {except} from {from}");
    }
}

#[test]
fn an_except_takes_away_from_its_own_block_only() {
    let world = into_db(json!([
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.2.0/24"]}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "10.0.2.1/32"}}], "ports": [{"port": 443}]},
        {"from": [{"namespaceSelector": {}}], "ports": [{"port": 22}]}
    ]));
    for (port, expected) in [(80, false), (443, true), (22, true)] {
        let judgement = ask(&world, "ops/tool", "shop/db", proto::TCP, port);
        assert_eq!(judgement.ingress.allows(), expected, "{port}");
    }
}

#[test]
fn blocks_that_overlap_add_their_ports() {
    let world = into_db(json!([
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/16"}}], "ports": [{"port": 443}]}
    ]));
    for (port, expected) in [(80, true), (443, true), (22, false)] {
        assert_eq!(ask(&world, "10.0.9.9", "shop/db", proto::TCP, port).ingress.allows(), expected, "{port}");
    }
}

#[test]
fn egress_to_blocks_pods_and_nodes() {
    let world =
        out_of_db(json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.168.0.1/32"]}}]}]));
    for (to, expected) in [("8.8.8.8", true), ("ops/tool", true), ("node:n1", false), ("node:n2", true)] {
        assert_eq!(ask(&world, "shop/db", to, proto::TCP, 80).egress.allows(), expected, "{to}");
    }
}
