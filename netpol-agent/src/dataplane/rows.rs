use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
    service::{FrontendRow, ServiceRow},
};

/// One address, port and protocol that a Service answers under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frontend {
    /// Service address.
    pub addr: IpAddr,
    /// Service port, host order; 0 with protocol 0: the whole address, for what no other frontend of it names.
    pub port: u16,
    /// [`netpol_common::net::proto::TCP`], `UDP` or `SCTP`.
    pub proto: u8,
}

impl Frontend {
    /// The whole address.
    #[must_use]
    pub const fn whole(addr: IpAddr) -> Self {
        Self { addr, port: 0, proto: 0 }
    }
}

/// One address and port that answers for a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Backend {
    /// Pod address.
    pub addr: IpAddr,
    /// Pod port, host order.
    pub port: u16,
}

/// A backend that may go on answering for a Service's port, ready or about to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// The backend.
    pub backend: Backend,
}

/// A prefix that a Service's port lets in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceRange {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// The prefix, without host bits.
    pub net: IpNet,
}

/// Who in the cluster an address is: [`netpol_common::cluster`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterRow {
    /// One of [`netpol_common::cluster::kind`].
    pub kind: u32,
    /// The address that the row says, of the same family as its key.
    pub addr: Option<IpAddr>,
}

/// The contents of the maps. IPv4 and IPv6 rows lie in one table here and in two in the kernel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    /// `np_port`
    pub ports: BTreeMap<PortKey, RuleId>,
    /// `np_policy`
    pub policy: BTreeMap<PolicyKey, PolicyRow>,
    /// `np_cidr4`, `np_cidr6`
    pub cidrs: BTreeMap<IpNet, CidrRow>,
    /// `np_peer4`, `np_peer6`
    pub peers: BTreeMap<IpAddr, PeerRow>,
    /// `np_ep`, by interface index of the host side
    pub endpoints: BTreeMap<u32, EndpointRow>,
    /// `np_fe4`, `np_fe6`
    pub frontends: BTreeMap<Frontend, FrontendRow>,
    /// The rows of `np_svc` that frontends name. A row serves one family only.
    pub services: BTreeMap<u32, ServiceRow>,
    /// The backends that each of those rows names, local ones first, as they lie in the arena.
    pub backends: BTreeMap<u32, Vec<Backend>>,
    /// `np_member4`, `np_member6`
    pub members: BTreeSet<Member>,
    /// `np_range4`, `np_range6`
    pub ranges: BTreeSet<SourceRange>,
    /// `np_svcnet4`, `np_svcnet6`
    pub service_nets: BTreeSet<IpNet>,
    /// `np_cluster4`, `np_cluster6`
    pub cluster: BTreeMap<IpAddr, ClusterRow>,
    /// No rows: the [`FrontendRow::svc`] that ways in had in another version's tables, whose connections this one has taken over.
    pub given: BTreeMap<Frontend, u32>,
}

/// How many rows fit, per map (for maps of two families: per family).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// `np_port`
    pub ports: usize,
    /// `np_policy`
    pub policy: usize,
    /// `np_cidr4`, `np_cidr6`
    pub cidrs: usize,
    /// `np_peer4`, `np_peer6`
    pub peers: usize,
    /// `np_ep`
    pub endpoints: usize,
    /// `np_fe4`, `np_fe6`
    pub frontends: usize,
    /// `np_svc`
    pub services: usize,
    /// `np_be4`, `np_be6`
    pub backends: usize,
    /// `np_member4`, `np_member6`
    pub members: usize,
    /// `np_range4`, `np_range6`
    pub ranges: usize,
    /// `np_svcnet4`, `np_svcnet6`
    pub service_nets: usize,
    /// `np_cluster4`, `np_cluster6`
    pub cluster: usize,
}

/// The host side of a pod's interface, as found in the kernel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interface {
    /// Index in the node's network namespace.
    pub ifindex: u32,
    /// Name in the node's network namespace.
    pub name: String,
    /// File name of the pod's network namespace under `--netns-dir`.
    pub netns: String,
    /// Global addresses of the pod's side.
    pub addresses: Vec<IpAddr>,
    /// Index of the bridge it is a port of, 0 if none.
    pub master: u32,
    /// The pod ran before the programs were attached, not long ago: it may have connections without entries.
    pub adopting: bool,
}
