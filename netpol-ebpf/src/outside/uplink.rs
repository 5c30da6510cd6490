//! What traffic from outside needs to know of the families, beside [`Family`].

use netpol_common::{
    logic::csum,
    net::{V4, V6, proto},
    reason::DropReason,
    uplink::UplinkRow,
};

use super::answer::route;
use crate::{
    ctx::{Route, Skb},
    family::{Family, Ipv4, Ipv6, OUTER_L3},
};

/// A family whose packets come in by uplinks and leave by them.
pub trait Routed: Family {
    /// The node's address on an uplink.
    fn own_address(row: &UplinkRow) -> Self::Addr;
    /// Source and destination as they lie in the packet now.
    fn addresses(skb: &Skb) -> Result<[Self::Addr; 2], DropReason>;
    /// Takes one off the hops that the packet may make; `false`, and nothing changed, if it was the last one.
    fn count_down(skb: &mut Skb) -> Result<bool, DropReason>;
    /// What the node's forwarding asks its routing about a packet without options or extension headers: all that rules can name but its
    /// length. `None` for a fragment.
    fn question(skb: &Skb) -> Option<Route>;
}

/// What stands where the ports are, if they are that, raw.
#[inline(always)]
fn ports(protocol: u8, there: u32) -> (u16, u16) {
    let [a, b, c, d] = there.to_ne_bytes();
    match protocol {
        proto::TCP | proto::UDP | proto::SCTP => (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])),
        _ => (0, 0),
    }
}

impl Routed for Ipv4 {
    #[inline(always)]
    fn own_address(row: &UplinkRow) -> V4 {
        row.addr4
    }
    #[inline(always)]
    fn addresses(skb: &Skb) -> Result<[V4; 2], DropReason> {
        skb.load(OUTER_L3 + 12)
    }
    #[inline(always)]
    fn count_down(skb: &mut Skb) -> Result<bool, DropReason> {
        // Time to live, protocol, checksum.
        let [hops, protocol, high, low] = match skb.linear::<[u8; 4]>(OUTER_L3 as usize + 8) {
            Some(bytes) => bytes,
            None => skb.load(OUTER_L3 + 8)?,
        };
        if hops <= 1 {
            return Ok(false);
        }
        let old = u32::from(u16::from_ne_bytes([hops, protocol]));
        let new = u32::from(u16::from_ne_bytes([hops - 1, protocol]));
        let difference = csum::difference([old, 0, 0, 0], [new, 0, 0, 0]);
        let [high, low] = csum::follow(u16::from_ne_bytes([high, low]), difference).to_ne_bytes();
        skb.store(OUTER_L3 + 8, &[hops - 1, protocol, high, low])?;
        Ok(true)
    }
    #[inline(always)]
    fn question(skb: &Skb) -> Option<Route> {
        const DONT_FRAGMENT: u16 = 0x4000;
        let [first, second, third, src, dst, behind]: [u32; 6] = skb.linear(OUTER_L3 as usize)?;
        let [_, tos, ..] = first.to_ne_bytes();
        let [.., high, low] = second.to_ne_bytes();
        if u16::from_be_bytes([high, low]) & !DONT_FRAGMENT != 0 {
            return None;
        }
        let [_, l4_protocol, ..] = third.to_ne_bytes();
        let (sport, dport) = ports(l4_protocol, behind);
        let asked = route::<Self>(V4(src), V4(dst), skb.ifindex());
        Some(Route { l4_protocol, sport, dport, tos: tos.into(), ..asked })
    }
}

impl Routed for Ipv6 {
    #[inline(always)]
    fn own_address(row: &UplinkRow) -> V6 {
        row.addr6
    }
    #[inline(always)]
    fn addresses(skb: &Skb) -> Result<[V6; 2], DropReason> {
        skb.load(OUTER_L3 + 8)
    }
    #[inline(always)]
    fn count_down(skb: &mut Skb) -> Result<bool, DropReason> {
        let hops = match skb.linear::<u8>(OUTER_L3 as usize + 7) {
            Some(hops) => hops,
            None => skb.load(OUTER_L3 + 7)?,
        };
        if hops <= 1 {
            return Ok(false);
        }
        skb.store_unbalanced(OUTER_L3 + 7, hops - 1)?;
        Ok(true)
    }
    #[inline(always)]
    fn question(skb: &Skb) -> Option<Route> {
        let head: [u32; 11] = skb.linear(OUTER_L3 as usize)?;
        let [first, second, s0, s1, s2, s3, d0, d1, d2, d3, behind] = head;
        let [.., l4_protocol, _] = second.to_ne_bytes();
        let (sport, dport) = ports(l4_protocol, behind);
        // The version is no part of it.
        let tos = first & 0x0fff_ffff_u32.to_be();
        let asked = route::<Self>(V6([s0, s1, s2, s3]), V6([d0, d1, d2, d3]), skb.ifindex());
        Some(Route { l4_protocol, sport, dport, tos, ..asked })
    }
}
