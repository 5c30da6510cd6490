//! Later fragments carry no ports: the first one leaves them here.

use bytemuck::{Pod, Zeroable};

use crate::net::{Be16, V4, V6};

/// Key of `np_frag4` (RFC 791: source, destination, protocol and identification name a datagram). The interface is a
/// part of it, so that no pod lends its ports to another's fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FragKey4 {
    /// Source address.
    pub src: V4,
    /// Destination address.
    pub dst: V4,
    /// Identification, as it lies.
    pub id: u32,
    /// Interface index of the hook.
    pub ifindex: u32,
    /// Protocol of the datagram.
    pub proto: u32,
}

/// Key of `np_frag6` (RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FragKey6 {
    /// Source address.
    pub src: V6,
    /// Destination address.
    pub dst: V6,
    /// Identification, as it lies.
    pub id: u32,
    /// Interface index of the hook.
    pub ifindex: u32,
    /// Protocol of the datagram.
    pub proto: u32,
}

/// Value of `np_frag4` and `np_frag6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FragRow {
    /// Source port of the first fragment.
    pub sport: Be16,
    /// Destination port of the first fragment.
    pub dport: Be16,
}
