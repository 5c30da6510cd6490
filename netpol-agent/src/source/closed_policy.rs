//! What stays of a policy that cannot be read: whom it isolates. It allows nothing.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::Deserialize;
use serde_json::Value;

use crate::model::ObjectRef;

/// A policy without rules that isolates what `value` selects, and words for whom that is. What cannot be read counts as
/// widely as it can be meant: a selector that makes no sense selects the whole namespace, directions that make no
/// sense are both.
pub(super) fn closed_policy(value: &Value, object: &ObjectRef) -> (NetworkPolicy, String) {
    let spec = value.get("spec");
    let selector = spec.map_or(Value::Null, |spec| spec["podSelector"].clone());
    let selector = if selector.is_null() { None } else { readable_selector(&selector) };
    let (policy_types, directions) = directions(spec);
    let whom = match &selector {
        Some(_) => format!("the pods that it selects ({directions})"),
        None => format!("all pods of its namespace ({directions})"),
    };
    let mut metadata =
        value.get("metadata").and_then(|m| ObjectMeta::deserialize(m).ok()).unwrap_or_default();
    metadata.name = Some(object.name.clone());
    metadata.namespace = Some(object.namespace.clone());
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector.unwrap_or_default()),
        policy_types: Some(policy_types),
        ingress: None,
        egress: None,
    };
    (NetworkPolicy { metadata, spec: Some(spec) }, whom)
}

/// `None` if it has a wrong type or an unknown field: `{matchLabel: …}` must not be taken for "every pod" by accident,
/// but the result is the same, on purpose.
fn readable_selector(value: &Value) -> Option<LabelSelector> {
    let has_only = |value: &Value, known: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|key| known.contains(&key.as_str())))
    };
    let mut requirements = value["matchExpressions"].as_array().into_iter().flatten();
    let known = has_only(value, &["matchLabels", "matchExpressions"])
        && requirements.all(|requirement| has_only(requirement, &["key", "operator", "values"]));
    known.then(|| LabelSelector::deserialize(value).ok()).flatten()
}

/// The directions as written; by the API's default if nothing is written; both if it cannot be told.
fn directions(spec: Option<&Value>) -> (Vec<String>, &'static str) {
    let both = (vec!["Ingress".to_owned(), "Egress".to_owned()], "ingress and egress");
    let Some(Value::Object(spec)) = spec else { return both };
    let misspelt =
        spec.keys().any(|k| !["podSelector", "ingress", "egress", "policyTypes"].contains(&k.as_str()));
    let types: Option<Vec<&str>> = match spec.get("policyTypes") {
        None | Some(Value::Null) if misspelt => return both,
        None | Some(Value::Null) => {
            let egress = spec.get("egress").is_some_and(|e| !e.is_null());
            Some(if egress { vec!["Ingress", "Egress"] } else { vec!["Ingress"] })
        }
        Some(Value::Array(types)) => types.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    match types.as_deref() {
        Some(["Ingress"]) => (vec!["Ingress".to_owned()], "ingress"),
        Some(["Egress"]) => (vec!["Egress".to_owned()], "egress"),
        _ => both,
    }
}
