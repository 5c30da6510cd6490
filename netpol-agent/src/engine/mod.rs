//! The pure heart of the agent, in one type: `index → compile → plan`, driven from outside.

mod attribution;
pub mod view;

pub use attribution::Attribution;
use view::{EndpointView, PolicyView, ServiceView};

use crate::{
    dataplane::{Capacity, Interface, Op, Rows},
    model::{Converted, ObjectRef, Problem},
};

/// Holds what the cluster wants and what the dataplane has, and says what to do about the difference.
///
/// One task owns it: it feeds events, asks for a [`Plan`], carries out its operations one by one and reports each with
/// [`Engine::applied`], until a plan is empty. A failed operation is simply not reported: the next plan resumes from
/// what is there.
#[derive(Debug)]
pub struct Engine {
    attribution: Attribution,
}

/// What to do next.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// To be carried out in this order.
    pub ops: Vec<Op>,
    /// Parts of the dataplane that stay as they are because what is wanted does not fit or contradicts itself. Asked
    /// for again, the same refusal returns until something changes.
    pub refusals: Vec<Refusal>,
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
}

impl Engine {
    /// For the node called `node`, on a dataplane that holds `actual` and has room for `capacity`.
    #[must_use]
    pub fn new(_node: &str, _capacity: Capacity, _actual: Rows) -> Self {
        Self { attribution: Attribution::default() }
    }
    /// An object is there or has changed, as [`model::convert`](crate::model::convert) read it.
    pub fn apply(&mut self, _converted: Converted) {}
    /// An object is gone.
    pub fn delete(&mut self, _object: &ObjectRef) {}
    /// An interface was found, or its addresses have changed.
    pub fn interface_up(&mut self, _interface: Interface) {}
    /// An interface is gone.
    pub fn interface_gone(&mut self, _ifindex: u32) {}
    /// Source and interfaces have been delivered once. Before, a plan contains nothing but the closing of interfaces.
    pub fn synced(&mut self) {}
    /// What to do next; empty when the dataplane holds what is wanted.
    pub fn plan(&mut self) -> Plan {
        Plan::default()
    }
    /// The dataplane has carried out an operation of the last plan.
    pub fn applied(&mut self, _op: &Op) {}
    /// Names for the numbers in events.
    #[must_use]
    pub fn attribution(&self) -> &Attribution {
        &self.attribution
    }
    /// What the dataplane holds, as far as the engine was told.
    #[must_use]
    pub fn actual(&self) -> Rows {
        Rows::default()
    }
    /// The pods of this node and the interfaces without a pod.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        Vec::new()
    }
    /// The policies.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyView> {
        Vec::new()
    }
    /// The services.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceView> {
        Vec::new()
    }
    /// Everything a user must know about the objects in the index: what conversion found, and what only shows when
    /// objects meet (a policy that selects nothing). Computed at the call.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
