//! What the agent tells the programs at run time.

use bytemuck::{Pod, Zeroable};

/// The one row of `np_config`. Every field is written with one aligned store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// Goes up after every change that can alter a verdict (it wraps). A connection judged under another epoch is
    /// judged again at its next packet.
    pub epoch: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Bits of [`short`]. Stored by the programs, cleared by the agent.
    pub short: u32,
    /// Jiffies a second, 0 until the agent has measured them.
    pub hz: u32,
}

/// Bits of [`Config::flags`].
pub mod flags {
    /// Hand packets for pods of this node over with `bpf_redirect_peer`.
    pub const FAST_PATH: u32 = 1;
    /// Somebody listens to forwarded connections: write them to the flow ring.
    pub const FLOW_EVENTS: u32 = 2;
    /// With [`FAST_PATH`]: nothing on the node's own way matters to IPv4 packets between its pods and others, so those of pods of other
    /// nodes go past it (`docs/adr/0140-across-nodes.md`).
    pub const ACROSS4: u32 = 4;
    /// As [`ACROSS4`], for IPv6.
    pub const ACROSS6: u32 = 8;
    /// No row that can alter a verdict has been written since the epoch went up: what was decided in it may be remembered for other
    /// connections (`docs/adr/0155-recent-judgements.md`).
    pub const AT_REST: u32 = 16;
}

/// Bits of [`Config::short`]: what connections have found no room since the agent last looked. While one is set, packets
/// without an entry are judged both ways where that pod, or the table, has none: see `docs/adr/0007-no-room.md`.
pub mod short {
    /// A pod has used up its quota.
    pub const QUOTA: u32 = 1;
    /// A connection table is full.
    pub const TABLE: u32 = 2;
}
