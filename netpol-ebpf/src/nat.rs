//! Rewriting. With `Family::store_address` the only code that changes packet bytes.

use netpol_common::{
    logic::csum,
    net::{Address, Be16, proto},
    reason::DropReason,
};

use crate::{
    ctx::{Checksum, Skb},
    family::{Family, OUTER_L3},
    parse::{Inner, Packet},
};

/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of 0 means "none" and stays 0; one that becomes 0 is written as 0xffff.
const UDP_CHECKSUM: u64 = 0x20;

/// Which end of a header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// One address and port to be replaced.
#[derive(Clone, Copy)]
pub struct Change<A> {
    pub end: End,
    pub old: A,
    pub new: A,
    pub old_port: Be16,
    pub new_port: Be16,
}

/// Replaces one end of a TCP or UDP packet.
#[inline(always)]
pub fn rewrite<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    change: &Change<F::Addr>,
) -> Result<(), DropReason> {
    F::store_address(skb, OUTER_L3, packet.l3_check, change)?;
    if !packet.has_l4 {
        return Ok(());
    }
    let sum = match packet.tuple.proto {
        proto::TCP => Checksum { offset: packet.l4 + 16, flags: 0 },
        _ => Checksum { offset: packet.l4 + 6, flags: UDP_CHECKSUM },
    };
    skb.fix_pseudo_checksum_by(sum, csum::difference(change.old.to_words(), change.new.to_words()))?;
    if change.old_port != change.new_port {
        skb.fix_checksum(sum, change.old_port.raw(), change.new_port.raw())?;
        store_port(skb, packet.l4, change)?;
    }
    Ok(())
}

/// Replaces one end of the packet that an ICMP error quotes, and the same address in the outer header where it stands at
/// the opposite end (`outer`).
///
/// The quoted transport checksum is left alone: it cannot be checked from the few bytes quoted, and no receiver tries.
#[inline(always)]
pub fn rewrite_quoted<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    inner: &Inner<F::Addr>,
    change: &Change<F::Addr>,
    outer: Option<End>,
) -> Result<(), DropReason> {
    let sum = Checksum { offset: packet.l4 + 2, flags: 0 };
    let difference = csum::difference(change.old.to_words(), change.new.to_words());
    F::store_address(skb, inner.l3, inner.l3_check, change)?;
    if F::ICMP_PSEUDO_HEADER {
        // An IPv4 header sums to a constant, address and checksum together; an IPv6 header has no such balance.
        skb.fix_checksum_by(sum, difference)?;
    }
    if change.old_port != change.new_port {
        store_port(skb, inner.l4, change)?;
        skb.fix_checksum(sum, change.old_port.raw(), change.new_port.raw())?;
    }
    let Some(end) = outer else { return Ok(()) };
    F::store_address(skb, OUTER_L3, packet.l3_check, &Change { end, ..*change })?;
    if F::ICMP_PSEUDO_HEADER {
        skb.fix_pseudo_checksum_by(sum, difference)?;
    }
    Ok(())
}

#[inline(always)]
fn store_port<A: Address>(skb: &mut Skb, l4: u32, change: &Change<A>) -> Result<(), DropReason> {
    skb.store(l4 + if change.end == End::Source { 0 } else { 2 }, &change.new_port)
}
