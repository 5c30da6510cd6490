use prost::{Enumeration, Message, Oneof};
use prost_types::{FieldMask, Timestamp};

use super::{filter::FlowFilter, flow::Flow};

#[derive(Clone, PartialEq, Message)]
pub struct GetFlowsRequest {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bool, tag = "3")]
    pub follow: bool,
    #[prost(message, repeated, tag = "5")]
    pub blacklist: Vec<FlowFilter>,
    #[prost(message, repeated, tag = "6")]
    pub whitelist: Vec<FlowFilter>,
    #[prost(message, optional, tag = "7")]
    pub since: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub until: Option<Timestamp>,
    #[prost(bool, tag = "9")]
    pub first: bool,
    #[prost(message, optional, tag = "10")]
    pub field_mask: Option<FieldMask>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetFlowsResponse {
    #[prost(oneof = "FlowsItem", tags = "1, 3")]
    pub item: Option<FlowsItem>,
    #[prost(string, tag = "1000")]
    pub node_name: String,
    #[prost(message, optional, tag = "1001")]
    pub time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum FlowsItem {
    #[prost(message, tag = "1")]
    Flow(Box<Flow>),
    #[prost(message, tag = "3")]
    LostEvents(LostEvent),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LostEvent {
    #[prost(enumeration = "LostEventSource", tag = "1")]
    pub source: i32,
    #[prost(uint64, tag = "2")]
    pub num_events_lost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum LostEventSource {
    Unknown = 0,
    PerfEventRingBuffer = 1,
    ObserverEventsQueue = 2,
    HubbleRingBuffer = 3,
}

/// Also of GetDebugEvents, but that `follow` has another number in GetFlows.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetAgentEventsRequest {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bool, tag = "2")]
    pub follow: bool,
    #[prost(message, optional, tag = "7")]
    pub since: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub until: Option<Timestamp>,
    #[prost(bool, tag = "9")]
    pub first: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetAgentEventsResponse {
    #[prost(message, optional, tag = "1")]
    pub agent_event: Option<AgentEvent>,
    #[prost(string, tag = "1000")]
    pub node_name: String,
    #[prost(message, optional, tag = "1001")]
    pub time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentEvent {
    #[prost(enumeration = "AgentEventType", tag = "1")]
    pub r#type: i32,
    #[prost(oneof = "Notification", tags = "101, 102")]
    pub notification: Option<Notification>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Notification {
    #[prost(message, tag = "101")]
    AgentStart(TimeNotification),
    #[prost(message, tag = "102")]
    PolicyUpdate(PolicyUpdateNotification),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TimeNotification {
    #[prost(message, optional, tag = "1")]
    pub time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PolicyUpdateNotification {
    #[prost(string, repeated, tag = "1")]
    pub labels: Vec<String>,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    #[prost(int64, tag = "3")]
    pub rule_count: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum AgentEventType {
    Unknown = 0,
    AgentStarted = 2,
    PolicyUpdated = 3,
}

/// GetNodes, GetNamespaces and ServerStatus ask for nothing in particular.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub struct ServerStatusResponse {
    #[prost(uint64, tag = "1")]
    pub num_flows: u64,
    #[prost(uint64, tag = "2")]
    pub max_flows: u64,
    #[prost(uint64, tag = "3")]
    pub seen_flows: u64,
    #[prost(uint64, tag = "4")]
    pub uptime_ns: u64,
    #[prost(message, optional, tag = "5")]
    pub num_connected_nodes: Option<u32>,
    #[prost(message, optional, tag = "6")]
    pub num_unavailable_nodes: Option<u32>,
    #[prost(string, tag = "8")]
    pub version: String,
    #[prost(double, tag = "9")]
    pub flows_rate: f64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetNodesResponse {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub address: String,
    #[prost(enumeration = "NodeState", tag = "4")]
    pub state: i32,
    #[prost(message, optional, tag = "5")]
    pub tls: Option<NodeTls>,
    #[prost(uint64, tag = "6")]
    pub uptime_ns: u64,
    #[prost(uint64, tag = "7")]
    pub num_flows: u64,
    #[prost(uint64, tag = "8")]
    pub max_flows: u64,
    #[prost(uint64, tag = "9")]
    pub seen_flows: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct NodeTls {
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    #[prost(string, tag = "2")]
    pub server_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum NodeState {
    UnknownNodeState = 0,
    NodeConnected = 1,
    NodeUnavailable = 2,
    NodeGone = 3,
    NodeError = 4,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetNamespacesResponse {
    #[prost(message, repeated, tag = "1")]
    pub namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Namespace {
    #[prost(string, tag = "1")]
    pub cluster: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
}
