//! Services: frontend → service row → backends in an arena.

use bytemuck::{Pod, Zeroable};

use crate::net::{Be16, V4, V6};

/// Key of `np_fe4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FrontendKey4 {
    /// Service address.
    pub addr: V4,
    /// Service port.
    pub port: Be16,
    /// TCP or UDP.
    pub proto: u8,
    /// Always 0.
    pub pad: u8,
}

/// Key of `np_fe6`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FrontendKey6 {
    /// Service address.
    pub addr: V6,
    /// Service port.
    pub port: Be16,
    /// TCP or UDP.
    pub proto: u8,
    /// Always 0.
    pub pad: u8,
}

/// Value of `np_fe4` and `np_fe6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FrontendRow {
    /// Row of `np_svc`.
    pub svc: u32,
    /// Reserved, 0.
    pub flags: u32,
}

/// Value of `np_svc`: a range of the arena, in one number so that one aligned 8-byte store replaces all backends of a
/// service. Backends on this node come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ServiceRow(pub u64);

impl ServiceRow {
    /// Most backends of one service, and of them on this node.
    pub const MAX_BACKENDS: u32 = (1 << 20) - 1;
    /// The arena's last possible row.
    pub const MAX_BASE: u32 = (1 << 24) - 1;

    /// `None` if a number does not fit its bits or `n_local` exceeds `n_all`.
    #[must_use]
    pub const fn new(base: u32, n_local: u32, n_all: u32) -> Option<Self> {
        if base > Self::MAX_BASE || n_all > Self::MAX_BACKENDS || n_local > n_all {
            return None;
        }
        Some(Self((base as u64) << 40 | (n_local as u64) << 20 | n_all as u64))
    }
    /// First row of the range.
    #[must_use]
    #[inline(always)]
    pub const fn base(self) -> u32 {
        (self.0 >> 40) as u32
    }
    /// Backends on this node.
    #[must_use]
    #[inline(always)]
    pub const fn n_local(self) -> u32 {
        (self.0 >> 20) as u32 & Self::MAX_BACKENDS
    }
    /// All backends.
    #[must_use]
    #[inline(always)]
    pub const fn n_all(self) -> u32 {
        self.0 as u32 & Self::MAX_BACKENDS
    }
    /// The arena row that a random number picks among all backends; `None` without any.
    #[must_use]
    #[inline(always)]
    pub const fn pick(self, random: u32) -> Option<u32> {
        let n = self.n_all();
        if n == 0 {
            return None;
        }
        // The high half of a product spreads as a remainder does, without a division.
        Some(self.base() + ((random as u64 * n as u64) >> 32) as u32)
    }
}

/// One backend; read in a single 8-byte load.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Backend4 {
    /// Pod address.
    pub addr: V4,
    /// Pod port.
    pub port: Be16,
    /// Always 0.
    pub pad: u16,
}

/// One backend. A range is never written while a service row names it, so that no reader sees half a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Backend6 {
    /// Pod address.
    pub addr: V6,
    /// Pod port.
    pub port: Be16,
    /// Always 0.
    pub pad: [u16; 3],
}
