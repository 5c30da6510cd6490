//! What the engine tells about itself: plain data for status, records and tables.

use std::{collections::BTreeMap, net::IpAddr};

use netpol_common::direction::Direction;
use serde::{Deserialize, Serialize, Serializer};

pub use crate::model::Name;

/// A rule of a policy, as a connection or a drop names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleRef {
    /// The NetworkPolicy.
    pub policy: Name,
    /// `metadata.generation` of the policy, 0 if the source has none.
    pub generation: i64,
    /// Which list the rule stands in.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// Place in the list, from 0.
    pub index: usize,
    /// Path in the object: `spec.ingress[1]`.
    pub path: String,
}

/// What a slot stands for: the policies that isolate its pods in one direction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SlotRef {
    /// Which direction.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// The policies, by name.
    pub policies: Vec<Name>,
}

/// A pod, as records name it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PodRef {
    /// The pod.
    pub pod: Name,
    /// `metadata.uid`, empty if the source has none.
    pub uid: String,
    /// `spec.nodeName`
    pub node: Option<String>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
}

/// Who has an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// A pod with a network of its own.
    Pod(PodRef),
    /// A Service, by one of its cluster addresses.
    Service(Name),
    /// A node, and what runs in its network.
    Node(String),
}

/// Whether a pod of this node has its policy in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Closed: no interface was found, or its policy is not in the maps yet.
    Pending,
    /// The maps hold what its policies say.
    Ready,
    /// It has a policy in the maps, and another one is waiting to be written (or was refused).
    Changing,
}

/// A pod of this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointView {
    /// The pod; `None` for an interface that belongs to no known pod.
    pub pod: Option<Name>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Interface index of the host side, once it was found.
    pub ifindex: Option<u32>,
    /// Name of the host side.
    pub interface: Option<String>,
    /// Whether its policy is in place.
    pub state: EndpointState,
    /// Whether what it receives is limited to what rules allow.
    pub isolated_in: bool,
    /// Whether what it sends is limited to what rules allow.
    pub isolated_out: bool,
    /// Policies that isolate it for ingress.
    pub policies_in: Vec<Name>,
    /// Policies that isolate it for egress.
    pub policies_out: Vec<Name>,
}

/// A NetworkPolicy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyView {
    /// The policy.
    pub policy: Name,
    /// Where it came from.
    pub origin: String,
    /// `metadata.generation`, 0 if the source has none.
    pub generation: i64,
    /// Whether it isolates for ingress.
    pub ingress: bool,
    /// Whether it isolates for egress.
    pub egress: bool,
    /// Ingress rules.
    pub rules_in: usize,
    /// Egress rules.
    pub rules_out: usize,
    /// Pods that it selects, in the cluster.
    pub pods: usize,
    /// Pods that it selects, on this node.
    pub local_pods: usize,
    /// It was deleted, and is in force until the pods of its namespace, which is being deleted, are gone.
    #[serde(default)]
    pub kept: bool,
    /// This revision does not fit, for this reason: the last good one stays in force, and what it newly selects is
    /// isolated.
    #[serde(default)]
    pub refused: Option<String>,
    /// Problems found in it.
    pub problems: usize,
}

/// A Service that this node balances.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// The Service.
    pub service: Name,
    /// Its addresses and ports, and who answers.
    pub frontends: Vec<FrontendView>,
}

/// One address, port and protocol of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrontendView {
    /// Service address.
    pub addr: IpAddr,
    /// Service port.
    pub port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// Name of the port, empty if it has none.
    pub port_name: String,
    /// Who answers, pods of this node first.
    pub backends: Vec<BackendView>,
    /// Whether the maps hold exactly this.
    pub ready: bool,
}

/// One address and port that answers for a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendView {
    /// Address.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
    /// The pod that has the address.
    pub pod: Option<Name>,
    /// Whether it runs on this node.
    pub local: bool,
}

fn direction<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(direction.name())
}
