//! Interfaces whose frames are seen before the kernel has a buffer for them (XDP).

use bytemuck::{Pod, Zeroable};

/// By the driver: frames of other interfaces can be sent out by it.
pub const NATIVE: u32 = 1;
/// By the kernel, for drivers that cannot: its frames can be sent out by any other interface.
pub const GENERIC: u32 = 2;

/// Value of `np_wire`, keyed by interface index. An interface without a row has no such program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct WireRow {
    /// [`NATIVE`] or [`GENERIC`].
    pub mode: u32,
    /// Its MAC address: frames for others, which it sees where a switch does not know better, are theirs.
    pub mac: [u8; 6],
    /// Always 0.
    pub pad: [u8; 2],
}

const _: () = assert!(size_of::<WireRow>() == 12);
