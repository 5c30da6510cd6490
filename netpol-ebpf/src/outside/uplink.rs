//! What traffic from outside needs to know of the families, beside [`Family`].

use netpol_common::{
    logic::csum,
    net::{V4, V6},
    reason::DropReason,
    uplink::UplinkRow,
};

use crate::{
    ctx::Skb,
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
        let [hops, protocol, high, low]: [u8; 4] = skb.load(OUTER_L3 + 8)?;
        if hops <= 1 {
            return Ok(false);
        }
        let old = u32::from(u16::from_ne_bytes([hops, protocol]));
        let new = u32::from(u16::from_ne_bytes([hops - 1, protocol]));
        let difference = csum::difference([old, 0, 0, 0], [new, 0, 0, 0]);
        let check = csum::follow(u16::from_ne_bytes([high, low]), difference);
        skb.store(OUTER_L3 + 8, &(hops - 1))?;
        skb.store(OUTER_L3 + 10, &check)?;
        Ok(true)
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
        let hops: u8 = skb.load(OUTER_L3 + 7)?;
        if hops <= 1 {
            return Ok(false);
        }
        skb.store_unbalanced(OUTER_L3 + 7, hops - 1)?;
        Ok(true)
    }
}
