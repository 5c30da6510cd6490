use serde_json::{Value, json};

use super::*;
use crate::source::kube::wanted::{NetworkPolicies, Pods};

fn pod(name: &str, version: u64) -> Cut<Pods> {
    versioned(json!({"metadata": {"name": name, "namespace": "shop", "uid": "1"}}), version)
}

fn versioned<W: Wanted>(mut object: Value, version: u64) -> Cut<W> {
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    serde_json::from_value(object).unwrap()
}

fn listed(collection: &mut Collection, pods: &[Cut<Pods>]) -> Vec<String> {
    collection.begin();
    let items: Vec<_> = pods.iter().filter_map(|pod| collection.item(pod.clone())).collect();
    let Listed::Gone(gone) = collection.end::<Pods>(false) else { panic!("doubtful") };
    told(items.into_iter().chain(gone))
}

fn told(events: impl IntoIterator<Item = SourceEvent>) -> Vec<String> {
    let name = |event| match event {
        SourceEvent::Apply { manifest, .. } => format!("+{}", crate::model::reference(&manifest).name),
        SourceEvent::Delete(object) => format!("-{}", object.name),
        other => panic!("{other:?}"),
    };
    let mut names: Vec<_> = events.into_iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_list_tells_what_is_new_and_what_is_gone() {
    let mut pods = Collection::default();
    assert_eq!(listed(&mut pods, &[pod("a", 1), pod("b", 2)]), ["+a", "+b"]);
    assert_eq!(listed(&mut pods, &[pod("a", 1), pod("c", 3)]), ["+c", "-b"]);
    assert_eq!(listed(&mut pods, &[pod("a", 4), pod("c", 3)]), ["+a"]);
}

#[test]
fn an_empty_list_is_doubted_where_something_was_known() {
    let mut pods = Collection::default();
    assert_eq!(listed(&mut pods, &[]), [""; 0]);
    assert_eq!(listed(&mut pods, &[pod("a", 1), pod("b", 2)]), ["+a", "+b"]);
    pods.begin();
    assert_eq!(pods.end::<Pods>(false), Listed::Doubtful(2));
    // Back again, as if nothing had been.
    assert_eq!(listed(&mut pods, &[pod("a", 1), pod("b", 2)]), [""; 0]);
    pods.begin();
    let Listed::Gone(gone) = pods.end::<Pods>(true) else { panic!() };
    assert_eq!(told(gone), ["-a", "-b"]);
}

#[test]
fn what_is_older_than_what_is_known_changes_nothing() {
    let mut pods = Collection::default();
    assert_eq!(told(pods.changed(pod("a", 5))), ["+a"]);
    assert_eq!(pods.changed(pod("a", 4)), None);
    assert_eq!(pods.gone(&pod("a", 4)), None);
    assert_eq!(told(pods.gone(&pod("a", 6))), ["-a"]);
    assert_eq!(pods.gone(&pod("a", 7)), None);
}

#[test]
fn another_object_of_the_same_name_is_told_whatever_its_version() {
    let mut pods = Collection::default();
    assert_eq!(told(pods.changed(pod("a", 5))), ["+a"]);
    let other = versioned::<Pods>(json!({"metadata": {"name": "a", "namespace": "shop", "uid": "2"}}), 3);
    assert_eq!(told(pods.changed(other)), ["+a"]);
}

#[test]
fn a_server_that_was_set_back_is_believed_in_its_list() {
    let mut pods = Collection::default();
    assert_eq!(listed(&mut pods, &[pod("a", 5)]), ["+a"]);
    assert_eq!(listed(&mut pods, &[pod("a", 2)]), ["+a"]);
    assert_eq!(told(pods.changed(pod("a", 3))), ["+a"]);
}

#[test]
fn an_object_that_cannot_be_read_is_a_problem_until_it_is_mended_or_gone() {
    let mut pods = Collection::default();
    let broken = |version| {
        let object = json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {"nodeName": 7}});
        versioned::<Pods>(object, version)
    };
    assert_eq!(pods.changed(broken(1)), None);
    let problems: Vec<_> = pods.problems().map(ToString::to_string).collect();
    assert!(problems.len() == 1 && problems[0].contains("spec.nodeName"), "{problems:?}");
    assert_eq!(told(pods.changed(pod("a", 2))), ["+a"]);
    assert_eq!(pods.problems().count(), 0);
    assert_eq!(pods.changed(broken(3)), None);
    assert_eq!(told(pods.gone(&pod("a", 4))), ["-a"]);
    assert_eq!(pods.problems().count(), 0);
}

#[test]
fn a_policy_with_a_field_that_is_not_known_isolates() {
    let mut policies = Collection::default();
    let object = json!({"metadata": {"name": "p", "namespace": "shop"},
        "spec": {"podSelector": {}, "ingress": [{"from": [], "portz": []}]}});
    assert_eq!(told(policies.changed(versioned::<NetworkPolicies>(object, 1))), ["+p"]);
    let problems: Vec<_> = policies.problems().map(ToString::to_string).collect();
    assert!(problems[0].contains("spec.ingress[0].portz: no such field"), "{problems:?}");
}
