use std::collections::{BTreeMap, BTreeSet};

use netpol_common::service::flags;

use super::Services;
use crate::{
    compile::{Balanced, PortOfService, View},
    dataplane::Frontend,
};

impl Services {
    /// Finds the Services of rows that an agent before this one wrote, by their ways in; what is nobody's is to go.
    pub(super) fn adopt(&mut self, desired: &BTreeMap<PortOfService, Box<Balanced>>) {
        if self.unowned.is_empty() && self.given.is_empty() {
            return;
        }
        let wanted =
            desired.iter().flat_map(|(port, wanted)| wanted.frontends().map(move |way| (*way, port)));
        let owners: BTreeMap<Frontend, &PortOfService> = wanted.collect();
        for (port, wanted) in desired {
            let known = wanted.frontends().filter_map(|way| self.frontends.get(way)).map(|row| row.svc);
            let known: Vec<u32> = known.filter(|svc| self.unowned.contains(svc)).collect();
            // A number that ways into another Service have stays with those: their sets are not to change with these.
            let free = |svc: &u32| {
                self.ways(*svc).all(|(way, _)| owners.get(&way).is_none_or(|owner| *owner == port))
            };
            let Some(svc) = known.into_iter().find(free) else { continue };
            self.unowned.remove(&svc);
            self.svc_of.insert(port.clone(), svc);
            self.recognise(svc, wanted);
        }
        self.orphans.append(&mut self.unowned);
        self.adopt_given(desired, &owners);
    }

    /// Finds the Services of numbers that only connections know. By the same rule: what remembers a number finds its port or nobody.
    fn adopt_given(
        &mut self,
        desired: &BTreeMap<PortOfService, Box<Balanced>>,
        owners: &BTreeMap<Frontend, &PortOfService>,
    ) {
        let given = std::mem::take(&mut self.given);
        let mut ports: BTreeMap<u32, BTreeSet<&PortOfService>> = BTreeMap::new();
        for (way, svc) in &given {
            ports.entry(*svc).or_default().extend(owners.get(way).copied());
        }
        for (port, wanted) in
            desired.iter().filter(|(port, _)| !self.svc_of.contains_key(port)).collect::<Vec<_>>()
        {
            let known = wanted.frontends().filter_map(|way| given.get(way));
            let alone = |svc: &&u32| ports.get(svc).is_some_and(|ports| ports.len() == 1);
            if let Some(svc) = known.copied().find(|svc| alone(&svc)) {
                ports.remove(&svc);
                self.svc_of.insert(port.clone(), svc);
            }
        }
        // Nobody has the others any more; they are given out again after all that were not.
        ports.into_keys().for_each(|svc| self.svcs.retire(svc));
        self.svcs.grace();
    }

    /// What the rows are for. Ways in from outside tell: within the cluster all backends answer them, and from outside their
    /// flag says which. Cluster addresses beside them name one of those rows, or one for themselves.
    fn recognise(&mut self, svc: u32, wanted: &Balanced) {
        let ways: Vec<_> = self.ways(svc).collect();
        for (_, row) in ways.iter().filter(|(_, row)| row.flags & flags::EXTERNAL != 0) {
            let far = if row.flags & flags::KEEP_SOURCE != 0 { View::Local } else { View::Cluster };
            self.mean(row.near, View::Cluster);
            self.mean(row.far, far);
        }
        for (way, row) in ways {
            if let Some(wanted) = wanted.way(&way) {
                self.mean(row.near, wanted.near);
                self.mean(row.far, wanted.far);
            }
        }
    }

    fn mean(&mut self, number: u32, view: View) {
        if let Some(meant) = self.meant.get_mut(&number) {
            meant.view.get_or_insert(view);
        }
    }
}
