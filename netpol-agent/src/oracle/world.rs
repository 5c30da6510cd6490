use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use netpol_common::direction::Direction;

use super::judgement::ObjectName;
use crate::model::Manifest;

/// The label that the API server gives every namespace: its name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Everything that is known of the cluster, as plain lists in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// `v1 Namespace`
    pub namespaces: Vec<Namespace>,
    /// `v1 Node`
    pub nodes: Vec<Node>,
    /// `v1 Pod`
    pub pods: Vec<Pod>,
    /// `networking.k8s.io/v1 NetworkPolicy`
    pub policies: Vec<NetworkPolicy>,
    /// `v1 Service`
    pub services: Vec<Service>,
    /// `discovery.k8s.io/v1 EndpointSlice`
    pub slices: Vec<EndpointSlice>,
    /// Whether policies that do not say otherwise, and whose namespace does not, are in audit mode.
    pub audit: bool,
    /// Policies that were deleted with their namespace, which still has pods. Who fills the world says which; they
    /// select pods of the namespace that is being deleted, not those of a new one with its name.
    pub kept: Vec<NetworkPolicy>,
    /// Pods that stay closed in a direction because a policy isolated them that nobody remembers.
    pub closed: Vec<(ObjectName, Direction)>,
}

impl FromIterator<Manifest> for World {
    fn from_iter<I: IntoIterator<Item = Manifest>>(manifests: I) -> Self {
        let mut world = Self::default();
        for manifest in manifests {
            match manifest {
                Manifest::Namespace(o) => world.namespaces.push(*o),
                Manifest::Node(o) => world.nodes.push(*o),
                Manifest::Pod(o) => world.pods.push(*o),
                Manifest::Service(o) => world.services.push(*o),
                Manifest::NetworkPolicy(o) => world.policies.push(*o),
                Manifest::EndpointSlice(o) => world.slices.push(*o),
                // What is no Service's address is no question of policy.
                Manifest::ServiceCidr(_) => {}
            }
        }
        world
    }
}

impl World {
    /// The pod of that name, whatever its phase.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| namespace_of(pod) == namespace && name_of(pod) == name)
    }

    /// The pod that has the address for itself: running, and not in its node's network.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        self.pods
            .iter()
            .find(|pod| has_own_network(pod) && is_live(pod) && addresses_of(pod).contains(&address))
    }

    /// The labels that selectors see: the API server adds the name to every namespace, whether the object says so or not.
    pub(crate) fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        let object = self.namespaces.iter().find(|ns| ns.metadata.name.as_deref() == Some(name));
        let mut labels = object.and_then(|ns| ns.metadata.labels.clone()).unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.into(), name.into());
        labels
    }

    /// Whether a policy is in audit mode: its own annotation says, else its namespace's, else the node. A word that is neither
    /// `audit` nor `enforce` enforces.
    pub(super) fn is_tried(&self, policy: &NetworkPolicy) -> bool {
        let said = |meta: &ObjectMeta| Some(meta.annotations.as_ref()?.get("netpol.dev/mode")? == "audit");
        let home = namespace_in(&policy.metadata);
        let home = self.namespaces.iter().find(|ns| ns.metadata.name.as_deref() == Some(home));
        said(&policy.metadata).or_else(|| said(&home?.metadata)).unwrap_or(self.audit)
    }

    /// Whether the pod was made in a namespace that is being deleted, or is no more.
    pub(super) fn is_left_behind(&self, pod: &Pod) -> bool {
        let home = namespace_of(pod);
        match self.namespaces.iter().find(|ns| ns.metadata.name.as_deref() == Some(home)) {
            None => true,
            Some(ns) => {
                let phase = ns.status.as_ref().and_then(|status| status.phase.as_deref());
                let made = (&pod.metadata.creation_timestamp, &ns.metadata.creation_timestamp);
                ns.metadata.deletion_timestamp.is_some()
                    || phase == Some("Terminating")
                    || matches!(made, (Some(pod), Some(ns)) if pod.0.as_second() < ns.0.as_second())
            }
        }
    }

    /// The zone that a node's label names.
    pub(super) fn zone_of(&self, name: &str) -> Option<&str> {
        let node = self.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name))?;
        node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").map(String::as_str)
    }

    /// Addresses of `status.addresses`.
    pub(super) fn node_addresses(&self, name: &str) -> Vec<IpAddr> {
        let node = self.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name));
        let listed = node.and_then(|n| n.status.as_ref()).and_then(|s| s.addresses.as_ref());
        listed.into_iter().flatten().filter_map(|a| a.address.parse().ok()).collect()
    }
}

/// An object without a namespace lives in `default`, as after `kubectl apply`.
pub(crate) fn namespace_in(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

pub(crate) fn namespace_of(pod: &Pod) -> &str {
    namespace_in(&pod.metadata)
}

pub(crate) fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

pub(crate) fn labels_of(pod: &Pod) -> BTreeMap<String, String> {
    pod.metadata.labels.clone().unwrap_or_default()
}

/// A host-network pod is its node: it has no network of its own.
pub(crate) fn has_own_network(pod: &Pod) -> bool {
    !pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// A pod that has ended keeps its object for a while, but its address may be another's by now.
pub(crate) fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// `status.podIPs`, and `status.podIP` where it is not among them.
pub(crate) fn addresses_of(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|entry| &entry.ip).chain(&status.pod_ip);
    let mut found: Vec<IpAddr> = Vec::new();
    for address in all.filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}
