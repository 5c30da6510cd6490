//! Everything that is known of the cluster and of this node's interfaces, found by what refers to it.
//!
//! Synchronous, one writer, no clock: what it holds depends on the objects alone, not on their order. It remembers one
//! thing that has gone: the policies of namespaces that are being deleted.

mod by_name;
mod dirty;
mod ending;
mod endpoints;
mod idle;
mod interfaces;
mod node;
mod owners;
mod problems;
mod shared;
mod wired;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

pub use dirty::Dirty;
pub use endpoints::{Endpoint, Hint};
use ipnet::IpNet;
pub use node::{ExternalMode, NodePortAddresses, ServiceSettings};
pub use wired::Wired;

use by_name::ByName;
use shared::Shared;

use crate::{
    dataplane::Interface,
    few::Few,
    model::{
        EndpointHints, Labels, Mode, Name, NamedPort, Namespace, Node, Object, ObjectRef, Pod, Policy,
        Problem, Requirement, Service, Slice, SlicePort, Workload,
    },
};

/// The objects, and who refers to whom.
#[derive(Debug)]
pub struct Index {
    node: String,
    namespaces: BTreeMap<String, Namespace>,
    nodes: BTreeMap<String, Node>,
    settings: ServiceSettings,
    mode: Mode,
    /// Of each ServiceCIDR.
    service_nets: BTreeMap<String, Vec<IpNet>>,
    pods: ByName<Pod>,
    /// Pods of this node that policies can see.
    local: BTreeSet<Name>,
    policies: ByName<Policy>,
    services: ByName<Service>,
    slices: ByName<Slice>,
    /// Slices by the Service they belong to.
    slices_of: BTreeMap<Name, Few<Name>>,
    /// Pods that policies can see, by the addresses they say are theirs.
    claims: BTreeMap<IpAddr, Box<[Arc<Pod>]>>,
    labels: Shared<Labels>,
    selectors: Shared<Arc<Few<Requirement>>>,
    workloads: Shared<Arc<Workload>>,
    named_ports: Shared<Arc<[NamedPort]>>,
    slice_ports: Shared<Arc<[SlicePort]>>,
    hints: Shared<Arc<EndpointHints>>,
    /// Names of namespaces and of nodes.
    places: Shared<Arc<str>>,
    interfaces: BTreeMap<u32, Interface>,
    /// Pods whose interface the CNI plugin has told of.
    wired: BTreeMap<Name, wired::Lender>,
    /// Interfaces by the addresses found on them.
    holders: BTreeMap<IpAddr, Few<u32>>,
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    dirty: Dirty,
    ending: ending::Ending,
    idle: idle::Idle,
}

