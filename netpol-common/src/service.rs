//! Services: frontend → service row → backends in an arena.

use bytemuck::{Pod, Zeroable};

use crate::{
    logic::ring,
    net::{Be16, V4, V6},
};

/// Key of `np_fe4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FrontendKey4 {
    /// Service address.
    pub addr: V4,
    /// Service port.
    pub port: Be16,
    /// TCP, UDP or SCTP.
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
    /// TCP, UDP or SCTP.
    pub proto: u8,
    /// Always 0.
    pub pad: u8,
}

/// Value of `np_fe4` and `np_fe6`. The row of port 0 and protocol 0 stands for the whole address, see [`flags::WHOLE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FrontendRow {
    /// Number of the Service's port in this family: all ways into it (cluster address, node port, load balancer) have the
    /// same. Connections, affinity, members and source ranges name it.
    pub svc: u32,
    /// Row of `np_svc` for clients within the cluster: pods, and the nodes themselves.
    pub near: u32,
    /// Row of `np_svc` for clients from outside.
    pub far: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// How long a client keeps its backend after its last packet, in seconds (`sessionAffinityConfig.clientIP`); 0: each
    /// connection is balanced by itself.
    pub affinity: u32,
}

/// Bits of [`FrontendRow::flags`].
pub mod flags {
    /// A way in from outside: node port, load balancer address or external address.
    pub const EXTERNAL: u32 = 1;
    /// Clients from outside keep their address, and only backends of this node answer them
    /// (`externalTrafficPolicy: Local`).
    pub const KEEP_SOURCE: u32 = 1 << 1;
    /// Only clients in the Service's source ranges (`np_range4/6`) are let in.
    pub const SOURCE_RANGES: u32 = 1 << 2;
    /// With [`SOURCE_RANGES`]: this node is one of them.
    pub const NODE_IN_RANGES: u32 = 1 << 5;
    /// A whole address of Services, not one of its ports: what no other row names is refused.
    pub const WHOLE: u32 = 1 << 3;
    /// The same client gets the same backend on every node, also in the middle of a TCP connection that this node does not
    /// know.
    pub const MAGLEV: u32 = 1 << 4;
}

/// Key of `np_member4`: a backend that may keep answering for a Service's port, ready or about to end. There are rows for
/// UDP ports and for ports with affinity: nobody else asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct MemberKey4 {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// Pod address.
    pub addr: V4,
    /// Pod port.
    pub port: Be16,
    /// Always 0.
    pub pad: u16,
}

/// Key of `np_member6`, see [`MemberKey4`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct MemberKey6 {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// Pod address.
    pub addr: V6,
    /// Pod port.
    pub port: Be16,
    /// Always 0.
    pub pad: u16,
}

/// Key of `np_aff4`, and the data of a key of `np_range4`: a Service's port and an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ClientKey4 {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// Address of a client; in `np_range4` a prefix of it.
    pub addr: V4,
}

/// Key of `np_aff6`, and the data of a key of `np_range6`, see [`ClientKey4`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ClientKey6 {
    /// [`FrontendRow::svc`]
    pub svc: u32,
    /// Address of a client; in `np_range6` a prefix of it.
    pub addr: V6,
}

/// Value of `np_aff4` and `np_aff6`: who answered this client last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct AffinityRow {
    /// The backend's address, see [`Address::to_words`](crate::net::Address::to_words).
    pub addr: [u32; 4],
    /// The backend's port.
    pub port: Be16,
    /// Always 0.
    pub pad: u16,
    /// Low 32 bits of the kernel's jiffies at the last use.
    pub last_used: u32,
}

/// Value of `np_svc`: a range of the arena, in one number so that one aligned 8-byte store replaces all backends of a
/// service. Backends on this node come first; they, and the others behind them, are each in the order of
/// [`logic::backends::order`](crate::logic::backends::order). Behind them may lie a Maglev table
/// ([`logic::ring`](crate::logic::ring)), which changes with them. An empty range says what becomes of its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ServiceRow(pub u64);

impl ServiceRow {
    /// Most backends of one service, and of them on this node.
    pub const MAX_BACKENDS: u32 = (1 << 19) - 1;
    /// The arena's last possible row.
    pub const MAX_BASE: u32 = (1 << 24) - 1;
    /// Nobody answers: clients are refused at once.
    pub const REFUSE: Self = Self(0);
    /// Nobody answers on this node, and somebody does on another: packets are dropped without an answer
    /// (`internalTrafficPolicy` or `externalTrafficPolicy` is `Local`).
    pub const DROP: Self = Self(1 << 40);
    /// A Maglev table lies behind the backends.
    const RING: u64 = 1 << 39;

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
    /// The same range, with a Maglev table behind the backends; `None` if there are more of them than slots.
    #[must_use]
    pub const fn with_ring(self) -> Option<Self> {
        if self.n_all() > ring::SLOTS { None } else { Some(Self(self.0 | Self::RING)) }
    }
    /// The same range, for who chooses at random.
    #[must_use]
    #[inline(always)]
    pub const fn without_ring(self) -> Self {
        Self(self.0 & !Self::RING)
    }
    /// Whether a Maglev table lies behind the backends.
    #[must_use]
    #[inline(always)]
    pub const fn has_ring(self) -> bool {
        self.0 & Self::RING != 0
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

const _: () = {
    assert!(size_of::<FrontendRow>() == 20 && size_of::<AffinityRow>() == 24);
    assert!(size_of::<MemberKey4>() == 12 && size_of::<MemberKey6>() == 24);
};
