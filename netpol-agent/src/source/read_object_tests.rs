use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use serde_json::json;

use super::*;

fn policy(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
           "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
}

fn object(value: Value) -> (ObjectRef, Manifest, Vec<Problem>) {
    match read_object(value, "a.yaml") {
        Read::Object(object, manifest, problems) => (object, *manifest, problems),
        other => panic!("{other:?}"),
    }
}

fn spec(value: Value) -> (NetworkPolicySpec, Vec<String>) {
    let (_, manifest, problems) = object(policy(value));
    let Manifest::NetworkPolicy(policy) = manifest else { panic!("{manifest:?}") };
    (policy.spec.unwrap(), problems.iter().map(ToString::to_string).collect())
}

fn refused(value: Value) -> (Option<ObjectRef>, String) {
    match read_object(value, "a.yaml") {
        Read::Unreadable(object, problem) => (object, problem.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_namespaced_object_without_a_namespace_lives_in_default_and_a_node_in_none() {
    let (name, _, problems) = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}));
    assert_eq!((name.to_string().as_str(), problems.len()), ("Pod default/a", 0));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "namespace": "x"}});
    assert_eq!(object(node).0.to_string(), "Node n");
}

#[test]
fn a_wrong_type_is_reported_with_its_path_and_the_policy_still_isolates() {
    let (spec, problems) = spec(json!({
        "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
        "ingress": [{}, {"ports": [{"port": 80}, {"protocol": "TCP", "port": 80, "endPort": "ninety"}]}],
    }));
    assert_eq!(
        problems,
        [
            "a.yaml: NetworkPolicy shop/web: spec.ingress[1].ports[1].endPort: invalid type: string \"ninety\", expected \
          i32; until this is mended the policy allows nothing and isolates the pods that it selects (ingress)"
        ]
    );
    assert_eq!((spec.ingress, spec.egress), (None, None));
    assert_eq!(spec.policy_types.unwrap(), ["Ingress"]);
    assert_eq!(spec.pod_selector.unwrap().match_labels.unwrap()["app"], "web");
}

#[test]
fn what_cannot_be_read_of_a_policy_counts_as_widely_as_it_can_be_meant() {
    let both = ["Ingress", "Egress"];
    for (given, pods, directions) in [
        (json!({"podSelector": {"matchLabels": "app=web"}}), "all pods", &both[..1]),
        (
            json!({"podSelector": {"matchLabel": {"app": "web"}}, "policyTypes": ["Egress"]}),
            "all pods",
            &both[1..],
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "vals": ["x"]}]}}),
            "all pods",
            &both[..1],
        ),
        (json!({"podSelector": {}, "policyTypes": "Ingress"}), "the pods", &both[..]),
        (json!({"podSelector": {}, "policyType": ["Ingress"]}), "the pods", &both[..]),
        (json!({"podSelector": {}, "egress": [{"to": {}}]}), "the pods", &both[..]),
        (json!("everything"), "all pods", &both[..]),
    ] {
        let (spec, problems) = spec(given.clone());
        assert_eq!(spec.policy_types.as_deref().unwrap(), directions, "{given}");
        assert!(problems[0].contains(&format!("isolates {pods}")), "{problems:?}");
        assert_eq!((spec.ingress, spec.egress), (None, None), "{given}");
    }
}

#[test]
fn a_misspelt_field_in_a_rule_closes_the_policy() {
    let (spec, problems) = spec(json!({"podSelector": {}, "ingress": [{"prots": [{"port": 80}]}]}));
    assert!(problems[0].contains("spec.ingress[0].prots: no such field; until"), "{problems:?}");
    assert_eq!(spec.ingress, None);
}

#[test]
fn an_older_version_of_a_policy_isolates_and_another_groups_is_none_of_ours() {
    let mut old = policy(json!({"podSelector": {}}));
    old["apiVersion"] = "extensions/v1beta1".into();
    let (_, manifest, problems) = object(old.clone());
    assert_eq!(problems[0].field, "apiVersion");
    assert!(matches!(manifest, Manifest::NetworkPolicy(_)));
    old["apiVersion"] = "crd.projectcalico.org/v1".into();
    assert!(matches!(read_object(old, ""), Read::Ignored(meta) if meta.kind == "NetworkPolicy"));
}

#[test]
fn an_object_that_cannot_be_named_or_read_is_refused_with_the_field() {
    assert_eq!(refused(json!([1])).0, None);
    assert!(refused(json!({"kind": "Pod"})).1.starts_with("a.yaml: apiVersion: is missing"));
    let unnamed = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}});
    assert!(
        refused(unnamed)
            .1
            .starts_with("a.yaml: metadata.name: is missing or no text, so this Pod has no name")
    );
    let (object, problem) = refused(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"version": 1}}}));
    assert_eq!(object.unwrap().name, "a");
    assert!(
        problem.starts_with("a.yaml: Pod default/a: metadata.labels.version: invalid type: integer `1`"),
        "{problem}"
    );
}

#[test]
fn an_unknown_field_elsewhere_is_told_and_ignored() {
    let (_, _, problems) = object(json!({"apiVersion": "v1", "kind": "Service", "status": {"x": 1},
        "metadata": {"name": "a"}, "spec": {"selectors": {"a": "b"}, "type": null}}));
    let found: Vec<_> = problems.iter().map(|p| (p.level, p.field.as_str())).collect();
    assert_eq!(found, [(Level::Error, "spec.selectors"), (Level::Note, "status.x")]);
}