impl Index {
    /// Of the node called `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            settings: ServiceSettings::default(),
            mode: Mode::default(),
            service_nets: BTreeMap::new(),
            pods: ByName::default(),
            local: BTreeSet::new(),
            policies: ByName::default(),
            services: ByName::default(),
            slices: ByName::default(),
            slices_of: BTreeMap::new(),
            claims: BTreeMap::new(),
            labels: Shared::default(),
            selectors: Shared::default(),
            workloads: Shared::default(),
            named_ports: Shared::default(),
            slice_ports: Shared::default(),
            hints: Shared::default(),
            places: Shared::default(),
            interfaces: BTreeMap::new(),
            wired: BTreeMap::new(),
            holders: BTreeMap::new(),
            problems: BTreeMap::new(),
            dirty: Dirty::default(),
            ending: ending::Ending::default(),
            idle: idle::Idle::default(),
        }
    }

    /// An object is there or has changed.
    pub fn apply(&mut self, object: Object) {
        match object {
            Object::Namespace(new) => {
                let name = new.name.clone();
                if self.namespaces.get(&name) != Some(&new) {
                    self.namespaces.insert(name.clone(), new);
                    self.touch_pods_of(&name);
                }
            }
            Object::Node(new) => self.set_node(&new.name.clone(), Some(new)),
            Object::Pod(new) => {
                let pod = self.lend(new);
                self.set_pod(&pod.name.clone(), Some(pod));
            }
            Object::Policy(mut new) => {
                new.name.namespace = self.places.share(new.name.namespace);
                self.share_selectors(&mut new);
                self.policy_applied(&new.name);
                self.dirty.policies.insert(new.name.clone());
                self.policies.insert(new);
            }
            Object::Service(mut new) => {
                new.name.namespace = self.places.share(new.name.namespace);
                new.selector = new.selector.map(|selector| self.labels.share(selector));
                self.dirty.services.insert(new.name.clone());
                self.services.insert(new);
            }
            Object::Slice(new) => self.set_slice(&new.name.clone(), Some(new)),
            Object::ServiceCidr(new) => self.set_service_nets(&new.name, Some(new.nets)),
        }
    }

    /// An object is gone. One that was never there is no matter.
    pub fn delete(&mut self, object: &ObjectRef) {
        let name = Name::new(&object.namespace, &object.name);
        match object.kind.as_str() {
            "Namespace" => {
                self.namespace_gone(&name.name);
                self.touch_pods_of(&name.name);
            }
            "Node" => self.set_node(&name.name, None),
            "Pod" => self.set_pod(&name, None),
            "NetworkPolicy" => self.delete_policy(name),
            "Service" => {
                self.services.remove(&name);
                self.dirty.services.insert(name);
            }
            "EndpointSlice" => self.set_slice(&name, None),
            "ServiceCIDR" => self.set_service_nets(&name.name, None),
            _ => {}
        }
        self.problems.remove(object);
    }

    /// Remembers what is wrong with an object, in place of what was wrong before.
    pub fn report(&mut self, object: ObjectRef, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.problems.remove(&object);
        } else {
            self.problems.insert(object, problems);
        }
    }

    /// What may have changed since the last call. What was delivered since then counts as delivered at once.
    pub fn take_dirty(&mut self) -> Dirty {
        self.settle_ending();
        self.settle_idle();
        std::mem::take(&mut self.dirty)
    }

    fn set_pod(&mut self, name: &Name, new: Option<Pod>) {
        if self.pod(name) == new.as_ref() {
            return;
        }
        let old = self.pods.remove(name);
        self.local.remove(name);
        for pod in [old.as_deref(), new.as_ref()].into_iter().flatten() {
            self.touch_services_of(pod);
        }
        if let Some(pod) = old.filter(|pod| pod.policed()) {
            for addr in &pod.addresses {
                self.touch_address(*addr);
                self.unclaim(*addr, name);
            }
        }
        if let Some(mut pod) = new {
            pod.labels = self.labels.share(pod.labels);
            pod.workload = pod.workload.map(|workload| self.workloads.share(workload));
            pod.named_ports = self.named_ports.share(pod.named_ports);
            pod.node = pod.node.map(|node| self.places.share(node));
            pod.name.namespace = self.places.share(pod.name.namespace);
            let pod = Arc::new(pod);
            if pod.policed() {
                for addr in &pod.addresses {
                    self.claim(*addr, &pod);
                    self.touch_address(*addr);
                }
            }
            if self.is_local(&pod) {
                self.local.insert(pod.name.clone());
            }
            self.pods.insert(pod);
        }
        self.dirty.pods.insert(name.clone());
    }

    /// Few addresses are claimed by more than one.
    fn claim(&mut self, addr: IpAddr, pod: &Arc<Pod>) {
        let claims = self.claims.entry(addr).or_default();
        if let Err(at) = claims.binary_search_by(|other| other.name.cmp(&pod.name)) {
            let (before, after) = claims.split_at(at);
            *claims = before.iter().chain([pod]).chain(after).cloned().collect();
        }
    }

    fn unclaim(&mut self, addr: IpAddr, name: &Name) {
        if let Some(claims) = self.claims.get_mut(&addr) {
            *claims = claims.iter().filter(|other| other.name != *name).cloned().collect();
            if claims.is_empty() {
                self.claims.remove(&addr);
            }
        }
    }

    fn set_slice(&mut self, name: &Name, new: Option<Slice>) {
        if self.slice(name) == new.as_ref() {
            return;
        }
        let service_of = |slice: &Slice| {
            let service = slice.service.as_deref()?;
            Some(Name { namespace: slice.name.namespace.clone(), name: service.into() })
        };
        if let Some(service) = self.slice(name).and_then(service_of) {
            remove(&mut self.slices_of, service.clone(), name);
            self.dirty.services.insert(service);
        }
        match new {
            Some(mut slice) => {
                slice.name.namespace = self.places.share(slice.name.namespace);
                slice.ports = self.slice_ports.share(slice.ports);
                for endpoint in &mut slice.endpoints {
                    endpoint.node = endpoint.node.take().map(|node| self.places.share(node));
                    endpoint.hints = endpoint.hints.take().map(|hints| self.hints.share(hints));
                }
                if let Some(service) = service_of(&slice) {
                    self.slices_of.entry(service.clone()).or_default().insert(slice.name.clone());
                    self.dirty.services.insert(service);
                }
                self.slices.insert(slice);
            }
            None => {
                self.slices.remove(name);
            }
        }
    }

    /// Whether a policy or slice says something that the one of its name did not say before. Of other objects this is not asked.
    #[must_use]
    pub fn is_news(&self, object: &Object) -> bool {
        match object {
            Object::Policy(policy) => self.policy(&policy.name) != Some(policy),
            Object::Slice(slice) => self.slice(&slice.name) != Some(slice),
            _ => false,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }
    /// A pod.
    #[must_use]
    pub fn pod(&self, name: &Name) -> Option<&Pod> {
        self.pods.get(name).map(Arc::as_ref)
    }
    /// A policy.
    #[must_use]
    pub fn policy(&self, name: &Name) -> Option<&Policy> {
        self.policies.get(name).map(Arc::as_ref)
    }
    /// A policy, to have a share in.
    #[must_use]
    pub fn shared_policy(&self, name: &Name) -> Option<Arc<Policy>> {
        self.policies.get(name).cloned()
    }
    /// A Service.
    #[must_use]
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.services.get(name).map(Arc::as_ref)
    }
    fn slice(&self, name: &Name) -> Option<&Slice> {
        self.slices.get(name).map(Arc::as_ref)
    }
    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter()
    }
    /// The pods of this node that have a network of their own, by name.
    pub fn local_pods(&self) -> impl Iterator<Item = &Pod> {
        self.local.iter().filter_map(|name| self.pod(name))
    }
    /// All policies, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }
    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter()
    }
    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }
    /// The pods of a namespace.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods.within(namespace)
    }
    /// The policies of a namespace.
    pub fn policies_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Policy> {
        self.policies.within(namespace)
    }
    /// What becomes of what a policy denies: its own word counts, else its namespace's, else the node's.
    #[must_use]
    pub fn mode_of(&self, policy: &Policy) -> Mode {
        let of_namespace = || self.namespaces.get(&*policy.name.namespace)?.mode;
        policy.mode.or_else(of_namespace).unwrap_or(self.mode)
    }
    /// What [`Index::set_mode`] has settled.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// What becomes of what policies deny that say nothing of it. To be set before the first object comes.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }
    /// The labels of a namespace. One without an object has the label that every namespace has.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Cow<'_, Labels> {
        match self.namespaces.get(name) {
            Some(namespace) => Cow::Borrowed(&namespace.labels),
            None => Cow::Owned(Namespace::unlabelled(name).labels),
        }
    }
}

/// Takes a value out of a map of sets, and the set with its last value.
fn remove<K: Ord, V: Ord>(map: &mut BTreeMap<K, Few<V>>, key: K, value: &V) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = map.entry(key) {
        entry.get_mut().remove(value);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
