//! From what is wanted and what is there to an ordered list of operations.
//!
//! The order is the point: whoever stops between any two operations leaves each pod and each service in its old or its
//! new state. `docs/adr/0021-change-of-policy.md` says why the order does that.

mod arena;
mod capacity;
mod grace;
mod join;
mod numbers;
mod policy;
mod services;
mod track;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    peer::{CidrRow, PeerRow},
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, RuleId},
};
use track::Track;

use crate::{
    compile::{Balanced, Collision, Desired, PortOfService, Way},
    dataplane::{Capacity, Frontend, Op, RowCounts, Rows, by_family},
    model::Name,
};

/// What to do next.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// To be carried out in this order.
    pub ops: Vec<Op>,
    /// So many of them put in force what is wanted. The rest begins with [`Op::AwaitGrace`], takes away what nothing names any more, and can be
    /// put off: nothing of another plan depends on it.
    pub in_force: usize,
    /// Parts of the dataplane that stay as they are because what is wanted does not fit or contradicts itself. Asked
    /// for again, the same refusal returns until something changes.
    pub refusals: Vec<Refusal>,
}

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Planned {
    /// What can be done.
    pub plan: Plan,
    /// Why the policy tables stay as they are: not among [`Plan::refusals`].
    pub refused: Option<Refusal>,
}

/// A map is too small.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{map} has room for {capacity} rows, {need} are needed")]
pub struct Shortage {
    /// The map.
    pub map: &'static str,
    /// Rows at the peak of the change.
    pub need: usize,
    /// Rows that fit.
    pub capacity: usize,
}

/// Why a part of what is wanted is not written. The last good state stays in force.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// More rows than the map has room for, counting old ones that can only be removed after new ones are in place.
    #[error("{map} has room for {capacity} rows, {need} are needed")]
    Capacity {
        /// The map.
        map: &'static str,
        /// Rows at the peak of the change.
        need: usize,
        /// Rows that fit.
        capacity: usize,
    },
    /// A policy asks for more rows than there is room for.
    #[error(
        "NetworkPolicy {policy} does not fit: {shortage}; its last good revision stays in force, and what it newly \
         selects is isolated"
    )]
    Policy {
        /// The policy.
        policy: Name,
        /// What it needs.
        shortage: Shortage,
    },
    /// A port of a Service asks for more rows than there is room for.
    #[error("Service {port} does not fit: {shortage}; it stays as it was")]
    Service {
        /// The port.
        port: PortOfService,
        /// What it needs.
        shortage: Shortage,
    },
    /// There is no room for the row that stands for a whole cluster address of a Service.
    #[error(
        "the Service address {addr} as a whole does not fit: {shortage}; ports that are not its Service's are not refused"
    )]
    Address {
        /// The address.
        addr: IpAddr,
        /// What it needs.
        shortage: Shortage,
    },
    /// A prefix of a ServiceCIDR asks for more rows than there is room for.
    #[error(
        "the ServiceCIDR {net} does not fit: {shortage}; its addresses that no Service has are like any others"
    )]
    ServiceNet {
        /// The prefix.
        net: IpNet,
        /// What it needs.
        shortage: Shortage,
    },
    /// There is no room for the row of an address of the cluster; further ones are not named.
    #[error(
        "the address {addr} of a node or pod of the cluster does not fit: {shortage}; what a node sends on from it is not taken, a \
         backend there is not sent anything on, and a pod there may not reach other nodes' node ports"
    )]
    Cluster {
        /// The address.
        addr: IpAddr,
        /// What it needs.
        shortage: Shortage,
    },
    /// Two contents have one number.
    #[error(transparent)]
    Collision(Collision),
}

impl From<Shortage> for Refusal {
    fn from(Shortage { map, need, capacity }: Shortage) -> Self {
        Self::Capacity { map, need, capacity }
    }
}

impl Refusal {
    /// The map that is too small, if that is why.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Capacity { map, need, capacity } => {
                Some(Shortage { map, need: *need, capacity: *capacity })
            }
            Self::Policy { shortage, .. }
            | Self::Service { shortage, .. }
            | Self::Address { shortage, .. }
            | Self::ServiceNet { shortage, .. }
            | Self::Cluster { shortage, .. } => Some(*shortage),
            Self::Collision(_) => None,
        }
    }
}

/// Knows what is there, and plans the way to what is wanted.
#[derive(Debug)]
pub struct Planner {
    capacity: Capacity,
    ports: Track<PortKey, RuleId>,
    policy: Track<PolicyKey, PolicyRow>,
    cidrs: Track<IpNet, CidrRow>,
    peers: Track<IpAddr, PeerRow>,
    endpoints: Track<u32, EndpointRow>,
    services: services::Services,
    /// How many addresses and prefixes have a class.
    class_uses: BTreeMap<ClassId, usize>,
    /// Something that can alter a verdict was done since the epoch was advanced.
    epoch_owed: bool,
    /// Addresses have moved since the last grace period: packets may still hold the classes of before.
    classes_in_flight: bool,
}

