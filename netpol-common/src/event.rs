//! What the programs tell the agent about single packets.

use bytemuck::{Pod, Zeroable};

use crate::policy::{RuleId, SlotId};

/// A dropped packet, the first packet of a forwarded connection, or a packet that was let through because the policies that deny it
/// are being tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct PacketEvent {
    /// [`PacketEvent::VERSION`].
    pub version: u8,
    /// 0: it went on, else a [`DropReason`](crate::reason::DropReason).
    pub reason: u8,
    /// [`Direction`](crate::direction::Direction) of the end that decided.
    pub direction: u8,
    /// 4, 6, or 0 if the packet was not parsed so far: then addresses and ports are 0.
    pub family: u8,
    /// Protocol.
    pub proto: u8,
    /// TCP flags as on the wire; for ICMP the type.
    pub tcp_flags: u8,
    /// [`HOOK_FROM_POD`], [`HOOK_TO_POD`] or [`HOOK_FROM_NETDEV`].
    pub hook: u8,
    /// 1: policy denies it, but is only being tried, and so it went on ([`RuleId::AUDIT`]). Else 0.
    pub audit: u8,
    /// Interface the packet was seen on.
    pub ifindex: u32,
    /// Interface of the pod whose rules decided (the destination's, where one pass judges both ends).
    pub endpoint: u32,
    /// The kernel's jiffies.
    pub jiffies: u64,
    /// Source address (IPv4 in the first four bytes).
    pub src: [u8; 16],
    /// Destination address as the packet came.
    pub dst: [u8; 16],
    /// Destination address after service translation; the same as `dst` without.
    pub nat_dst: [u8; 16],
    /// Source port, host order.
    pub sport: u16,
    /// Destination port as the packet came, host order.
    pub dport: u16,
    /// Destination port after service translation, host order.
    pub nat_dport: u16,
    /// Source port after service translation, host order.
    pub nat_sport: u16,
    /// Length with Ethernet header, in bytes.
    pub len: u32,
    /// Always 0.
    pub pad3: u32,
    /// Rule that allowed the initiator to send.
    pub rule_egress: RuleId,
    /// Rule that allowed the responder to receive.
    pub rule_ingress: RuleId,
    /// For a policy drop, and with `audit`: the slot without a matching rule.
    pub slot: SlotId,
}

impl PacketEvent {
    /// Version of this layout.
    pub const VERSION: u8 = 2;
}

/// The packet was sent by a pod.
pub const HOOK_FROM_POD: u8 = 0;
/// The packet was about to be received by a pod.
pub const HOOK_TO_POD: u8 = 1;
/// The packet came in by an uplink and is for a Service.
pub const HOOK_FROM_NETDEV: u8 = 2;

const _: () = assert!(size_of::<PacketEvent>() == 112);
