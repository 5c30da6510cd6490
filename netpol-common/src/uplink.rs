//! Interfaces of the node that lead out of it.

use bytemuck::{Pod, Zeroable};

use crate::net::{V4, V6};

/// Value of `np_uplink`, keyed by interface index: the source that backends of other nodes see in place of a client from
/// outside. An interface without a row has no program for traffic from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct UplinkRow {
    /// The node's address there; 0.0.0.0 without one.
    pub addr4: V4,
    /// The node's address there; `::` without one.
    pub addr6: V6,
    /// First source port that is given out (host order).
    pub first_port: u16,
    /// Last source port that is given out (host order).
    pub last_port: u16,
}

impl UplinkRow {
    /// Source ports that are given out unless the agent is told otherwise: above those that Linux hands out by itself
    /// (`net.ipv4.ip_local_port_range`) and above node ports.
    pub const PORTS: (u16, u16) = (61_000, 65_535);

    /// The port that a random number picks, in host order.
    #[must_use]
    #[inline(always)]
    pub const fn port(&self, random: u32) -> u16 {
        let ports = self.last_port.wrapping_sub(self.first_port) as u64 + 1;
        self.first_port.wrapping_add(((random as u64 * ports) >> 32) as u16)
    }
}

const _: () = assert!(size_of::<UplinkRow>() == 24);
