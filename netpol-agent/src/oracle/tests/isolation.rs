use netpol_common::{direction::Direction, net::proto};
use serde_json::{Value, json};

use super::{
    super::{ObjectName, Verdict, World},
    ask, into_db, isolated, object, policy, reaches_db, with, world,
};

/// Which directions a policy with this spec isolates `db` for: (ingress, egress).
fn directions(spec: Value) -> (bool, bool) {
    let world = with(spec);
    let out = ask(&world, "shop/db", "ops/tool", proto::TCP, 80).egress;
    let into = ask(&world, "ops/tool", "shop/db", proto::TCP, 80).ingress;
    (isolated(&into), isolated(&out))
}

#[test]
fn policy_types_and_their_defaults() {
    let all = json!({});
    let rule = json!([{}]);
    for (spec, expected) in [
        (json!({"podSelector": all, "policyTypes": ["Egress"]}), (false, true)),
        (json!({"podSelector": all, "policyTypes": ["Ingress"]}), (true, false)),
        (json!({"podSelector": all, "policyTypes": ["Ingress"], "egress": rule}), (true, false)),
        (json!({"podSelector": all}), (true, false)),
        (json!({"podSelector": all, "egress": []}), (true, false)),
        (json!({"podSelector": all, "egress": rule}), (true, true)),
        (json!({"podSelector": all, "policyTypes": [], "egress": rule}), (true, true)),
        (json!({}), (true, false)),
        (json!({"podSelector": {"matchLabels": {"app": "web"}}}), (false, false)),
        (json!({"podSelector": all, "policyTypes": ["Sideways"]}), (true, true)),
        (json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}}), (true, false)),
        (json!({"podSelector": {"matchExpressions": [{"operator": "In", "values": ["db"]}]}}), (true, false)),
        (json!({"podSelector": {"matchLabels": {"": "db"}}}), (true, false)),
    ] {
        assert_eq!(directions(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn no_rules_and_one_empty_rule() {
    for (rules, expected) in [
        (json!(null), false),
        (json!([]), false),
        (json!([{}]), true),
        (json!([{"from": [], "ports": []}]), true),
        (json!([{"from": null}]), true),
    ] {
        let world = into_db(rules.clone());
        for from in ["shop/web", "ops/tool", "8.8.8.8", "node:n2"] {
            assert_eq!(reaches_db(&world, from), expected, "{rules} from {from}");
        }
    }
}

#[test]
fn policies_add_up() {
    let mut world = into_db(json!([]));
    assert!(!reaches_db(&world, "shop/web"));
    world.policies.push(super::named_policy("q", json!({"podSelector": {}, "ingress": [{}]})));
    assert!(reaches_db(&world, "shop/web"));
}

#[test]
fn a_policy_of_another_namespace_selects_nobody_here() {
    let mut world = with(json!({"podSelector": {}}));
    world.policies[0].metadata.namespace = Some("ops".into());
    assert!(reaches_db(&world, "shop/web"));
}

#[test]
fn both_ends_must_agree() {
    let deny_all = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let world = with(deny_all);
    let inside = ask(&world, "shop/web", "shop/db", proto::TCP, 80);
    assert!(!inside.egress.allows() && !inside.ingress.allows());
    let into = ask(&world, "ops/tool", "shop/db", proto::TCP, 80);
    assert!(into.egress.allows() && !into.ingress.allows() && !into.allowed());
}

#[test]
fn the_own_node_by_origin_and_a_pod_to_itself_always_pass() {
    let world = with(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    for (from, to, expected) in [
        ("node:n1", "shop/db", Verdict::OwnNode),
        ("shop/db", "shop/db", Verdict::Itself),
        ("10.0.1.1", "shop/db", Verdict::Itself),
    ] {
        assert_eq!(ask(&world, from, to, proto::TCP, 80).ingress, expected, "{from} → {to}");
    }
    for (from, to) in [("node:n2", "shop/db"), ("192.168.0.1", "shop/db"), ("ops/agent", "shop/db")] {
        assert!(!ask(&world, from, to, proto::TCP, 80).allowed(), "{from} → {to}");
    }
    assert!(!ask(&world, "shop/db", "node:n1", proto::TCP, 10250).allowed(), "a pod to its node");
}

#[test]
fn a_host_network_pod_is_its_node() {
    let mut world = with(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    let mut for_ops = world.policies[0].clone();
    for_ops.metadata.namespace = Some("ops".into());
    world.policies.push(for_ops);
    let judgement = ask(&world, "ops/agent", "ops/tool", proto::TCP, 80);
    assert_eq!((judgement.egress, judgement.ingress), (Verdict::NotAPod, Verdict::OwnNode));
}

#[test]
fn protocols_without_ports_pass_only_rules_without_ports() {
    for (rule, expected) in [
        (json!({}), true),
        (json!({"from": [{"namespaceSelector": {}}]}), true),
        (json!({"ports": [{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}]}), false),
    ] {
        let world = into_db(json!([rule]));
        for protocol in [proto::ICMP, proto::ICMPV6, 47] {
            let seen = ask(&world, "ops/tool", "shop/db", protocol, 0).ingress.allows();
            assert_eq!(seen, expected, "{rule}, protocol {protocol}");
        }
    }
}

#[test]
fn who_is_not_there_cannot_be_asked_about() {
    use super::super::{Family, Question, Unanswerable, judge};
    let mut world = world();
    world.pods[2].status.as_mut().expect("a status").pod_ips = None;
    let ask = |from: &str, family| {
        let question = Question {
            from: super::party(from),
            to: super::party("shop/db"),
            family,
            protocol: proto::TCP,
            port: 80,
        };
        judge(&world, &question)
    };
    assert!(matches!(ask("shop/nobody", Family::V4), Err(Unanswerable::NoPod(_))));
    assert!(matches!(ask("shop/done", Family::V4), Err(Unanswerable::Ended(_))));
    assert!(matches!(ask("shop/web", Family::V6), Err(Unanswerable::NoAddress { .. })));
    assert!(matches!(ask("node:n3", Family::V4), Err(Unanswerable::NoAddress { .. })));
    assert!(ask("shop/web", Family::V4).is_ok(), "status.podIP alone is enough");
}

#[test]
fn a_kept_policy_isolates_the_pods_of_its_own_namespace_only() {
    let db = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]});
    let with_namespace = |more: Value| {
        let mut world = World { kept: vec![policy(db.clone())], ..world() };
        world.pods[1].metadata = object(json!({"namespace": "shop", "name": "db", "labels": {"app": "db"},
            "creationTimestamp": "2026-01-02T00:00:00Z"}));
        world.namespaces[0] = object(more);
        world
    };
    for (namespace, reaches) in [
        (json!({"metadata": {"name": "shop"}}), true),
        (json!({"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}}), false),
        (json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-03-01T00:00:00Z"}}), false),
        (json!({"metadata": {"name": "shop", "creationTimestamp": "2026-03-01T00:00:00Z"}}), false),
        (json!({"metadata": {"name": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}}), true),
        (json!({"metadata": {"name": "another"}}), false),
    ] {
        assert_eq!(reaches_db(&with_namespace(namespace.clone()), "ops/tool"), reaches, "{namespace}");
    }
}

#[test]
fn a_pod_can_be_closed_by_what_nobody_remembers() {
    let name = ObjectName { namespace: "shop".into(), name: "db".into() };
    let world = World { closed: vec![(name, Direction::Ingress)], ..world() };
    assert!(!reaches_db(&world, "ops/tool"));
    assert!(ask(&world, "shop/db", "ops/tool", proto::TCP, 80).egress.allows());
}
