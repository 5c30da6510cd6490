//! Selectors, peers and ports, as people say them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

/// Names in a list are written out up to this many.
const MAX_NAMES: usize = 5;

pub(super) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// As `kubectl get -l` takes it.
pub(super) fn selector(selector: &LabelSelector) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}")));
    for requirement in selector.match_expressions.iter().flatten() {
        let key = &requirement.key;
        let values = requirement.values.clone().unwrap_or_default().join(",");
        parts.push(match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            other => format!("{key} {other} ({values})"),
        });
    }
    parts.join(",")
}

pub(super) fn peer(peer: &NetworkPolicyPeer) -> String {
    if let Some(block) = &peer.ip_block {
        let except = block.except.clone().unwrap_or_default();
        let except = if except.is_empty() { String::new() } else { format!(" except {}", except.join(", ")) };
        return format!("{}{except}", block.cidr);
    }
    let pods = match peer.pod_selector.as_ref().map(selector).filter(|text| !text.is_empty()) {
        Some(labels) => format!("pods with {labels}"),
        None => "all pods".to_owned(),
    };
    let namespaces = match peer.namespace_selector.as_ref().map(selector) {
        None => "of its namespace".to_owned(),
        Some(labels) if labels.is_empty() => "of all namespaces".to_owned(),
        Some(labels) => format!("of namespaces with {labels}"),
    };
    format!("{pods} {namespaces}")
}

pub(super) fn port(port: &NetworkPolicyPort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match (&port.port, port.end_port) {
        (None, _) => format!("every port of {protocol}"),
        (Some(IntOrString::Int(first)), Some(last)) => format!("{protocol} {first}-{last}"),
        (Some(IntOrString::Int(number)), None) => format!("{protocol} {number}"),
        (Some(IntOrString::String(name)), _) => format!("{protocol} port named {name:?}"),
    }
}

/// Peers or ports of a rule; `every` where the rule is for all.
pub(super) fn any_of(all: impl Iterator<Item = String>, every: &str) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { every.to_owned() } else { all.join(" or ") }
}

/// `1 pod`, `2 pods`
pub(super) fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// `a, b and 7 more`
pub(super) fn names(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(MAX_NAMES);
    let shown = all.take(MAX_NAMES).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
