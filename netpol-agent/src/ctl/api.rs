//! What travels over the control socket: one JSON value per line. A client sends one [`Request`] and reads [`Response`]s;
//! all requests but [`Request::Flows`] are answered by exactly one.
//!
//! ```text
//! → {"request":"flows","filter":{"verdict":"dropped"},"last":1,"follow":false}
//! ← {"flow":{"time":"2026-03-01T12:03:04.512Z","node":"node-1","verdict":"dropped", …}}
//! ← {"end":null}
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use super::past::{ManifestFile, SimulateRequest, Simulated, SuggestRequest, Suggested};
pub use crate::engine::view::{
    BackendView, EndpointState, EndpointView, FrontendView, PendingReason, PolicyView, ServiceView,
};
use crate::{
    diagnose::{Finding, Subject},
    flow::{Filter, FlowRecord, StoreCounts},
    model::{Name, Problem},
    oracle::Verdict,
};

/// What a client can ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// How is the agent doing? Answered by [`Response::Status`].
    Status,
    /// Which pods of this node are there, and are their policies in place? Answered by [`Response::Endpoints`].
    Endpoints,
    /// Which policies are there? Answered by [`Response::Policies`].
    Policies,
    /// Which Services are balanced? Answered by [`Response::Services`].
    Services,
    /// What are the numbers? Answered by [`Response::Metrics`].
    Metrics,
    /// What did packets meet? Answered by any number of [`Response::Flow`], [`Response::Lost`] and [`Response::Missed`], then
    /// by [`Response::End`] unless it follows.
    Flows(FlowsRequest),
    /// What is wrong with this node and with what it knows of? Answered by [`Response::Checked`].
    Check,
    /// Why does an object not work? Answered by [`Response::Findings`].
    Why(Subject),
    /// What would a connection meet? Answered by [`Response::Explanation`].
    Explain(ExplainRequest),
    /// What would what was seen meet under other policies? Answered by [`Response::Simulated`].
    Simulate(SimulateRequest),
    /// Which policies allow what was seen? Answered by [`Response::Suggested`].
    Suggest(SuggestRequest),
}

/// Which flow records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowsRequest {
    /// Which ones.
    #[serde(default)]
    pub filter: Filter,
    /// At most so many of those that are kept, the newest.
    pub last: usize,
    /// Then every new one, until the client hangs up.
    #[serde(default)]
    pub follow: bool,
}

/// A connection to be explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// Who opens it: `ns/pod`, `node:NAME` or an address.
    pub from: String,
    /// Who is meant: the same, or `service:ns/name`.
    pub to: String,
    /// Destination port; not needed where only one can be meant.
    #[serde(default)]
    pub port: Option<u16>,
    /// `TCP` (also if empty), `UDP`, `SCTP`, `ICMP`, `ICMPv6` or an IANA number.
    #[serde(default)]
    pub protocol: String,
}

/// One line of an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// How the agent is doing.
    Status(Box<Status>),
    /// The pods of this node, and interfaces without a pod.
    Endpoints(Vec<EndpointView>),
    /// The policies.
    Policies(Vec<PolicyView>),
    /// The Services.
    Services(Vec<ServiceView>),
    /// OpenMetrics text.
    Metrics(String),
    /// One record.
    Flow(Box<FlowRecord>),
    /// So many records are missing here: the client was too slow.
    Lost(u64),
    /// So many records are missing here: the agent was too slow, and the kernel's rings were full.
    Missed(u64),
    /// That was all.
    End,
    /// What the connection would meet.
    Explanation(Box<Explanation>),
    /// What is wrong with the node.
    Checked(Box<Checked>),
    /// What there is to say of an object.
    Findings(Vec<Finding>),
    /// What other policies would make of what was seen.
    Simulated(Box<Simulated>),
    /// Policies that allow what was seen.
    Suggested(Box<Suggested>),
    /// The question cannot be answered: why.
    Error(String),
}

