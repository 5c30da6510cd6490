//! Kubernetes objects as netpol understands them. The last place that names a Kubernetes type.

#[cfg(test)]
pub(crate) mod asked;
mod convert;
mod labels;
mod manifest;
mod name;
mod object;
mod pod;
mod policy;
mod problem;
mod selector;
mod selector_text;
mod service;
mod uid;

pub use convert::{Converted, convert, reference};
pub use labels::Labels;
pub use manifest::Manifest;
pub use name::Name;
pub use object::{NAMESPACE_LABEL, Namespace, Node, Object, ServiceCidr};
pub use pod::{NamedPort, Pod, Workload};
pub use policy::{Block, Mode, Namespaces, Peer, Peers, PodSelector, Policy, Port, PortRange, Ports, Rule};
pub use problem::{Level, ObjectRef, Problem};
pub use selector::{LabelSelector, Requirement, Test};
pub use selector_text::SelectorError;
pub use service::{
    EndpointHints, LoadBalancing, Outside, Service, ServicePort, Slice, SliceEndpoint, SlicePort, TargetPort,
};
pub use uid::Uid;
