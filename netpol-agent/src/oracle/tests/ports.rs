use netpol_common::net::proto;
use serde_json::{Value, json};

use super::{ask, into_db, out_of_db};

fn allows(entry: &Value, protocol: u8, port: u16) -> bool {
    let world = into_db(json!([{"ports": [entry]}]));
    ask(&world, "shop/web", "shop/db", protocol, port).ingress.allows()
}

#[test]
fn numbers_ranges_and_protocols() {
    use proto::{SCTP, TCP, UDP};
    for (entry, protocol, port, expected) in [
        (json!({}), TCP, 80, true),
        (json!({}), UDP, 80, false),
        (json!({"protocol": "UDP"}), UDP, 65535, true),
        (json!({"protocol": "UDP"}), TCP, 80, false),
        (json!({"port": 80}), TCP, 80, true),
        (json!({"port": 80}), TCP, 81, false),
        (json!({"port": 80}), UDP, 80, false),
        (json!({"port": 80, "protocol": "SCTP"}), SCTP, 80, true),
        (json!({"port": 80, "endPort": 90}), TCP, 79, false),
        (json!({"port": 80, "endPort": 90}), TCP, 80, true),
        (json!({"port": 80, "endPort": 90}), TCP, 90, true),
        (json!({"port": 80, "endPort": 90}), TCP, 91, false),
        (json!({"port": 80, "endPort": 80}), TCP, 80, true),
        (json!({"port": 1, "endPort": 65535}), TCP, 65535, true),
        // Without a meaning, so nothing.
        (json!({"port": 80, "endPort": 79}), TCP, 80, false),
        (json!({"endPort": 90}), TCP, 80, false),
        (json!({"port": "http", "endPort": 9000}), TCP, 8080, false),
        (json!({"port": 80, "endPort": 65536}), TCP, 80, false),
        (json!({"port": 0}), TCP, 0, false),
        (json!({"port": 65616}), TCP, 80, false),
        (json!({"port": -1}), TCP, 65535, false),
        (json!({"protocol": "ICMP"}), proto::ICMP, 0, false),
        (json!({"protocol": "tcp"}), TCP, 80, false),
        (json!({"protocol": ""}), TCP, 80, false),
    ] {
        assert_eq!(allows(&entry, protocol, port), expected, "{entry}: {protocol} {port}");
    }
}

#[test]
fn names_are_the_destination_s_own_ports_by_name_and_protocol() {
    use proto::{TCP, UDP};
    for (entry, protocol, port, expected) in [
        (json!({"port": "http"}), TCP, 8080, true),
        (json!({"port": "http"}), TCP, 80, false),
        (json!({"port": "http", "protocol": "UDP"}), UDP, 8080, false),
        (json!({"port": "dns", "protocol": "UDP"}), UDP, 53, true),
        (json!({"port": "dns"}), TCP, 53, false),
        (json!({"port": "nobody"}), TCP, 8080, false),
    ] {
        assert_eq!(allows(&entry, protocol, port), expected, "{entry}: {protocol} {port}");
    }
}

#[test]
fn names_in_egress_are_resolved_on_each_destination() {
    let mut world = out_of_db(json!([{"ports": [{"port": "http"}]}]));
    let tool = world.pods.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some("tool")).expect("tool");
    let spec = tool.spec.as_mut().expect("a spec");
    spec.containers[0].ports.as_mut().expect("ports")[0].container_port = 9090;
    for (to, port, expected) in [
        ("shop/web", 8080, true),
        ("shop/web", 9090, false),
        ("ops/tool", 9090, true),
        ("ops/tool", 8080, false),
        ("8.8.8.8", 8080, false),
        ("node:n2", 8080, false),
        ("ops/agent", 8080, false),
    ] {
        let judgement = ask(&world, "shop/db", to, proto::TCP, port);
        assert_eq!(judgement.egress.allows(), expected, "{to}:{port}");
    }
}

#[test]
fn a_name_that_two_containers_share_is_both_their_ports() {
    let mut world = into_db(json!([{"ports": [{"port": "http"}]}]));
    let db = world.pods.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some("db")).expect("db");
    db.spec.as_mut().expect("a spec").containers.push(super::object(json!({
        "name": "second", "ports": [{"name": "http", "containerPort": 8081}]
    })));
    for (port, expected) in [(8080, true), (8081, true), (8082, false)] {
        assert_eq!(ask(&world, "shop/web", "shop/db", proto::TCP, port).allowed(), expected, "{port}");
    }
}

#[test]
fn names_in_ingress_work_for_blocks() {
    let world = into_db(json!([{"from": [{"ipBlock": {"cidr": "8.0.0.0/8"}}], "ports": [{"port": "http"}]}]));
    assert!(ask(&world, "8.8.8.8", "shop/db", proto::TCP, 8080).allowed());
    assert!(!ask(&world, "8.8.8.8", "shop/db", proto::TCP, 80).allowed());
}

#[test]
fn sidecars_count_and_other_init_containers_do_not() {
    for (restart, expected) in [(Some("Always"), true), (None, false)] {
        let mut world = into_db(json!([{"ports": [{"port": "mesh"}]}]));
        let db = world.pods.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some("db")).expect("db");
        db.spec.as_mut().expect("a spec").init_containers = Some(vec![super::object(json!({
            "name": "side", "restartPolicy": restart, "ports": [{"name": "mesh", "containerPort": 15001}]
        }))]);
        assert_eq!(ask(&world, "shop/web", "shop/db", proto::TCP, 15001).allowed(), expected, "{restart:?}");
    }
}

#[test]
fn peers_and_ports_of_one_rule_belong_together() {
    let web = json!([{"podSelector": {"matchLabels": {"app": "web"}}}]);
    let world = into_db(json!([
        {"from": web, "ports": [{"port": 80}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "ops"}}}], "ports": [{"port": 443}, {"port": 22}]}
    ]));
    for (from, port, expected) in [
        ("shop/web", 80, true),
        ("shop/web", 443, false),
        ("ops/tool", 80, false),
        ("ops/tool", 443, true),
        ("ops/tool", 22, true),
    ] {
        assert_eq!(ask(&world, from, "shop/db", proto::TCP, port).allowed(), expected, "{from} {port}");
    }
}