impl Planner {
    /// On a dataplane that holds `actual`.
    #[must_use]
    pub fn new(capacity: Capacity, actual: Rows) -> Self {
        let mut class_uses = BTreeMap::new();
        let of_peers = actual.peers.values().map(|row| row.class);
        for class in of_peers.chain(actual.cidrs.values().map(|row| row.class)) {
            *class_uses.entry(class).or_default() += 1;
        }
        let services = services::Services::new(&capacity, &actual);
        let Rows { ports, policy, cidrs, peers, endpoints, .. } = actual;
        Self {
            capacity,
            ports: Track::new(ports),
            policy: Track::new(policy),
            cidrs: Track::new(cidrs),
            peers: Track::new(peers),
            endpoints: Track::new(endpoints),
            services,
            class_uses,
            epoch_owed: false,
            // Of whoever wrote before.
            classes_in_flight: true,
        }
    }

    /// What to do about the difference; empty when there is none.
    pub fn plan(&mut self, desired: &mut Desired, collision: Option<&Collision>) -> Planned {
        self.ports.touch(desired.ports.take_touched());
        self.policy.touch(desired.policy.take_touched());
        self.cidrs.touch(desired.cidrs.take_touched());
        self.peers.touch(desired.peers.take_touched());
        self.endpoints.touch(desired.endpoints.take_touched());
        self.services.touch(desired);

        let mut plan = Plan::default();
        let mut refused = None;
        let policy = match collision {
            Some(collision) => Err(Refusal::Collision(collision.clone())),
            None => self.plan_policy(desired),
        };
        let policy = match policy {
            Ok(steps) => {
                desired.passed_on.clear();
                steps
            }
            Err(refusal) => {
                refused = Some(refusal);
                self.withdraw(desired)
            }
        };
        plan.refusals.extend(policy.left_out);
        let services = self.services.plan(desired);
        plan.refusals.extend(services.refusals);

        let ops = &mut plan.ops;
        ops.extend(policy.change);
        let alters = ops.iter().chain(&services.ops).any(|op| self.alters_verdicts(op));
        // Behind what says who the backends are, and before a pod that is opened could send to a Service's address as if it
        // were any other.
        let opening = ops.iter().position(|op| matches!(op, Op::PutEndpoint(..))).unwrap_or(ops.len());
        ops.splice(opening..opening, services.ops);
        if alters {
            ops.insert(0, Op::BeginChange);
        }
        if self.epoch_owed || alters {
            ops.push(Op::AdvanceEpoch);
        }
        if !policy.settle.is_empty() {
            ops.extend([Op::AwaitGrace, Op::BeginChange]);
            ops.extend(policy.settle);
            ops.push(Op::AdvanceEpoch);
        }
        let retires = services.retires || self.services.in_quarantine();
        // The next change of policy counts on it that no packet holds a class from before this one, and what has found no room waits for
        // what is taken away.
        let counted_on = policy.turns || !policy.sweep.is_empty() || services.waits || refused.is_some();
        let sweeps = !policy.sweep.is_empty() || !services.sweep.is_empty();
        plan.in_force = ops.len();
        if sweeps || retires || policy.turns {
            ops.push(Op::AwaitGrace);
            ops.extend(policy.sweep);
            ops.extend(services.sweep);
            if counted_on {
                plan.in_force = ops.len();
            }
        }
        Planned { plan, refused }
    }

    /// What to do before everything is known: nothing but the closing of interfaces that are gone, because their
    /// numbers may come back as somebody else's.
    pub fn plan_unsynced(&mut self, gone: impl IntoIterator<Item = u32>) -> Plan {
        let known = gone.into_iter().filter(|ifindex| self.endpoints.actual().contains_key(ifindex));
        let mut ops: Vec<Op> = known.map(Op::DeleteEndpoint).collect();
        if !ops.is_empty() {
            ops.insert(0, Op::BeginChange);
        }
        Plan { in_force: ops.len(), ops, refusals: Vec::new() }
    }

