//! Counters per drop reason and direction.

use bytemuck::{Pod, Zeroable};

use crate::{direction::Direction, reason};

/// One counter, per CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Counter {
    /// Packets (a GSO packet counts once).
    pub packets: u64,
    /// Bytes with their Ethernet header.
    pub bytes: u64,
}

/// Rows of the counter table: reasons × directions, then [`Extra`].
pub const ROWS: u32 = reason::COUNT * 2 + EXTRA;
const EXTRA: u32 = 7;

/// Counters that are no verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Extra {
    /// Drop events that found no room in their ring.
    LostDrops = 0,
    /// Flow events that found no room in their ring.
    LostFlows = 1,
    /// Packets of new connections forwarded without an entry, because the connection table was full or the pod's quota
    /// used up.
    Untracked = 2,
    /// Established connections judged again after a change of policy.
    Rejudged = 3,
    /// Connections that found their pod's quota of entries used up.
    OverQuota = 4,
    /// Clients that were told at once that nobody answers for a Service, by a TCP reset or an ICMP error.
    Refused = 5,
    /// Clients that were not told, because their pod has had too many ICMP errors lately.
    Unrefused = 6,
}

impl Extra {
    /// Every one of them.
    pub const ALL: [Self; EXTRA as usize] = [
        Self::LostDrops,
        Self::LostFlows,
        Self::Untracked,
        Self::Rejudged,
        Self::OverQuota,
        Self::Refused,
        Self::Unrefused,
    ];
    /// The word used in `netpolctl status` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostDrops => "lost-drop-events",
            Self::LostFlows => "lost-flow-events",
            Self::Untracked => "untracked",
            Self::Rejudged => "rejudged",
            Self::OverQuota => "over-quota",
            Self::Refused => "refused",
            Self::Unrefused => "unrefused",
        }
    }
    /// Its row.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        reason::COUNT * 2 + self as u32
    }
}

/// The row of a verdict: `reason` 0 is "forwarded", otherwise a [`DropReason`](reason::DropReason).
#[must_use]
#[inline(always)]
pub const fn index(reason: u8, direction: Direction) -> u32 {
    reason as u32 * 2 + direction as u32
}
