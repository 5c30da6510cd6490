use std::{collections::BTreeSet, net::IpAddr};

use super::Index;
use crate::model::{Name, Pod};

/// What may have changed. More than did change is no harm.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dirty {
    /// Pods whose labels, namespace, addresses or interface may have changed.
    pub pods: BTreeSet<Name>,
    /// Addresses that may have another owner.
    pub addresses: BTreeSet<IpAddr>,
    /// Policies.
    pub policies: BTreeSet<Name>,
    /// Services whose addresses or backends may have changed.
    pub services: BTreeSet<Name>,
    /// The prefixes that Services' addresses are taken from.
    pub service_nets: bool,
    /// The nodes, their addresses, or what to do about them.
    pub nodes: bool,
}

impl Index {
    pub(super) fn touch_pods_of(&mut self, namespace: &str) {
        self.dirty.pods.extend(self.pods.within(namespace).map(|pod| pod.name.clone()));
    }

    /// An address has, had or may get another owner or interface: all that claim it are concerned, and all that claim
    /// another address of its interface, because an interface is one pod's only.
    pub(super) fn touch_address(&mut self, addr: IpAddr) {
        let interfaces = self.holders.get(&addr).into_iter().flatten();
        let beside = interfaces.filter_map(|i| self.interfaces.get(i)).flat_map(|i| &i.addresses);
        for addr in beside.chain([&addr]) {
            self.dirty.pods.extend(self.claims.get(addr).into_iter().flatten().map(|pod| pod.name.clone()));
        }
        self.dirty.addresses.insert(addr);
    }

    /// Services that take this pod as a backend by its labels.
    pub(super) fn touch_services_of(&mut self, pod: &Pod) {
        let selects = |selector: &crate::model::Labels| pod.labels.include(selector);
        let services = self
            .services
            .within(&pod.name.namespace)
            .filter(|s| s.selector.as_ref().is_some_and(selects) && !self.slices_of.contains_key(&s.name));
        self.dirty.services.extend(services.map(|s| s.name.clone()));
    }
}
