//! What is asked of the program that only looks rows up: a question behind an Ethernet header of zeros.

use bytemuck::{Pod, Zeroable};

use crate::{net::V4, policy::SlotId, service::FrontendKey4};

/// Bytes before the question.
pub const HEADER: usize = 14;

/// What the program answers where a row is missing.
pub const MISSING: i32 = -1;

/// Bits of [`Question::tables`].
pub mod tables {
    /// `np_fe4`, the row of `np_svc` for clients within the cluster, and one of `np_be4`, whose address takes the place of
    /// [`Question::addr`](super::Question::addr). Answered by the low 31 bits of that address as it lies.
    pub const SERVICE: u32 = 1;
    /// `np_peer4`. Answered by the low 31 bits of the class.
    pub const PEER: u32 = 1 << 1;
    /// `np_policy` for the class of the peer, and `np_port` for one TCP port. Answered by the low 31 bits of the rule.
    pub const POLICY: u32 = 1 << 2;
}

/// Rows to look up, in the order of [`tables`]: those that a packet of a new connection asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Question {
    /// Whose rules.
    pub slot: SlotId,
    /// Way into a Service.
    pub frontend: FrontendKey4,
    /// Which of its backends, counted from the first.
    pub backend: u32,
    /// The peer.
    pub addr: V4,
    /// Bits of [`tables`].
    pub tables: u32,
    /// The port, in host order.
    pub port: u16,
    /// Always 0.
    pub pad: u16,
}

const _: () = assert!(size_of::<Question>() == 32);
