//! The pure heart of the agent, in one type: `index → compile → plan`, driven from outside.

mod attribution;
mod detail;
mod hold;
mod services;
mod status;
pub mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use attribution::Attribution;
pub use detail::{Other, Refused};
use netpol_common::{endpoint::flags, names};

pub use crate::plan::{Plan, Refusal, Shortage};
use crate::{
    compile::Compiler,
    dataplane::{Capacity, Interface, Op, RowCounts, Rows},
    index::{Dirty, Index, ServiceSettings, Wired},
    model::{Converted, Mode, Name, Object, ObjectRef},
    plan::{Planned, Planner},
};

/// Holds what the cluster wants and what the dataplane has, and says what to do about the difference.
///
/// One task owns it: it feeds events, asks for a [`Plan`], carries out its operations one by one and reports each with
/// [`Engine::applied`], until a plan is empty. A failed operation is simply not reported: the next plan resumes from
/// what is there.
#[derive(Debug)]
pub struct Engine {
    index: Index,
    compiler: Compiler,
    planner: Planner,
    hold: hold::Hold,
    /// The last plan found no room for the rows of some pods, or left the policy tables as they are.
    refuses_endpoints: bool,
    attribution: Attribution,
    synced: bool,
    /// Services that were touched before everything was known.
    touched: BTreeSet<Name>,
    /// Interfaces that went before everything was known.
    gone: BTreeSet<u32>,
}

impl Engine {
    /// For the node called `node`, on a dataplane that holds `actual` and has room for `capacity`.
    #[must_use]
    pub fn new(node: &str, capacity: Capacity, actual: Rows) -> Self {
        let mut index = Index::new(node);
        for (ifindex, row) in &actual.endpoints {
            let isolates = |isolated: u32, audit: u32| row.flags & (isolated | audit) == isolated;
            let isolated = [
                isolates(flags::ISOLATED_IN, flags::AUDIT_IN),
                isolates(flags::ISOLATED_OUT, flags::AUDIT_OUT),
            ];
            index.inherit(*ifindex, isolated);
        }
        Self {
            index,
            compiler: Compiler::default(),
            planner: Planner::new(capacity, actual),
            hold: hold::Hold::default(),
            refuses_endpoints: false,
            attribution: Attribution::default(),
            synced: false,
            touched: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Settles what to do about Services.
    pub fn configure(&mut self, settings: ServiceSettings) {
        self.index.configure(settings);
    }

    /// Settles what becomes of what policies deny that say nothing of it, before the first object comes.
    pub fn set_mode(&mut self, mode: Mode) {
        self.index.set_mode(mode);
    }

    /// What [`Engine::set_mode`] has settled.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.index.mode()
    }

    /// What comes next is delivered at this time, in seconds since 1970. It tells a policy that was deleted with its
    /// namespace from one that was deleted long before.
    pub fn set_time(&mut self, now_s: i64) {
        self.index.set_time(now_s);
    }

    /// An object is there or has changed, as [`model::convert`](crate::model::convert) read it. One without a name is
    /// nobody's; its problems are the source's to report.
    pub fn apply(&mut self, converted: Converted) {
        let Some(object) = converted.object else { return };
        self.index.report(object.reference(), converted.problems);
        if let Object::Node(node) = &object {
            self.attribution.update_node(&node.name, Some(node));
        }
        self.index.apply(object);
    }

    /// See [`Index::is_news`].
    #[must_use]
    pub fn is_news(&self, converted: &Converted) -> bool {
        converted.object.as_ref().is_some_and(|object| self.index.is_news(object))
    }

    /// An object is gone.
    pub fn delete(&mut self, object: &ObjectRef) {
        if object.kind == "Node" {
            self.attribution.update_node(&object.name, None);
        }
        self.index.delete(object);
    }

    /// An interface was found, or its addresses have changed.
    pub fn interface_up(&mut self, interface: Interface) {
        self.gone.remove(&interface.ifindex);
        self.index.interface_up(interface);
    }

    /// An interface is gone.
    pub fn interface_gone(&mut self, ifindex: u32) {
        self.gone.insert(ifindex);
        self.index.interface_gone(ifindex);
    }

    /// The CNI plugin tells of a pod's interface.
    pub fn wire(&mut self, pod: &Name, wired: Wired) {
        self.index.wire(pod, wired);
    }

    /// The CNI plugin tells that a pod's interface is gone.
    pub fn unwire(&mut self, pod: &Name, attachment: &str) {
        self.index.unwire(pod, attachment);
    }

    /// Source and interfaces have been delivered once. Before, a plan contains nothing but the closing of interfaces.
    pub fn synced(&mut self) {
        if !self.synced {
            self.index.settle_inherited();
        }
        self.synced = true;
    }

    /// What to do next; empty when the dataplane holds what is wanted.
    pub fn plan(&mut self) -> Plan {
        let mut dirty = self.index.take_dirty();
        self.attribution.update(&self.index, &dirty);
        // Each pod and each slice that is read at first changes who answers for a Service, and none is written before all are read.
        self.touched.append(&mut dirty.services);
        if self.synced {
            dirty.services = std::mem::take(&mut self.touched);
        }
        for name in self.hold.begin(&dirty.policies, &self.compiler, &self.planner) {
            self.compiler.hold_back_no_more(&name);
            dirty.policies.insert(name);
        }
        self.compiler.update(&self.index, dirty);
        let plan = if self.synced {
            self.gone.clear();
            let mut plan = self.plan_what_fits();
            if !plan.refusals.is_empty() {
                // What is taken away may make room.
                plan.in_force = plan.ops.len();
            }
            plan
        } else {
            self.planner.plan_unsynced(self.gone.iter().copied())
        };
        self.attribution.update_numbers(&mut self.compiler);
        plan
    }

    /// Holds policies back until the rest fits. If they are not the reason, the policy tables stay as they are.
    fn plan_what_fits(&mut self) -> Plan {
        loop {
            let collision = self.compiler.collision().cloned();
            let Planned { mut plan, refused } =
                self.planner.plan(self.compiler.desired_mut(), collision.as_ref());
            let no_room = |r: &Refusal| r.shortage().is_some_and(|shortage| shortage.map == names::EP);
            self.refuses_endpoints = refused.is_some() || plan.refusals.iter().any(no_room);
            let Some(refusal) = refused else {
                self.hold.accepted();
                plan.refusals.extend(self.hold.refusals());
                return plan;
            };
            let next = match refusal.shortage() {
                Some(shortage) => self.hold.next(shortage, &self.index, &self.planner),
                None => Vec::new(),
            };
            if next.is_empty() {
                plan.refusals.push(refusal);
                plan.refusals.extend(self.hold.refusals());
                return plan;
            }
            let mut dirty = Dirty::default();
            for (name, last_good) in next {
                self.compiler.hold_back(name.clone(), last_good);
                dirty.policies.insert(name);
            }
            self.compiler.update(&self.index, dirty);
        }
    }

    /// The dataplane has carried out an operation of the last plan.
    pub fn applied(&mut self, op: &Op) {
        self.planner.applied(op);
    }

    /// Names for the numbers in events, as of the last plan.
    #[must_use]
    pub fn attribution(&self) -> &Attribution {
        &self.attribution
    }

    /// How many rows the dataplane holds, as far as the engine was told.
    #[must_use]
    pub fn row_counts(&self) -> RowCounts {
        self.planner.row_counts()
    }

    /// What the dataplane holds, as far as the engine was told. A copy: for who asks what is in force, not for counting it.
    #[must_use]
    pub fn actual(&self) -> Rows {
        self.planner.actual()
    }
}
