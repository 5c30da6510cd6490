//! What the agent has been told of, so that it need not be told again until it asks: the programs know no clock, and the agent
//! takes these tables empty once a second.

use bytemuck::{Pod, Zeroable};

use crate::{direction::Direction, event::PacketEvent};

/// Key of `np_told`: packets that make one event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ToldKey {
    /// [`PacketEvent::src`].
    pub src: [u32; 4],
    /// [`PacketEvent::dst`].
    pub dst: [u32; 4],
    /// [`PacketEvent::endpoint`].
    pub endpoint: u32,
    /// [`PacketEvent::sport`], host order.
    pub sport: u16,
    /// [`PacketEvent::dport`], host order.
    pub dport: u16,
    /// [`PacketEvent::proto`].
    pub proto: u8,
    /// [`PacketEvent::reason`], whether it is IPv6, and [`PacketEvent::direction`]: see [`ToldKey::what`].
    pub what: u8,
    /// Always 0.
    pub pad: u16,
}

/// Value of `np_told`, and of `np_loud`: packets that were counted and made no event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct ToldRow {
    /// Packets. Added to without a lock.
    pub packets: u64,
    /// Bytes with their Ethernet header. Added to without a lock.
    pub bytes: u64,
    /// `np_loud`: events that its key, the interface of a pod ([`PacketEvent::endpoint`]), has made. Two CPUs that count at once may
    /// count one. `np_told`: 0.
    pub events: u64,
}

impl ToldKey {
    /// What makes one event with a packet of this reason and family, as its pod sees it.
    #[must_use]
    #[inline(always)]
    pub const fn what(reason: u8, direction: Direction, family: u8) -> u8 {
        reason | if family == 6 { IPV6 } else { 0 } | (direction as u8) << 7
    }

    /// The key of an event.
    #[must_use]
    pub fn of(event: &PacketEvent) -> Self {
        let direction = Direction::from_u8(event.direction).unwrap_or(Direction::Ingress);
        Self {
            src: bytemuck::cast(event.src),
            dst: bytemuck::cast(event.dst),
            endpoint: event.endpoint,
            sport: event.sport,
            dport: event.dport,
            proto: event.proto,
            pad: 0,
            what: Self::what(event.reason, direction, event.family),
        }
    }

    /// The event that stands for all of them: what the key says, and nothing else. What was not dropped is here because it would
    /// have been, but for audit mode.
    #[must_use]
    pub fn event(&self) -> PacketEvent {
        let read = self.proto != 0 || self.src != [0; 4] || self.dst != [0; 4];
        PacketEvent {
            version: PacketEvent::VERSION,
            reason: self.what & (IPV6 - 1),
            audit: (self.what & (IPV6 - 1) == 0) as u8,
            direction: self.what >> 7,
            family: match (read, self.what & IPV6) {
                (false, _) => 0,
                (true, 0) => 4,
                (true, _) => 6,
            },
            proto: self.proto,
            endpoint: self.endpoint,
            src: bytemuck::cast(self.src),
            dst: bytemuck::cast(self.dst),
            nat_dst: bytemuck::cast(self.dst),
            sport: self.sport,
            dport: self.dport,
            nat_dport: self.dport,
            ..PacketEvent::default()
        }
    }
}

const IPV6: u8 = 0x40;

const _: () = assert!(size_of::<ToldKey>() == 44 && size_of::<ToldRow>() == 24);
const _: () = assert!(crate::reason::COUNT <= IPV6 as u32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::proto, reason::DropReason};

    #[test]
    fn an_event_made_of_its_key_is_what_it_was() {
        let packet = PacketEvent {
            version: PacketEvent::VERSION,
            direction: Direction::Egress as u8,
            family: 6,
            proto: proto::UDP,
            endpoint: 7,
            src: [1; 16],
            dst: [2; 16],
            nat_dst: [2; 16],
            sport: 3,
            dport: 4,
            nat_dport: 4,
            ..PacketEvent::default()
        };
        let dropped = PacketEvent { reason: DropReason::Policy as u8, ..packet };
        let audited = PacketEvent { audit: 1, ..packet };
        for event in [dropped, audited] {
            assert_eq!(ToldKey::of(&event).event(), event);
        }
    }
}
