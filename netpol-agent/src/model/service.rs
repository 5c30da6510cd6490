use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{Labels, Name};

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Namespace and name.
    pub name: Name,
    /// Cluster addresses; none for a headless Service, an ExternalName and one that another proxy serves.
    pub addresses: Vec<IpAddr>,
    /// Ports. One of SCTP is its target port, if that is a number.
    pub ports: Vec<ServicePort>,
    /// How it is reached from outside the cluster.
    pub outside: Outside,
    /// Pods of its namespace that answer, by labels; `None`: its slices are made by somebody else.
    pub selector: Option<Labels>,
    /// Only backends on the client's node (`internalTrafficPolicy: Local`).
    pub local_only: bool,
    /// Pods count as ready whatever they say.
    pub publish_not_ready: bool,
    /// How long a client keeps its backend after its last packet, in seconds; 0: each connection is balanced by itself
    /// (`sessionAffinity`).
    pub affinity_s: u32,
    /// How backends are chosen (annotation `netpol.dev/load-balancing`); `None`: it does not say.
    pub load_balancing: Option<LoadBalancing>,
}

/// How the backend of a new connection is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum LoadBalancing {
    /// Any of them
    #[default]
    Random,
    /// The same client gets the same one on every node
    Maglev,
}

/// How a Service is reached from outside the cluster, node ports aside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outside {
    /// Addresses of its load balancer that packets still have when they come to a node.
    pub balancer: Vec<IpAddr>,
    /// `spec.externalIPs`
    pub external: Vec<IpAddr>,
    /// Only backends on the node that a packet comes to (`externalTrafficPolicy: Local`).
    pub local_only: bool,
    /// Who may come by way of the load balancer; `None`: everybody. Without host bits.
    pub ranges: Option<Vec<IpNet>>,
    /// Where the load balancer asks whether this node has backends (`spec.healthCheckNodePort`), if it is to ask.
    pub health_port: Option<u16>,
}

impl Service {
    /// Whether it has an address of its own.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        !self.addresses.is_empty()
    }
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Its name, empty if it has none.
    pub name: String,
    /// IANA protocol number: TCP, UDP or SCTP.
    pub proto: u8,
    /// The Service's port.
    pub port: u16,
    /// The port of each node that leads to it.
    pub node_port: Option<u16>,
    /// The pods' port.
    pub target: TargetPort,
}

/// `targetPort`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(u16),
    /// The container port with this name.
    Named(String),
}

/// An EndpointSlice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Namespace and name.
    pub name: Name,
    /// The Service that it belongs to, from its label; `None` if it belongs to none that is balanced.
    pub service: Option<String>,
    /// Ports with a number.
    pub ports: Arc<[SlicePort]>,
    /// Endpoints with an address.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// A port of a slice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SlicePort {
    /// Name of the Service's port.
    pub name: String,
    /// IANA protocol number.
    pub proto: u8,
    /// The endpoints' port.
    pub port: u16,
}

/// An endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SliceEndpoint {
    /// Its address: the first that the slice names.
    pub addr: IpAddr,
    /// `nodeName`
    pub node: Option<Arc<str>>,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, whether it is about to end or not.
    pub serving: bool,
    /// Is about to end.
    pub terminating: bool,
    /// Whose clients it is meant for; `None` if nothing is said, as of most.
    pub hints: Option<Arc<EndpointHints>>,
}

/// `hints` of an endpoint.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct EndpointHints {
    /// Zones whose clients it is meant for (`forZones`), none if nothing is said.
    pub for_zones: Box<[String]>,
    /// Nodes whose clients it is meant for (`forNodes`), none if nothing is said.
    pub for_nodes: Box<[String]>,
}
