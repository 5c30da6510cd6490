//! Labels that outlive a pod.

use std::collections::BTreeMap;

use crate::model::Labels;

/// Labels that are of one pod, one revision or one run: a selector with them would match nobody tomorrow.
const PASSING: [&str; 13] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
    "controller-uid",
    "job-name",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
];

/// Labels that people tell workloads apart by, the most telling first. Each list is tried as a whole, as far as a pod has it and
/// if it has the first.
const TELLING: [&[&str]; 6] = [
    &["app.kubernetes.io/name"],
    &["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"],
    &["k8s-app"],
    &["app"],
    &["app", "component", "tier", "role"],
    &["run"],
];

/// The labels that the next pod of the workload will have too.
pub(super) fn lasting(labels: &Labels) -> BTreeMap<String, String> {
    labels
        .iter()
        .filter(|(key, _)| !PASSING.contains(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The labels to select a workload by: few and well known ones if they match none of `others` (the lasting labels of other
/// workloads in its namespace), else all that it has.
pub(super) fn telling<'a>(
    own: &BTreeMap<String, String>,
    others: impl Iterator<Item = &'a BTreeMap<String, String>> + Clone,
) -> BTreeMap<String, String> {
    let pick = |keys: &[&str]| -> Option<BTreeMap<String, String>> {
        own.contains_key(keys[0]).then(|| {
            keys.iter()
                .filter_map(|key| own.get_key_value(*key))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        })
    };
    let alone = |chosen: &BTreeMap<String, String>| {
        !others.clone().any(|other| other != own && chosen.iter().all(|(k, v)| other.get(k) == Some(v)))
    };
    TELLING.into_iter().filter_map(pick).find(alone).unwrap_or_else(|| own.clone())
}

/// A name for whoever has the labels, if one of them is there to give it.
pub(super) fn name_in(labels: &BTreeMap<String, String>) -> Option<&str> {
    ["app.kubernetes.io/name", "k8s-app", "app", "run", "name"]
        .iter()
        .find_map(|key| labels.get(*key))
        .map(String::as_str)
}
