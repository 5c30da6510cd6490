use std::net::IpAddr;

use netpol_common::policy::{RuleId, SlotId};

use super::view::{Identity, PodRef, RuleRef, SlotRef};

/// Puts names to the numbers in events and connections. What was removed stays known for a while: the last
/// [`Attribution::KEPT`] of each kind, because records arrive after the change that ended what they name.
#[derive(Debug, Default)]
pub struct Attribution {}

impl Attribution {
    /// Removed names that stay resolvable, per kind.
    pub const KEPT: usize = 4096;

    /// The rule behind a number; `None` for the constants of [`RuleId`] and for numbers forgotten long ago.
    #[must_use]
    pub fn rule(&self, _id: RuleId) -> Option<&RuleRef> {
        None
    }
    /// The policies behind a slot.
    #[must_use]
    pub fn slot(&self, _id: SlotId) -> Option<&SlotRef> {
        None
    }
    /// The pod behind an interface of this node.
    #[must_use]
    pub fn interface(&self, _ifindex: u32) -> Option<&PodRef> {
        None
    }
    /// Who has an address.
    #[must_use]
    pub fn address(&self, _addr: IpAddr) -> Option<&Identity> {
        None
    }
}
