use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{NetworkPolicy, ServiceCIDR},
};
use serde::Serialize;

/// An object as a source hands it over: one of the kinds that netpol reads, in the API's own types. It is written out as the
/// API has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Manifest {
    /// `v1 Namespace`
    Namespace(Box<Namespace>),
    /// `v1 Node`
    Node(Box<Node>),
    /// `v1 Pod`
    Pod(Box<Pod>),
    /// `v1 Service`
    Service(Box<Service>),
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy(Box<NetworkPolicy>),
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice(Box<EndpointSlice>),
    /// `networking.k8s.io/v1`
    ServiceCidr(Box<ServiceCIDR>),
}

impl Manifest {
    /// Whether nothing but Services depends on it.
    #[must_use]
    pub const fn is_about_services(&self) -> bool {
        match self {
            Self::Service(_) | Self::EndpointSlice(_) | Self::ServiceCidr(_) => true,
            Self::Namespace(_) | Self::Node(_) | Self::Pod(_) | Self::NetworkPolicy(_) => false,
        }
    }

    /// Leaves out who made the object, and of which there are many their UIDs and versions: the reference evaluator does not ask.
    pub fn forget_origin(&mut self) {
        let metadata = match self {
            Self::Pod(pod) => &mut pod.metadata,
            Self::Service(service) => &mut service.metadata,
            Self::EndpointSlice(slice) => &mut slice.metadata,
            Self::Namespace(_) | Self::Node(_) | Self::NetworkPolicy(_) | Self::ServiceCidr(_) => return,
        };
        metadata.owner_references = None;
        metadata.uid = None;
        metadata.resource_version = None;
    }
}
