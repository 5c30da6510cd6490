//! Network headers of answers, of either family.

use netpol_common::{
    logic::csum,
    net::{Be16, V4, V6, proto},
    reason::DropReason,
};

use crate::{
    ctx::Skb,
    family::{Family, Ipv4, Ipv6, OUTER_L3},
};

/// What answers of the two families differ in.
pub trait Header: Family {
    /// Bytes of the network header.
    const LEN: u32;
    /// ICMP's number.
    const ICMP: u8;
    /// Type of an echo request.
    const ECHO_REQUEST: u8;
    /// Type and code of "port unreachable" (RFC 792, RFC 4443 §3.1).
    const PORT_UNREACHABLE: [u8; 2];
    /// Type and code of "too big" (RFC 1191 §4, RFC 4443 §3.2). The second word of both says what fits, in its lower half.
    const TOO_BIG: [u8; 2];
    /// Bytes of the packet that such an error quotes at most, network header included: together at most 576 (RFC 1812
    /// §4.3.2.3) or 1280 (RFC 4443 §2.4 c). A multiple of four.
    const QUOTE: u32;

    /// Whether nobody in particular has the address: such a packet is never answered by an error.
    fn is_for_many(addr: Self::Addr) -> bool;
    /// Where the packet ends, by its header.
    fn end(skb: &Skb) -> Result<u32, DropReason>;
    /// Writes the header of a packet with `len` bytes behind it.
    fn store(skb: &mut Skb, proto: u8, len: u16, src: Self::Addr, dst: Self::Addr) -> Result<(), DropReason>;
}

const HOP_LIMIT: u32 = 64;

impl Header for Ipv4 {
    const LEN: u32 = 20;
    const ICMP: u8 = proto::ICMP;
    const ECHO_REQUEST: u8 = 8;
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const TOO_BIG: [u8; 2] = [3, 4];
    const QUOTE: u32 = 576 - 20 - 8;

    #[inline(always)]
    fn is_for_many(addr: V4) -> bool {
        u32::from_be(addr.0) >> 28 >= 14
    }
    #[inline(always)]
    fn end(skb: &Skb) -> Result<u32, DropReason> {
        let total: Be16 = skb.load(OUTER_L3 + 2)?;
        Ok(end(skb, OUTER_L3, total.to_host()))
    }
    #[inline(always)]
    fn store(skb: &mut Skb, proto: u8, len: u16, src: V4, dst: V4) -> Result<(), DropReason> {
        // Version, length of the header, total length; no identification, "don't fragment".
        let first = (0x4500_0000 | (Self::LEN + u32::from(len))).to_be();
        let second = 0x4000_u32.to_be();
        let third = (HOP_LIMIT << 24 | u32::from(proto) << 16).to_be();
        let check = csum::finish(csum::sum(&[first, second, third, src.0, dst.0]));
        // The checksum lies in the last two bytes of its word.
        let third = third | (u32::from(u16::from_be(check))).to_be();
        skb.store(OUTER_L3, &[first, second, third, src.0, dst.0])
    }
}

impl Header for Ipv6 {
    const LEN: u32 = 40;
    const ICMP: u8 = proto::ICMPV6;
    const ECHO_REQUEST: u8 = 128;
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];
    const TOO_BIG: [u8; 2] = [2, 0];
    const QUOTE: u32 = 1280 - 40 - 8;

    #[inline(always)]
    fn is_for_many(addr: V6) -> bool {
        let [first, ..] = addr.0;
        u32::from_be(first) >> 24 == 0xff
    }
    #[inline(always)]
    fn end(skb: &Skb) -> Result<u32, DropReason> {
        let payload: Be16 = skb.load(OUTER_L3 + 4)?;
        Ok(end(skb, OUTER_L3 + Self::LEN, payload.to_host()))
    }
    #[inline(always)]
    fn store(skb: &mut Skb, proto: u8, len: u16, src: V6, dst: V6) -> Result<(), DropReason> {
        let ([a, b, c, d], [e, f, g, h]) = (src.0, dst.0);
        let first = 0x6000_0000_u32.to_be();
        let second = (u32::from(len) << 16 | u32::from(proto) << 8 | HOP_LIMIT).to_be();
        skb.store(OUTER_L3, &[first, second, a, b, c, d, e, f, g, h])
    }
}

/// A length of 0 stands for one that the field cannot say.
#[inline(always)]
fn end(skb: &Skb, from: u32, len: u16) -> u32 {
    if len == 0 { skb.len() } else { from + u32::from(len) }
}

/// Sends the frame back to where it came from.
#[inline(always)]
pub fn turn_back(skb: &mut Skb) -> Result<(), DropReason> {
    let [a, b, c, d, e, f]: [u16; 6] = skb.load(0)?;
    skb.store(0, &[d, e, f, a, b, c])
}
