//! Whom selectors mean.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{NetworkPolicy, NetworkPolicyPeer},
};

use crate::{
    model::Name,
    oracle::{World, has_own_network, is_live, labels_of, name_of, namespace_in, namespace_of, selects},
};

pub(super) fn pod_name(pod: &Pod) -> Name {
    Name::new(namespace_of(pod), name_of(pod))
}

pub(super) fn service_name(service: &Service) -> Name {
    Name::new(namespace_in(&service.metadata), service.metadata.name.as_deref().unwrap_or_default())
}

pub(super) fn policy_name(policy: &NetworkPolicy) -> Name {
    Name::new(namespace_in(&policy.metadata), policy.metadata.name.as_deref().unwrap_or_default())
}

/// Pods that are there and have not ended.
pub(super) fn live_in<'a>(world: &'a World, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
    world.pods.iter().filter(move |pod| namespace_of(pod) == namespace && is_live(pod))
}

/// Whom a Service selects; nobody without a selector.
pub(super) fn backends<'a>(world: &'a World, service: &Service) -> Vec<&'a Pod> {
    let name = service_name(service);
    let selector = selector_of(service);
    if selector.is_empty() {
        return Vec::new();
    }
    let all = world.pods.iter().filter(|pod| namespace_of(pod) == &*name.namespace && is_live(pod));
    all.filter(|pod| {
        let labels = labels_of(pod);
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
    .collect()
}

pub(super) fn selector_of(service: &Service) -> BTreeMap<String, String> {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}

pub(super) fn slices<'a>(world: &'a World, service: &'a Name) -> impl Iterator<Item = &'a EndpointSlice> {
    world.slices.iter().filter(|slice| {
        let label = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"));
        namespace_in(&slice.metadata) == &*service.namespace
            && label.is_some_and(|name| **name == *service.name)
    })
}

/// Whom a policy selects.
pub(super) fn subjects<'a>(world: &'a World, policy: &NetworkPolicy) -> Vec<&'a Pod> {
    let name = policy_name(policy);
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
    let all = world.pods.iter().filter(|pod| namespace_of(pod) == &*name.namespace);
    all.filter(|pod| is_live(pod) && has_own_network(pod))
        .filter(|pod| selects(&selector, &labels_of(pod)).unwrap_or(true))
        .collect()
}

/// The pods that a peer of a policy in `home` means; `None` if it is a block of addresses or has no meaning.
pub(super) fn peers<'a>(world: &'a World, home: &str, peer: &NetworkPolicyPeer) -> Option<Vec<&'a Pod>> {
    if peer.ip_block.is_some() || (peer.pod_selector.is_none() && peer.namespace_selector.is_none()) {
        return None;
    }
    let mut namespaces: BTreeMap<&str, bool> = BTreeMap::new();
    let mut is_meant = |namespace: &'a str| {
        *namespaces.entry(namespace).or_insert_with(|| match &peer.namespace_selector {
            None => namespace == home,
            Some(selector) => selects(selector, &world.namespace_labels(namespace)).unwrap_or(false),
        })
    };
    let all = world.pods.iter().filter(|pod| is_live(pod) && has_own_network(pod));
    let meant = all.filter(|pod| is_meant(namespace_of(pod))).filter(|pod| match &peer.pod_selector {
        None => true,
        Some(selector) => selects(selector, &labels_of(pod)).unwrap_or(false),
    });
    Some(meant.collect())
}
