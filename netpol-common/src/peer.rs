//! Who an address is.

use bytemuck::{Pod, Zeroable};

use crate::policy::ClassId;

/// Value of `np_peer4` and `np_peer6`, keyed by address ([`V4`](crate::net::V4), [`V6`](crate::net::V6)). There is a
/// row for each address of a pod on this node, and for each other pod address that some selector of this node matches;
/// any other address is looked up in `np_cidr4/6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct PeerRow {
    /// What policies see in it (pod selectors and CIDR blocks alike).
    pub class: ClassId,
    /// Interface index of the host side if the address is a pod's of this node, else 0.
    pub ifindex: u32,
    /// Reserved, 0.
    pub flags: u32,
}

/// Value of `np_cidr4` and `np_cidr6` (longest prefix first), keyed by prefixes that policies of this node name.
/// An address that matches none has [`ClassId::ANY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct CidrRow {
    /// What policies see in an address of which this is the longest prefix.
    pub class: ClassId,
}
