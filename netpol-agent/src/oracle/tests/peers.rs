use serde_json::json;

use super::{into_db, reaches_db};

const FROM: [&str; 4] = ["shop/web", "ops/tool", "8.8.8.8", "node:n2"];

#[test]
fn selectors_alone_and_together() {
    let web = json!({"matchLabels": {"app": "web"}});
    let tool = json!({"matchLabels": {"app": "tool"}});
    let ops = json!({"matchLabels": {"team": "ops"}});
    for (peers, expected) in [
        (json!([{"podSelector": {}}]), [true, false, false, false]),
        (json!([{"podSelector": tool}]), [false, false, false, false]),
        (json!([{"namespaceSelector": {}}]), [true, true, false, false]),
        (json!([{"namespaceSelector": ops}]), [false, true, false, false]),
        (json!([{"namespaceSelector": ops, "podSelector": {}}]), [false, true, false, false]),
        (json!([{"namespaceSelector": ops, "podSelector": web}]), [false, false, false, false]),
        (json!([{"namespaceSelector": ops}, {"podSelector": web}]), [true, true, false, false]),
        (json!([{"namespaceSelector": {}, "podSelector": tool}]), [false, true, false, false]),
        (
            json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}}]),
            [false, true, false, false],
        ),
        (json!([{}]), [false, false, false, false]),
        (json!([{"podSelector": {}, "ipBlock": {"cidr": "0.0.0.0/0"}}]), [false, false, false, false]),
    ] {
        let world = into_db(json!([{"from": peers}]));
        assert_eq!(FROM.map(|from| reaches_db(&world, from)), expected, "{peers}");
    }
}

#[test]
fn a_namespace_without_an_object_still_has_its_name() {
    let mut world = into_db(json!([{"from": [{"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ops"]}]}}]}]));
    world.namespaces.clear();
    assert_eq!(FROM.map(|from| reaches_db(&world, from)), [false, true, false, false]);
}

#[test]
fn operators_and_absent_keys() {
    // web has tier=front, tool has no tier.
    for (operator, values, expected) in [
        ("In", Some(vec!["front"]), [true, false]),
        ("In", Some(vec!["back"]), [false, false]),
        ("NotIn", Some(vec!["front"]), [false, true]),
        ("NotIn", Some(vec!["back"]), [true, true]),
        ("Exists", None, [true, false]),
        ("DoesNotExist", None, [false, true]),
        ("In", None, [false, false]),
        ("NotIn", Some(vec![]), [false, false]),
        ("Exists", Some(vec!["front"]), [false, false]),
        ("DoesNotExist", Some(vec!["x"]), [false, false]),
        ("Gt", Some(vec!["1"]), [false, false]),
        ("", None, [false, false]),
    ] {
        let expression = json!({"key": "tier", "operator": operator, "values": values});
        let selector = json!({"matchExpressions": [expression]});
        let world = into_db(json!([{"from": [{"namespaceSelector": {}, "podSelector": selector}]}]));
        assert_eq!(["shop/web", "ops/tool"].map(|from| reaches_db(&world, from)), expected, "{expression}");
    }
}

#[test]
fn every_requirement_counts() {
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "Exists"}, {"key": "tier", "operator": "NotIn", "values": ["front"]}]});
    let world = into_db(json!([{"from": [{"podSelector": selector}]}]));
    assert!(!reaches_db(&world, "shop/web"));
}

#[test]
fn an_ended_pod_is_nobody() {
    // web has the address that done had.
    let world = into_db(json!([{"from": [{"podSelector": {"matchLabels": {"app": "done"}}}]}]));
    assert!(!reaches_db(&world, "10.0.1.2"));
    let world = into_db(json!([{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]));
    assert!(reaches_db(&world, "10.0.1.2"), "an address is the pod that has it now");
}

#[test]
fn a_host_network_pod_is_no_pod_to_selectors() {
    let world = into_db(json!([{"from": [{"namespaceSelector": {}}]}]));
    assert!(!reaches_db(&world, "ops/agent"));
    let world = into_db(json!([{"from": [{"ipBlock": {"cidr": "192.168.0.2/32"}}]}]));
    assert!(reaches_db(&world, "ops/agent") && reaches_db(&world, "node:n2"));
}