/// What an agent finds wrong, and what it takes to look further.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// How the agent is doing.
    pub status: Status,
    /// Indexes and names of the interfaces that should have programs.
    pub interfaces: Vec<(u32, String)>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// How the agent is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The node it works for.
    pub node: String,
    /// Version of the agent.
    pub version: String,
    /// Version of everything pinned.
    pub abi: u32,
    /// Where its objects come from: `dir:/etc/netpol`.
    pub source: String,
    /// How programs are attached: `tcx` or `clsact`.
    #[serde(default)]
    pub attach: String,
    /// Where maps and links are pinned, in a folder for each version.
    #[serde(default)]
    pub pin_dir: String,
    /// How far the watches of an API server have come; none for a folder.
    #[serde(default)]
    pub watches: Vec<WatchView>,
    /// The source has delivered everything once.
    pub synced: bool,
    /// The maps hold what the source said when this was asked.
    pub in_sync: bool,
    /// How often verdicts may have changed since the maps were made.
    pub epoch: u32,
    /// Pods of this node.
    pub endpoints: EndpointCounts,
    /// Policies in force.
    pub policies: usize,
    /// Services balanced.
    pub services: usize,
    /// Whether the node's own processes reach Services: `on` and the cgroup, or `off` and why.
    #[serde(default)]
    pub node_services: String,
    /// How clients from outside reach backends of other nodes: `snat`, or `dsr` and how many nodes are known.
    #[serde(default)]
    pub external_mode: String,
    /// Whether packets between this node's pods and those of others go past its own forwarding: `on`, or `off` and what there may matter to
    /// them.
    #[serde(default)]
    pub across_nodes: String,
    /// What became of XDP: each uplink with its mode, or with the reason why it is off.
    #[serde(default)]
    pub xdp: String,
    /// Frames that XDP has translated since the agent started.
    #[serde(default)]
    pub xdp_frames: u64,
    /// What netpol takes of the node's memory.
    #[serde(default)]
    pub memory: Memory,
    /// How full the maps are.
    pub tables: Vec<TableFill>,
    /// Packets by verdict and direction; only what has been seen at least once.
    pub packets: Vec<PacketCounter>,
    /// Counters that are no verdict, `lost-drop-events` among them.
    pub counters: Vec<EventCounter>,
    /// The flow records kept by the agent.
    pub flows: StoreCounts,
    /// Parts of the dataplane that could not be brought up to date, and why.
    pub refusals: Vec<String>,
    /// What a user must know about the objects.
    pub problems: Vec<Problem>,
}

/// The watch of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WatchView {
    /// `Pod`
    pub kind: String,
    /// `listing`, `watching`, `failing` or `absent`.
    pub phase: String,
    /// The `resourceVersion` up to which the kind is known; empty before the first list.
    pub version: String,
}

/// Pods of this node by [`EndpointState`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EndpointCounts {
    /// The maps hold what their policies say.
    pub ready: usize,
    /// Closed until their policy is in place.
    pub pending: usize,
    /// Between two policies.
    pub changing: usize,
}

/// Memory in bytes; 0 where the kernel does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// That the agent has in use.
    pub agent: u64,
    /// That the kernel takes for the pinned maps. Kernels before 6.4 tell what it would be with every row in its place.
    pub maps: u64,
    /// That the node has.
    pub node: u64,
}

/// How full a map is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableFill {
    /// The map, without its family: `np_ct`.
    pub table: String,
    /// Rows; where each family has a map, those of the fuller one.
    pub rows: usize,
    /// Rows that fit.
    pub capacity: usize,
    /// Memory in bytes, of both families' maps together: see [`Memory::maps`].
    #[serde(default)]
    pub bytes: u64,
}

/// Packets that met the same end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketCounter {
    /// `forwarded`, or the name of a drop reason.
    pub verdict: String,
    /// `ingress` or `egress`, as the pod sees it.
    pub direction: String,
    /// Packets.
    pub packets: u64,
    /// Bytes with Ethernet headers.
    pub bytes: u64,
}

/// A counter that is no verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventCounter {
    /// What is counted.
    pub name: String,
    /// How often it happened.
    pub count: u64,
}

/// What a connection would meet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The question as it was understood: `shop/web → shop/db-0, TCP port 5432`.
    pub question: String,
    /// The Service it would go through.
    pub service: Option<Name>,
    /// One answer for each backend and address family that can be meant; empty if a Service has no backend.
    pub ways: Vec<Way>,
    /// Every way is allowed, and there is at least one.
    pub allowed: bool,
    /// On no way do reference and maps contradict each other.
    pub consistent: bool,
}

/// One way that the connection could take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Source address.
    pub from: IpAddr,
    /// Destination address, after service translation.
    pub to: IpAddr,
    /// The pod that has the destination address.
    pub pod: Option<Name>,
    /// Destination port, after service translation.
    pub port: u16,
    /// What the reference evaluator says of the sender.
    pub egress: Verdict,
    /// What the reference evaluator says of the receiver.
    pub ingress: Verdict,
    /// What the maps of this node say.
    pub maps: MapsVerdict,
    /// Whether the maps say what the reference says, as far as this node's maps can tell.
    pub consistent: bool,
}

/// What this node's maps say of both ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MapsVerdict {
    /// May the source send?
    pub egress: MapsAnswer,
    /// May the destination receive?
    pub ingress: MapsAnswer,
}

/// What this node's maps say of one end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapsAnswer {
    /// The end is no pod of this node: its own node judges it, if anybody does.
    Elsewhere,
    /// A pod of this node without a row: closed.
    Pending,
    /// Allowed: no policy isolates the pod in this direction.
    NotIsolated,
    /// Allowed: no rule does, but the policies that would isolate the pod are in audit mode.
    Audited,
    /// Allowed: a pod cannot block itself, and its node can always reach it.
    Always,
    /// Allowed by a rule, such as `shop/web spec.egress[0]`.
    Allowed(String),
    /// No rule of the policies that isolate the pod allows it.
    Denied,
}
