use std::collections::BTreeSet;

use super::{Index, remove};
use crate::{
    dataplane::Interface,
    model::{Name, Pod},
};

impl Index {
    /// An interface was found, or its addresses have changed.
    pub fn interface_up(&mut self, interface: Interface) {
        if self.interfaces.get(&interface.ifindex) == Some(&interface) {
            return;
        }
        self.take_off(interface.ifindex);
        for addr in &interface.addresses {
            self.holders.entry(*addr).or_default().insert(interface.ifindex);
            self.touch_address(*addr);
        }
        self.interfaces.insert(interface.ifindex, interface);
    }

    /// An interface is gone.
    pub fn interface_gone(&mut self, ifindex: u32) {
        self.interface_inherits_no_more(ifindex);
        self.take_off(ifindex);
    }

    fn take_off(&mut self, ifindex: u32) {
        let Some(interface) = self.interfaces.remove(&ifindex) else { return };
        for addr in interface.addresses {
            remove(&mut self.holders, addr, &ifindex);
            self.touch_address(addr);
        }
    }

    /// All interfaces, by index.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// The interface of a pod of this node: the only one that has addresses of the pod and of no other pod. Where that
    /// is in doubt the pod has none, and stays closed: an address is easily taken, an interface is not.
    #[must_use]
    pub fn interface_of(&self, pod: &Pod) -> Option<&Interface> {
        if !self.is_local(pod) {
            return None;
        }
        let mut candidates = self.candidates(pod).into_iter();
        let (ifindex, None) = (candidates.next()?, candidates.next()) else { return None };
        let interface = self.interfaces.get(&ifindex)?;
        (self.pods_on(interface).len() == 1).then_some(interface)
    }

    /// How many interfaces have an address of the pod.
    #[must_use]
    pub fn interfaces_of(&self, pod: &Pod) -> usize {
        self.candidates(pod).len()
    }

    /// Whether all addresses of the pod have passed to other pods.
    #[must_use]
    pub fn is_displaced(&self, pod: &Pod) -> bool {
        !pod.addresses.is_empty() && self.owned(pod).next().is_none()
    }

    /// The interfaces that have an address of the pod.
    pub(super) fn candidates(&self, pod: &Pod) -> BTreeSet<u32> {
        self.owned(pod).filter_map(|addr| self.holders.get(&addr)).flatten().copied().collect()
    }

    /// The pods of this node whose addresses an interface has.
    pub(super) fn pods_on(&self, interface: &Interface) -> BTreeSet<&Name> {
        let owners = interface.addresses.iter().filter_map(|addr| self.owner(*addr));
        owners.filter(|pod| self.is_local(pod)).map(|pod| &pod.name).collect()
    }
}
