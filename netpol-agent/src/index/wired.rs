use std::net::IpAddr;

use super::Index;
use crate::model::{Name, Pod};

/// An interface that the CNI plugin has told of: it is a pod's before the Pod object knows its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wired {
    /// Tells it from an earlier or later one of a pod with this name.
    pub attachment: String,
    /// What the kubelet calls the pod; empty: any pod with this name.
    pub uid: String,
    /// The interface's addresses.
    pub addresses: Vec<IpAddr>,
}

/// And what it has lent to the Pod as it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lender {
    wired: Wired,
    lent: Vec<IpAddr>,
}

impl Index {
    /// A pod's interface is there, or another one than before.
    pub fn wire(&mut self, name: &Name, wired: Wired) {
        let pod = self.as_told(name);
        self.wired.insert(name.clone(), Lender { wired, lent: Vec::new() });
        self.replace(pod);
    }

    /// A pod's interface is gone; what has come after it stays.
    pub fn unwire(&mut self, name: &Name, attachment: &str) {
        if self.wired.get(name).is_some_and(|lender| lender.wired.attachment == attachment) {
            let pod = self.as_told(name);
            self.wired.remove(name);
            self.replace(pod);
        }
    }

    /// The Pod as its object says, without addresses that were lent to it.
    fn as_told(&self, name: &Name) -> Option<Pod> {
        let mut pod = self.pod(name)?.clone();
        if let Some(Lender { lent, .. }) = self.wired.get(name) {
            pod.addresses.retain(|addr| !lent.contains(addr));
        }
        Some(pod)
    }

    fn replace(&mut self, pod: Option<Pod>) {
        if let Some(pod) = pod {
            let pod = self.lend(pod);
            self.set_pod(&pod.name.clone(), Some(pod));
        }
    }

    /// Gives a Pod the addresses of its interface that its status does not have yet.
    pub(super) fn lend(&mut self, mut pod: Pod) -> Pod {
        let is_here = self.is_local(&pod);
        if let Some(Lender { wired, lent }) = self.wired.get_mut(&pod.name) {
            let is_meant = is_here && pod.may_be(&wired.uid);
            lent.clear();
            lent.extend(wired.addresses.iter().filter(|addr| is_meant && !pod.addresses.contains(addr)));
            pod.addresses.extend(&*lent);
        }
        pod
    }
}
