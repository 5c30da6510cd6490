//! From objects to rows: what is wanted of each map.
//!
//! Work is in proportion to what changed: [`Compiler::update`] looks at what the index calls dirty, and at what that
//! concerns, and touches only rows that may differ.

mod balanced;
mod blocks;
mod choice;
mod classes;
mod cluster;
mod collision;
mod concerned;
mod desired;
mod endpoints;
mod feature;
mod features;
mod health;
mod ids;
mod policies;
mod ports;
mod ring;
mod rule;
mod selectors;
mod services;
mod slot;
#[cfg(test)]
mod tests;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

pub use balanced::{Backends, Balanced, PortOfService, View, Way, WayKind};
pub use collision::Collision;
use collision::Collisions;
use concerned::Concerned;
pub use desired::{Desired, Table};
use features::{ClassContent, Features};
pub use health::HealthCheck;
use ids::Ids;
use ipnet::IpNet;
use netpol_common::policy::{ClassId, RuleId, SlotId};
pub use policies::{RuleName, SlotName};
pub use ring::ring;

use crate::{
    dataplane::{ClusterRow, Frontend},
    index::{Dirty, Index},
    model::{Name, Pod, Policy},
};

/// Turns objects into rows, and remembers enough to do so piecemeal.
#[derive(Debug)]
pub struct Compiler {
    ids: Ids,
    collisions: Collisions,
    policies: BTreeMap<Name, policies::PolicyEntry>,
    /// Namespaces with a pod on this node.
    inhabited: BTreeSet<Arc<str>>,
    /// Policies that do not fit, with their last good revision if there was one.
    held_back: BTreeMap<Name, Option<Arc<Policy>>>,
    endpoints: BTreeMap<Name, endpoints::CompiledEndpoint>,
    slots: BTreeMap<SlotId, slot::Slot>,
    classes: BTreeMap<ClassId, classes::Class>,
    features: Features,
    /// Who had an address last.
    owners: BTreeMap<IpAddr, Arc<Pod>>,
    /// Classes of addresses with a row in `np_peer`.
    peers: BTreeMap<IpAddr, ClassId>,
    /// Classes of prefixes with a row in `np_cidr`.
    prefixes: BTreeMap<IpNet, ClassId>,
    port_sets: ports::PortSets,
    frontends: services::Frontends,
    checks: health::Checks,
    /// Rows of nodes in `np_cluster`.
    nodes: BTreeMap<IpAddr, ClusterRow>,
    rule_names: Table<RuleId, RuleName>,
    slot_names: Table<SlotId, SlotName>,
    desired: Desired,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::with_ids(Ids { mask: u64::MAX })
    }
}

impl Compiler {
    fn with_ids(ids: Ids) -> Self {
        Self {
            ids,
            collisions: Collisions::default(),
            policies: BTreeMap::new(),
            inhabited: BTreeSet::new(),
            held_back: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            slots: BTreeMap::new(),
            classes: BTreeMap::new(),
            features: Features::default(),
            owners: BTreeMap::new(),
            peers: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            port_sets: ports::PortSets::default(),
            frontends: services::Frontends::default(),
            checks: health::Checks::default(),
            nodes: BTreeMap::new(),
            rule_names: Table::default(),
            slot_names: Table::default(),
            desired: Desired::default(),
        }
    }

    /// Brings the rows up to date with the index.
    pub fn update(&mut self, index: &Index, dirty: Dirty) {
        let Dirty { pods, addresses, policies, services, service_nets, nodes } = dirty;
        let mut concerned = Concerned::new(addresses);
        let claimed = pods.iter().filter_map(|name| index.pod(name)).filter(|pod| pod.policed());
        concerned.addresses.extend(claimed.flat_map(|pod| pod.addresses.iter().copied()));

        let mut endpoints = pods;
        for name in &policies {
            self.compile_policy(name, index);
            endpoints.extend(self.endpoints_in(&name.namespace));
        }
        let fresh_slots = self.compile_endpoints(&endpoints, index, &mut concerned);
        concerned.find(index);
        self.classify(&concerned, index);
        self.compile_cluster(&concerned, nodes, index);
        for slot in fresh_slots {
            self.fill_slot(slot);
        }
        for name in &services {
            self.compile_service(name, index);
            self.compile_checks(name, index);
        }
        if service_nets {
            let nets: BTreeSet<IpNet> = index.service_nets().collect();
            let gone: Vec<IpNet> =
                self.desired.service_nets.rows().keys().filter(|net| !nets.contains(net)).copied().collect();
            gone.into_iter().for_each(|net| self.desired.service_nets.set(net, None));
            nets.into_iter().for_each(|net| self.desired.service_nets.set(net, Some(())));
        }
    }

    /// The rows that are wanted.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }
    /// The rows that are wanted, so that what was touched can be taken.
    pub fn desired_mut(&mut self) -> &mut Desired {
        &mut self.desired
    }
    /// The rules in force by number.
    pub fn rule_names(&mut self) -> &mut Table<RuleId, RuleName> {
        &mut self.rule_names
    }
    /// The slots in force by number.
    pub fn slot_names(&mut self) -> &mut Table<SlotId, SlotName> {
        &mut self.slot_names
    }
    /// Why the rows must not be written.
    #[must_use]
    pub fn collision(&self) -> Option<&Collision> {
        self.collisions.first.as_ref()
    }
    /// Frontends that several Services claim, and those who do not get them.
    pub fn contested(&self) -> impl Iterator<Item = (Frontend, WayKind, &Name)> {
        self.frontends.contested()
    }
}
