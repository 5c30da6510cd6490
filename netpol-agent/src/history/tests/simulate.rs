use netpol_common::net::proto::{TCP, UDP};

use super::*;
use crate::{
    history::{Outcome, PolicyChange, UnknownPolicy, simulate},
    model::{Manifest, Name},
    oracle::Verdict as Says,
};

const CLOSED: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]}";

fn policies(yaml: &str) -> Vec<k8s_openapi::api::networking::v1::NetworkPolicy> {
    let policy = |manifest| if let Manifest::NetworkPolicy(policy) = manifest { Some(*policy) } else { None };
    manifests(yaml).into_iter().filter_map(policy).collect()
}

#[test]
fn a_new_policy_denies_what_it_does_not_allow_and_says_by_which_rule() {
    let all = [seen(web(), db(), TCP, 5432), seen(web(), dns(), UDP, 53)];
    let change = PolicyChange { apply: policies(CLOSED), delete: Vec::new() };
    let simulation = simulate(&world(""), &all, &change).unwrap();
    assert_eq!((simulation.judged, simulation.changed.len()), (2, 1));
    let changed = &simulation.changed[0];
    assert_eq!((&changed.seen, changed.before, changed.after), (&all[0], Outcome::Allowed, Outcome::Denied));
    let Says::Denied { isolated_by, misses } = &changed.judgement.ingress else { panic!("{changed:?}") };
    assert_eq!(isolated_by[0].to_string(), "shop/db");
    assert!(misses[0].to_string().contains("podSelector does not match"), "{}", misses[0]);
}

#[test]
fn a_policy_that_is_replaced_or_deleted_has_no_say() {
    let world = world(CLOSED);
    let all = [Observation { verdict: Verdict::Dropped, ..seen(web(), db(), TCP, 5432) }];
    let open = CLOSED.replace("app: api", "app: web");
    for change in [
        PolicyChange { apply: policies(&open), delete: Vec::new() },
        PolicyChange { apply: Vec::new(), delete: vec![Name::new("shop", "db")] },
    ] {
        let simulation = simulate(&world, &all, &change).unwrap();
        let changed = &simulation.changed[0];
        assert_eq!((changed.before, changed.after), (Outcome::Denied, Outcome::Allowed));
    }
    let unknown = Name::new("shop", "web");
    let change = PolicyChange { apply: Vec::new(), delete: vec![unknown.clone()] };
    assert_eq!(simulate(&world, &all, &change), Err(UnknownPolicy(unknown)));
}

#[test]
fn a_policy_in_audit_mode_denies_nothing_and_what_it_would_is_told() {
    let audit = CLOSED.replace("name: db,", "name: db, annotations: {netpol.dev/mode: audit},");
    let change = PolicyChange { apply: policies(&audit), delete: Vec::new() };
    let simulation = simulate(&world(""), &[seen(web(), db(), TCP, 5432)], &change).unwrap();
    assert_eq!(simulation.changed[0].after, Outcome::Audited);
}

#[test]
fn labels_are_those_that_the_pod_had_and_ports_those_of_a_pod_like_it() {
    let old =
        pod("shop/web-old-1", "10.244.1.99", json!({"app": "web", "pod-template-hash": "old"}), ["", ""]);
    let policy = |spec: &str| {
        let head =
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}";
        policies(&format!("{head}\nspec: {spec}"))
    };
    let after = |spec: &str| {
        let change = PolicyChange { apply: policy(spec), delete: Vec::new() };
        let all = [seen(outside("203.0.113.7"), old.clone(), TCP, 8080)];
        simulate(&world(""), &all, &change).unwrap().changed.first().map(|changed| changed.after)
    };
    assert_eq!(after("{podSelector: {matchLabels: {pod-template-hash: old}}}"), Some(Outcome::Denied));
    assert_eq!(after("{podSelector: {matchLabels: {pod-template-hash: 7d4b9}}}"), None);
    assert_eq!(after("{podSelector: {}, ingress: [{ports: [{port: http}]}]}"), None);
    assert_eq!(after("{podSelector: {}, ingress: [{ports: [{port: https}]}]}"), Some(Outcome::Denied));
}

#[test]
fn a_pods_own_node_always_reaches_it_and_another_does_not() {
    let change = PolicyChange { apply: policies(CLOSED), delete: Vec::new() };
    let from = |name: &str| {
        let all = [seen(node(name, "192.0.2.1"), db(), TCP, 5432)];
        simulate(&world(""), &all, &change).unwrap().changed.len()
    };
    assert_eq!((from("n1"), from("n2")), (0, 1));
}