    /// An operation was carried out.
    pub fn applied(&mut self, op: &Op) {
        self.epoch_owed |= self.alters_verdicts(op);
        match op {
            Op::PutCidr(..) | Op::DeleteCidr(_) | Op::PutPeer(..) | Op::DeletePeer(_) => {
                self.classes_in_flight = true
            }
            Op::AwaitGrace => self.classes_in_flight = false,
            _ => {}
        }
        match op {
            Op::PutPort(key, rule) => drop(self.ports.put(*key, *rule)),
            Op::DeletePort(key) => drop(self.ports.delete(key)),
            Op::PutPolicy(key, row) => drop(self.policy.put(*key, *row)),
            Op::DeletePolicy(key) => drop(self.policy.delete(key)),
            Op::PutCidr(prefix, row) => {
                let old = self.cidrs.put(*prefix, *row);
                self.count_class(old.map(|old| old.class), Some(row.class));
            }
            Op::DeleteCidr(prefix) => {
                let old = self.cidrs.delete(prefix);
                self.count_class(old.map(|old| old.class), None);
            }
            Op::PutPeer(addr, row) => {
                let old = self.peers.put(*addr, *row);
                self.count_class(old.map(|old| old.class), Some(row.class));
            }
            Op::DeletePeer(addr) => {
                let old = self.peers.delete(addr);
                self.count_class(old.map(|old| old.class), None);
            }
            Op::PutEndpoint(ifindex, row) => drop(self.endpoints.put(*ifindex, *row)),
            Op::DeleteEndpoint(ifindex) => drop(self.endpoints.delete(ifindex)),
            Op::PutFrontend(..)
            | Op::DeleteFrontend(_)
            | Op::WriteBackends { .. }
            | Op::WriteRing { .. }
            | Op::PutService(..)
            | Op::PutMember(_)
            | Op::DeleteMember(_)
            | Op::PutRange(_)
            | Op::DeleteRange(_)
            | Op::PutServiceNet(_)
            | Op::DeleteServiceNet(_)
            | Op::PutCluster(..)
            | Op::DeleteCluster(_)
            | Op::AwaitGrace => self.services.applied(op),
            Op::BeginChange => {}
            Op::AdvanceEpoch => self.epoch_owed = false,
        }
    }

    /// Whether a connection that was judged before an operation may be judged otherwise after it.
    fn alters_verdicts(&self, op: &Op) -> bool {
        match op {
            Op::PutPolicy(key, row) => self.policy.actual().get(key).is_some_and(|old| old != row),
            Op::PutCidr(..) | Op::DeleteCidr(_) | Op::PutPeer(..) | Op::DeletePeer(_) => true,
            Op::PutEndpoint(..) | Op::DeleteEndpoint(_) => true,
            Op::PutFrontend(..) | Op::DeleteFrontend(_) => self.services.alters(op),
            Op::PutPort(..) | Op::DeletePort(_) | Op::DeletePolicy(_) => false,
            Op::DeleteMember(_) | Op::DeleteRange(_) => self.services.alters(op),
            Op::PutService(..)
            | Op::PutMember(_)
            | Op::PutRange(_)
            | Op::PutServiceNet(_)
            | Op::DeleteServiceNet(_)
            | Op::PutCluster(..)
            | Op::DeleteCluster(_) => false,
            Op::WriteBackends { .. } | Op::WriteRing { .. } => false,
            Op::BeginChange | Op::AdvanceEpoch | Op::AwaitGrace => false,
        }
    }

    fn count_class(&mut self, old: Option<ClassId>, new: Option<ClassId>) {
        if let Some(class) = new {
            *self.class_uses.entry(class).or_default() += 1;
        }
        if let Some(class) = old
            && let std::collections::btree_map::Entry::Occupied(mut uses) = self.class_uses.entry(class)
        {
            *uses.get_mut() -= 1;
            if *uses.get() == 0 {
                uses.remove();
            }
        }
    }

    /// What is there, as far as the planner was told.
    #[must_use]
    pub fn actual(&self) -> Rows {
        let mut rows = self.services.rows();
        rows.ports.clone_from(self.ports.actual());
        rows.policy.clone_from(self.policy.actual());
        rows.cidrs.clone_from(self.cidrs.actual());
        rows.peers.clone_from(self.peers.actual());
        rows.endpoints.clone_from(self.endpoints.actual());
        rows
    }

    /// How many rows are there, as far as the planner was told.
    #[must_use]
    pub fn row_counts(&self) -> RowCounts {
        RowCounts {
            ports: self.ports.actual().len(),
            policy: self.policy.actual().len(),
            cidrs: by_family(self.cidrs.actual().keys().map(|net| net.addr().is_ipv4())),
            peers: by_family(self.peers.actual().keys().map(|addr| addr.is_ipv4())),
            endpoints: self.endpoints.actual().len(),
            ..self.services.row_counts()
        }
    }

    /// The row of an interface that is there.
    #[must_use]
    pub fn endpoint(&self, ifindex: u32) -> Option<&EndpointRow> {
        self.endpoints.actual().get(&ifindex)
    }

    /// Whether a way into a Service is there as it is wanted, with the backends that are wanted.
    #[must_use]
    pub fn serves(&self, frontend: &Frontend, way: &Way, wanted: &Balanced) -> bool {
        self.services.serves(frontend, way, wanted)
    }
}
