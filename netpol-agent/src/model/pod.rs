use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Labels, Name, Uid};

/// A Pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid`, empty if the source has none.
    pub uid: Uid,
    /// Of a static pod, `kubernetes.io/config.mirror`: what its kubelet calls it, which is not the UID that the API server gave.
    pub mirror_of: Option<Box<Uid>>,
    /// Seconds since 1970 of `metadata.creationTimestamp`, 0 if the source has none.
    pub created_s: i64,
    /// `spec.nodeName`
    pub node: Option<Arc<str>>,
    /// `metadata.labels`
    pub labels: Labels,
    /// What made it, as far as its own object says.
    pub workload: Option<Arc<Workload>>,
    /// `status.podIPs`, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// It uses its node's network: neither subject nor peer of a policy.
    pub host_network: bool,
    /// It has ended (Succeeded or Failed): its addresses may be another's by now.
    pub ended: bool,
    /// Condition `Ready`.
    pub ready: bool,
    /// It has a `metadata.deletionTimestamp`.
    pub terminating: bool,
    /// Container ports with a name: of the containers, then of the init containers that keep running.
    pub named_ports: Arc<[NamedPort]>,
}

/// What a pod belongs to: the controller among its `metadata.ownerReferences`; the Deployment, where that is a ReplicaSet
/// whose name is that of a Deployment with the pod's `pod-template-hash`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, or whatever else the reference says.
    pub kind: String,
    /// Its name, in the pod's namespace.
    pub name: String,
}

/// A named container port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// IANA protocol number.
    pub proto: u8,
    /// Its number.
    pub port: u16,
}

impl Pod {
    /// Whether policies can select it and see it as a peer.
    #[must_use]
    pub fn policed(&self) -> bool {
        !self.host_network && !self.ended
    }
    /// Whether the kubelet may call it by this UID; nobody knows without one.
    #[must_use]
    pub fn may_be(&self, uid: &str) -> bool {
        let own = self.mirror_of.as_deref().unwrap_or(&self.uid);
        uid.is_empty() || own.is_empty() || own.is(uid)
    }
    /// The numbers that a name stands for under a protocol. Policies mean all of them, a Service the first.
    pub fn numbers_of(&self, name: &str, proto: u8) -> impl Iterator<Item = u16> {
        self.named_ports.iter().filter(move |p| p.name == name && p.proto == proto).map(|p| p.port)
    }
}
