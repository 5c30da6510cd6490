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

/// Key of `np_frag6` (RFC 8200 §4.5: source, destination and identification name a datagram, whatever a later fragment says of
/// its protocol).
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
}

/// Value of `np_frag4` and `np_frag6`: what the first fragment said. That it was let through is not among it: every fragment
/// is judged by itself, with these ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FragRow {
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Bytes of the datagram that it held: the others begin behind them.
    pub len: u16,
    /// Protocol.
    pub proto: u8,
    /// Always 0.
    pub pad: u8,
}

const _: () =
    assert!(size_of::<FragKey4>() == 20 && size_of::<FragKey6>() == 40 && size_of::<FragRow>() == 8);
