//! What frames need to know of the families, beside [`Family`]: where the fields of a header without options lie.

use netpol_common::{
    hook::Hook,
    logic::csum,
    net::{Address, V4, V6},
    parse::{Buffer, L3, Packet, parse_v4, parse_v6},
    reason::DropReason,
};

use super::frame::{Frame, NoFragments};
use crate::family::{Family, Ipv4, Ipv6};

const NETWORK: usize = L3 as usize;

/// A family whose frames are rewritten as they lie.
pub trait Wired: Family {
    /// Offset of the transport header.
    const L4: usize;
    /// Offset of the byte that counts the hops.
    const HOPS: usize;

    fn read(frame: &mut Frame) -> Result<Packet<Self::Addr>, DropReason>;
    /// Length from the network header on, in bytes, as that says.
    fn length(frame: &Frame) -> Option<u32>;
    /// Writes the addresses, the second of `hops` in place of the first, and the header's checksum if it has one.
    fn store_ends(
        frame: &mut Frame,
        packet: &Packet<Self::Addr>,
        ends: [Self::Addr; 2],
        hops: [u8; 2],
    ) -> Option<()>;
}

impl Wired for Ipv4 {
    const L4: usize = NETWORK + 20;
    const HOPS: usize = NETWORK + 8;

    #[inline(always)]
    fn read(frame: &mut Frame) -> Result<Packet<V4>, DropReason> {
        parse_v4(frame, &NoFragments, Hook::ToPod)
    }
    #[inline(always)]
    fn length(frame: &Frame) -> Option<u32> {
        frame.linear::<u16>(NETWORK + 2).map(|raw| u16::from_be(raw).into())
    }
    #[inline(always)]
    fn store_ends(frame: &mut Frame, packet: &Packet<V4>, [src, dst]: [V4; 2], hops: [u8; 2]) -> Option<()> {
        let lifetime = |hops: u8| u32::from(u16::from_ne_bytes([hops, packet.tuple.proto]));
        let old = [packet.tuple.src.0, packet.tuple.dst.0, lifetime(hops[0]), 0];
        let new = [src.0, dst.0, lifetime(hops[1]), 0];
        let check = csum::follow(packet.l3_check, csum::difference(old, new));
        frame.store(Self::HOPS, hops[1])?;
        frame.store(NETWORK + 10, check)?;
        frame.store(NETWORK + 12, [src.0, dst.0])
    }
}

impl Wired for Ipv6 {
    const L4: usize = NETWORK + 40;
    const HOPS: usize = NETWORK + 7;

    #[inline(always)]
    fn read(frame: &mut Frame) -> Result<Packet<V6>, DropReason> {
        parse_v6(frame, &NoFragments, Hook::ToPod)
    }
    #[inline(always)]
    fn length(frame: &Frame) -> Option<u32> {
        frame.linear::<u16>(NETWORK + 4).map(|raw| u32::from(u16::from_be(raw)) + 40)
    }
    #[inline(always)]
    fn store_ends(frame: &mut Frame, _packet: &Packet<V6>, [src, dst]: [V6; 2], hops: [u8; 2]) -> Option<()> {
        frame.store(Self::HOPS, hops[1])?;
        frame.store(NETWORK + 8, src.to_words())?;
        frame.store(NETWORK + 24, dst.to_words())
    }
}
