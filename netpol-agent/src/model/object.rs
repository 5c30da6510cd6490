use std::net::IpAddr;

use ipnet::IpNet;

use super::{Labels, Mode, ObjectRef, Pod, Policy, Service, Slice};

/// An object that netpol acts on, complete and without contradictions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Namespace.
    Namespace(Namespace),
    /// A Node.
    Node(Node),
    /// A Pod.
    Pod(Pod),
    /// A NetworkPolicy.
    Policy(Policy),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    Slice(Slice),
    /// A ServiceCIDR.
    ServiceCidr(ServiceCidr),
}

/// A Namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, with `kubernetes.io/metadata.name` as the API server adds it.
    pub labels: Labels,
    /// What its annotation `netpol.dev/mode` says of its policies; `None`: nothing.
    pub mode: Option<Mode>,
    /// Seconds since 1970 of `metadata.creationTimestamp`, 0 if the source has none.
    pub created_s: i64,
    /// It is being deleted: it has a `metadata.deletionTimestamp`, or `status.phase` is Terminating.
    pub terminating: bool,
    /// Seconds since 1970 of `metadata.deletionTimestamp`, 0 if there is none.
    pub terminating_since_s: i64,
}

/// A Node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses, internal ones before external ones.
    pub addresses: Vec<IpAddr>,
    /// It is about to be taken out of the cluster: its object is being deleted, or it has the taint
    /// `ToBeDeletedByClusterAutoscaler`.
    pub leaving: bool,
    /// Its zone (label `topology.kubernetes.io/zone`), empty if it is in none.
    pub zone: String,
}

/// A ServiceCIDR.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCidr {
    /// Its name.
    pub name: String,
    /// Prefixes that Services' addresses are taken from, without host bits.
    pub nets: Vec<IpNet>,
}

/// The label that the API server gives every namespace.
pub const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

impl Namespace {
    /// A namespace of which nothing but the name is known.
    #[must_use]
    pub fn unlabelled(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: Labels::new([(NAMESPACE_LABEL.to_owned(), name.to_owned())].into()),
            mode: None,
            created_s: 0,
            terminating: false,
            terminating_since_s: 0,
        }
    }
}

impl Object {
    /// What it is called.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        let (kind, namespace, name) = match self {
            Self::Namespace(n) => ("Namespace", "", n.name.as_str()),
            Self::Node(n) => ("Node", "", n.name.as_str()),
            Self::Pod(p) => ("Pod", &*p.name.namespace, &*p.name.name),
            Self::Policy(p) => ("NetworkPolicy", &*p.name.namespace, &*p.name.name),
            Self::Service(s) => ("Service", &*s.name.namespace, &*s.name.name),
            Self::Slice(s) => ("EndpointSlice", &*s.name.namespace, &*s.name.name),
            Self::ServiceCidr(c) => ("ServiceCIDR", "", c.name.as_str()),
        };
        ObjectRef { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}
