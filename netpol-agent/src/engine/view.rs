//! What the engine tells about itself: plain data for status, records and tables.

use std::{net::IpAddr, sync::Arc};

use netpol_common::direction::Direction;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Labels, Workload};
pub use crate::model::{Mode, Name};

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
    /// `metadata.labels`
    pub labels: Labels,
    /// What made it.
    pub workload: Option<Arc<Workload>>,
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

/// Why a pod, or an interface without one, is pending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingReason {
    /// The source has not delivered everything yet.
    NotSynced,
    /// The Pod has no address in its status yet.
    NoAddress,
    /// No interface with the pod's addresses was found.
    NoInterface,
    /// It has an interface that has no side on this node: it is not policed.
    NoVeth,
    /// An interface was found, and no Pod of this node has its addresses.
    NoPod,
    /// Interface and pod do not belong together beyond doubt.
    Contested,
    /// Its rows do not fit into the maps.
    Refused,
    /// Its rows are about to be written.
    NotWritten,
    /// Writing the maps has failed, and is tried again.
    WriteFailed,
    /// The pod is about to end, and its interface has gone.
    Ending,
}

impl PendingReason {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::NotSynced,
        Self::NoAddress,
        Self::NoInterface,
        Self::NoVeth,
        Self::NoPod,
        Self::Contested,
        Self::Refused,
        Self::NotWritten,
        Self::WriteFailed,
        Self::Ending,
    ];

    /// The word used in `netpolctl endpoints` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSynced => "not-synced",
            Self::NoAddress => "no-address",
            Self::NoInterface => "no-interface",
            Self::NoVeth => "no-veth",
            Self::NoPod => "no-pod",
            Self::Contested => "contested",
            Self::Refused => "refused",
            Self::NotWritten => "not-written",
            Self::WriteFailed => "write-failed",
            Self::Ending => "ending",
        }
    }

    /// The same in words.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotSynced => "the source has not delivered everything yet",
            Self::NoAddress => "the Pod has no address in its status yet",
            Self::NoInterface => "no interface with its addresses was found",
            Self::NoVeth => {
                "its interface has no side on this node (macvlan, ipvlan, a device of its own): policies do not hold for it"
            }
            Self::NoPod => "no pod of this node has its addresses",
            Self::Contested => "other pods or interfaces have its addresses too",
            Self::Refused => "its rows do not fit into the maps",
            Self::NotWritten => "its rows are about to be written",
            Self::WriteFailed => "writing the maps has failed, and is tried again",
            Self::Ending => "it is about to end, and its interface has gone",
        }
    }
}

/// How far a pod has come that is being started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The source has not told of it.
    Unknown,
    /// The source tells of a pod with its name and this UID.
    Another(String),
    /// It is another node's, has ended, or uses its node's network.
    Elsewhere,
    /// It is closed.
    Pending(PendingReason),
    /// Its policy is in the maps, or another one of it that is about to be replaced.
    Policed {
        /// Ready or changing.
        state: EndpointState,
        /// File name of the network namespace that its interface leads to.
        netns: String,
    },
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
    /// Why not, if it is pending.
    #[serde(default)]
    pub pending: Option<PendingReason>,
    /// Whether what it receives is limited to what rules allow.
    pub isolated_in: bool,
    /// Whether what it sends is limited to what rules allow.
    pub isolated_out: bool,
    /// Policies that isolate it for ingress.
    pub policies_in: Vec<Name>,
    /// Policies that isolate it for egress.
    pub policies_out: Vec<Name>,
    /// Policies in audit mode that would isolate it for ingress.
    #[serde(default)]
    pub tried_in: Vec<Name>,
    /// Policies in audit mode that would isolate it for egress.
    #[serde(default)]
    pub tried_out: Vec<Name>,
    /// Entries of the connection tables that count against its quota, when they were last counted (a translated connection
    /// has two). 0 as the engine tells it: it does not look.
    #[serde(default)]
    pub connections: u64,
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
    /// What becomes of what it denies.
    #[serde(default)]
    pub mode: Mode,
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
    /// What kind of address it is: `cluster`, `node`, `load-balancer` or `external`.
    pub kind: String,
    /// Who answers clients within the cluster, pods of this node first.
    pub backends: Vec<BackendView>,
    /// Who answers clients from outside, where those are others.
    #[serde(default)]
    pub outside: Option<Vec<BackendView>>,
    /// Clients from outside (for a cluster address: all clients) are answered by this node's pods alone.
    #[serde(default)]
    pub local: bool,
    /// How long a client keeps its backend, in seconds; 0: it does not.
    #[serde(default)]
    pub affinity_s: u32,
    /// The only clients that are let in, if not all are.
    #[serde(default)]
    pub source_ranges: Option<Vec<String>>,
    /// The same client gets the same backend on every node.
    #[serde(default)]
    pub maglev: bool,
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
