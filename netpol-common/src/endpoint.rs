//! A pod's interface on this node.

use bytemuck::{Pod, Zeroable};

use crate::policy::SlotId;

/// Value of `np_ep`, keyed by the interface index of the host side. No row means: pending, closed.
/// An interface that leads to no pod has a row in `np_nopod` instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct EndpointRow {
    /// Rules for what the pod receives; [`SlotId::NONE`] unless isolated.
    pub slot_in: SlotId,
    /// Rules for what the pod sends; [`SlotId::NONE`] unless isolated.
    pub slot_out: SlotId,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Interface index of the bridge that the interface is a port of, 0 if none.
    pub master: u32,
}

/// Bits of [`EndpointRow::flags`].
pub mod flags {
    /// The pod's policy is in place. Without it everything but ARP, ND and DHCP is dropped as pending.
    pub const READY: u32 = 1;
    /// At least one policy selects the pod for ingress: default deny.
    pub const ISOLATED_IN: u32 = 1 << 1;
    /// At least one policy selects the pod for egress: default deny.
    pub const ISOLATED_OUT: u32 = 1 << 2;
    /// `slot_in` has a row for [`ClassId::ANY`](crate::policy::ClassId::ANY).
    pub const ANY_IN: u32 = 1 << 3;
    /// `slot_out` has a row for [`ClassId::ANY`](crate::policy::ClassId::ANY).
    pub const ANY_OUT: u32 = 1 << 4;
    /// The peer of the interface lies in another network namespace and can be redirected to.
    pub const FAST_PATH: u32 = 1 << 5;
    /// The pod ran before the programs were attached: its TCP connections from before have no entries yet, so that segments
    /// without one are judged both ways.
    pub const ADOPTING: u32 = 1 << 6;
    /// `slot_in` is of policies that are being tried: what it does not allow is told of and passes.
    pub const AUDIT_IN: u32 = 1 << 7;
    /// The same of `slot_out`.
    pub const AUDIT_OUT: u32 = 1 << 8;
}
