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
}

/// Bits of [`Config::flags`].
pub mod flags {
    /// Hand packets for pods of this node over with `bpf_redirect_peer`.
    pub const FAST_PATH: u32 = 1;
    /// Somebody listens to forwarded connections: write them to the flow ring.
    pub const FLOW_EVENTS: u32 = 2;
}
