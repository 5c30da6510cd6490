use std::{net::IpAddr, sync::Arc};

use super::Index;
use crate::model::{Name, Pod};

impl Index {
    /// The pod that has an address. While an address passes from one pod to another both may claim it: one that is not
    /// about to end wins, then the younger one, then the name decides.
    #[must_use]
    pub fn owner(&self, addr: IpAddr) -> Option<&Arc<Pod>> {
        let claimants = self.claims.get(&addr)?.iter();
        claimants.max_by_key(|pod| (!pod.terminating, pod.created_s, &pod.name))
    }

    /// The addresses that are a pod's, without those that another pod has taken over.
    pub fn owned<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = IpAddr> + 'a {
        let policed = pod.policed();
        pod.addresses
            .iter()
            .copied()
            .filter(move |a| policed && self.owner(*a).is_some_and(|p| p.name == pod.name))
    }

    /// Addresses within a range that pods claim.
    pub fn claimed(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.claims.range(first..=last).map(|(addr, _)| *addr)
    }

    /// All addresses that pods claim.
    pub fn all_claimed(&self) -> impl Iterator<Item = IpAddr> {
        self.claims.keys().copied()
    }

    /// Whether a pod runs on this node with a network of its own.
    #[must_use]
    pub fn is_local(&self, pod: &Pod) -> bool {
        pod.policed() && pod.node.as_deref() == Some(self.node.as_str())
    }

    /// The pods that claim an address but do not have it.
    pub fn displaced(&self, addr: IpAddr) -> impl Iterator<Item = &Name> {
        let owner = self.owner(addr).map(|pod| &pod.name);
        let claimants = self.claims.get(&addr).into_iter().flatten().map(|pod| &pod.name);
        claimants.filter(move |name| Some(*name) != owner)
    }
}
