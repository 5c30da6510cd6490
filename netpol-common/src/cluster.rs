//! Who in the cluster an address is, for packets that nodes send on to each other as they are (`--external-mode=dsr`).

use bytemuck::{Pod, Zeroable};

use crate::net::{V4, V6};

/// What an address is: `kind` of a row.
pub mod kind {
    /// Nobody's: what stands for the kind of an address without a row.
    pub const NOBODY: u32 = 0;
    /// Another node's: its encapsulated packets are taken.
    pub const NODE: u32 = 1;
    /// A pod's of another node: as a backend it is sent encapsulated packets, as a client it is none from outside.
    pub const POD: u32 = 2;
    /// This node's: the row of the address `0.0.0.0` or `::`, which is there if and only if this node encapsulates.
    pub const OWN: u32 = 3;
    /// A pod's of this node: encapsulated packets for it are taken.
    pub const HERE: u32 = 4;
}

/// Value of `np_cluster4`, keyed by [`V4`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ClusterRow4 {
    /// One of [`kind`].
    pub kind: u32,
    /// [`kind::NODE`]: the address of this node that has the same node ports, 0.0.0.0 without one. [`kind::OWN`]: the address that this
    /// node sends encapsulated packets from. Else 0.0.0.0.
    pub addr: V4,
}

/// Value of `np_cluster6`, keyed by [`V6`]. See [`ClusterRow4`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ClusterRow6 {
    /// One of [`kind`].
    pub kind: u32,
    /// As [`ClusterRow4::addr`], or `::`.
    pub addr: V6,
}

const _: () = assert!(size_of::<ClusterRow4>() == 8 && size_of::<ClusterRow6>() == 20);
