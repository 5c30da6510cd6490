use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
    service::{FrontendRow, ServiceRow},
};

use super::{Backend, ClusterRow, Frontend, Member, SourceRange};

/// One operation on the dataplane: data that says what to do, not how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Allows a port prefix of a port set.
    PutPort(PortKey, RuleId),
    /// Removes a port prefix of a set that no policy row names any more.
    DeletePort(PortKey),
    /// Writes what a slot says of a class.
    PutPolicy(PolicyKey, PolicyRow),
    /// Removes what a slot says of a class.
    DeletePolicy(PolicyKey),
    /// Gives a prefix its class.
    PutCidr(IpNet, CidrRow),
    /// Forgets a prefix.
    DeleteCidr(IpNet),
    /// Says who an address is.
    PutPeer(IpAddr, PeerRow),
    /// Forgets an address.
    DeletePeer(IpAddr),
    /// Puts a pod's policy in force.
    PutEndpoint(u32, EndpointRow),
    /// Closes an interface (it is pending again).
    DeleteEndpoint(u32),
    /// Makes an address and port a Service's.
    PutFrontend(Frontend, FrontendRow),
    /// Forgets a Service's address and port.
    DeleteFrontend(Frontend),
    /// Fills arena rows `base..` that no service row names.
    WriteBackends {
        /// First row of the range. All backends are of one family, which selects the arena.
        base: u32,
        /// Local ones first. Never empty.
        backends: Arc<[Backend]>,
    },
    /// Fills arena rows `base..` that no service row names with a Maglev table ([`netpol_common::logic::ring`]), behind the
    /// backends that it is of.
    WriteRing {
        /// Which arena.
        v4: bool,
        /// First row of the table.
        base: u32,
        /// The table.
        words: Vec<u64>,
    },
    /// Points a service at a range: one store, the whole swap.
    PutService(u32, ServiceRow),
    /// Lets a backend go on answering for a Service's port.
    PutMember(Member),
    /// A backend no longer answers: what depends on it chooses again.
    DeleteMember(Member),
    /// Lets a prefix in.
    PutRange(SourceRange),
    /// Lets a prefix in no more.
    DeleteRange(SourceRange),
    /// Says that a prefix's addresses are Services', whether they have one or not.
    PutServiceNet(IpNet),
    /// Forgets such a prefix.
    DeleteServiceNet(IpNet),
    /// Says who in the cluster an address is.
    PutCluster(IpAddr, ClusterRow),
    /// Forgets such an address.
    DeleteCluster(IpAddr),
    /// Verdicts are about to alter: until the epoch advances, every new connection asks the tables.
    BeginChange,
    /// Has every established connection judged again at its next packet.
    AdvanceEpoch,
    /// Returns when no packet can still be reading what was replaced before. Follows deletions from the service tables,
    /// before ranges and rows are used again.
    AwaitGrace,
}
