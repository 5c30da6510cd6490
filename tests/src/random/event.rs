//! Single changes of a world: what an API server would send one watch event for, or two.

use std::fmt;

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use netpol_agent::oracle::World;
use proptest::{option, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    policy::policy,
    selector::labels,
    service::service,
    world::{NAMESPACES, PODS, object, pod},
};

/// A change. The numbers find an object in whatever world they meet; where there is none, nothing happens.
#[derive(Clone)]
pub(crate) enum Event {
    /// A pod gets other labels.
    PodLabels(Index, Value),
    /// A namespace gets other labels, or its object goes.
    Namespace(usize, Option<Value>),
    /// A policy is made or edited.
    Policy(Box<NetworkPolicy>),
    /// A policy goes.
    PolicyGone(Index),
    /// A pod is made, or one with the same number in its name ends and another takes its name.
    Pod(Box<Pod>),
    /// A pod goes, and one with another name, labels and ports takes its addresses.
    Successor(Index, Box<Pod>),
    /// A pod ends; its object stays.
    Ended(Index),
    /// A pod goes.
    PodGone(Index),
    /// A Service is made or edited, with the slices it has from now on.
    Service(Box<Service>, Vec<EndpointSlice>),
    /// A Service goes, or the first of its slices does.
    ServiceGone(Index, bool),
}

/// Any change.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let which = any::<Index>;
    prop_oneof![
        4 => (which(), labels()).prop_map(|(which, labels)| Event::PodLabels(which, labels)),
        3 => (0..NAMESPACES.len(), option::weighted(0.8, labels()))
            .prop_map(|(number, labels)| Event::Namespace(number, labels)),
        8 => policy().prop_map(|policy| Event::Policy(Box::new(policy))),
        2 => which().prop_map(Event::PolicyGone),
        3 => (0..PODS).prop_flat_map(pod).prop_map(|pod| Event::Pod(Box::new(pod))),
        4 => (which(), (0..PODS).prop_flat_map(pod))
            .prop_map(|(which, pod)| Event::Successor(which, Box::new(pod))),
        1 => which().prop_map(Event::Ended),
        1 => which().prop_map(Event::PodGone),
        3 => (0..3usize).prop_flat_map(service)
            .prop_map(|(service, slices)| Event::Service(Box::new(service), slices)),
        1 => (which(), any::<bool>()).prop_map(|(which, slice)| Event::ServiceGone(which, slice)),
    ]
}

impl Event {
    /// Makes it happen.
    pub(crate) fn happen(&self, world: &mut World) {
        match self {
            Self::PodLabels(which, labels) => {
                if let Some(pod) = chosen(*which, &mut world.pods) {
                    pod.metadata.labels = object(labels.clone());
                }
            }
            Self::Namespace(number, labels) => {
                let name = NAMESPACES[*number];
                world.namespaces.retain(|namespace| namespace.metadata.name.as_deref() != Some(name));
                world.namespaces.extend(labels.as_ref().map(|labels| {
                    object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
                }));
            }
            Self::Policy(policy) => put(&mut world.policies, policy, |policy| &policy.metadata),
            Self::PolicyGone(which) => drop(taken(*which, &mut world.policies)),
            Self::Pod(pod) => {
                // Numbers are parts of addresses: whoever else has this one goes.
                world.pods.retain(|other| number_of(other) != number_of(pod));
                world.pods.push((**pod).clone());
            }
            Self::Successor(which, new) => {
                if let Some(old) = chosen(*which, &mut world.pods) {
                    let name = old.metadata.name.clone().unwrap_or_default();
                    let (kind, number) = name.split_at(1);
                    let name = format!("{}{number}", if kind == "p" { "r" } else { "p" });
                    old.metadata = ObjectMeta { name: Some(name), ..new.metadata.clone() };
                    if let (Some(spec), Some(ports)) = (&mut old.spec, &new.spec) {
                        spec.containers = ports.containers.clone();
                        spec.init_containers = ports.init_containers.clone();
                    }
                }
            }
            Self::Ended(which) => {
                if let Some(status) = chosen(*which, &mut world.pods).and_then(|pod| pod.status.as_mut()) {
                    status.phase = Some("Failed".into());
                }
            }
            Self::PodGone(which) => drop(taken(*which, &mut world.pods)),
            Self::Service(service, slices) => {
                // Its addresses go by its number, so that one in another namespace gives way.
                let name = &service.metadata.name;
                world.slices.retain(|slice| !belongs(slice, name.as_deref()));
                world.services.retain(|other| other.metadata.name != *name);
                world.services.push((**service).clone());
                world.slices.extend(slices.iter().cloned());
            }
            Self::ServiceGone(which, true) => drop(taken(*which, &mut world.slices)),
            Self::ServiceGone(which, false) => {
                if let Some(gone) = taken(*which, &mut world.services) {
                    world.slices.retain(|slice| !belongs(slice, gone.metadata.name.as_deref()));
                }
            }
        }
    }
}

/// `n1/p3` and `n0/r3` have the same.
fn number_of(pod: &Pod) -> Option<&str> {
    pod.metadata.name.as_deref().and_then(|name| name.get(1..))
}

fn belongs(slice: &EndpointSlice, service: Option<&str>) -> bool {
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    label.map(String::as_str) == service
}

fn chosen<T>(which: Index, all: &mut [T]) -> Option<&mut T> {
    if all.is_empty() { None } else { Some(which.get_mut(all)) }
}

fn taken<T>(which: Index, all: &mut Vec<T>) -> Option<T> {
    if all.is_empty() { None } else { Some(all.remove(which.index(all.len()))) }
}

fn put<T: Clone>(all: &mut Vec<T>, new: &T, metadata: impl Fn(&T) -> &ObjectMeta) {
    let name = |object: &T| (metadata(object).namespace.clone(), metadata(object).name.clone());
    all.retain(|old| name(old) != name(new));
    all.push(new.clone());
}

/// As the objects were written.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodLabels(which, labels) => write!(f, "pod {which:?} has labels {labels}"),
            Self::Namespace(number, Some(labels)) => write!(f, "{} has labels {labels}", NAMESPACES[*number]),
            Self::Namespace(number, None) => write!(f, "{} goes", NAMESPACES[*number]),
            Self::Policy(policy) => write!(f, "policy {}", json!(policy)),
            Self::PolicyGone(which) => write!(f, "policy {which:?} goes"),
            Self::Pod(pod) => write!(f, "pod {}", json!(pod)),
            Self::Successor(which, pod) => write!(f, "pod {which:?} is followed by one like {}", json!(pod)),
            Self::Ended(which) => write!(f, "pod {which:?} ends"),
            Self::PodGone(which) => write!(f, "pod {which:?} goes"),
            Self::Service(service, slices) => write!(f, "service {} with {}", json!(service), json!(slices)),
            Self::ServiceGone(which, slice) => write!(f, "service {which:?} goes, only its slice: {slice}"),
        }
    }
}
