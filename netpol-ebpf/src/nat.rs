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

impl End {
    /// The opposite end.
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
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

/// Replaces both ends of a TCP or UDP packet.
#[inline(always)]
pub fn rewrite_both<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    first: &Change<F::Addr>,
    second: &Change<F::Addr>,
) -> Result<(), DropReason> {
    rewrite::<F>(skb, packet, packet.l3_check, first)?;
    let check = csum::follow(packet.l3_check, csum::difference(first.old.to_words(), first.new.to_words()));
    rewrite::<F>(skb, packet, check, second)
}

/// Replaces one end of a TCP, UDP or SCTP packet. `l3_check` is the network header's checksum as it lies in the packet now.
#[inline(always)]
pub fn rewrite<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    l3_check: u16,
    change: &Change<F::Addr>,
) -> Result<(), DropReason> {
    F::store_address(skb, OUTER_L3, l3_check, change)?;
    if !packet.has_l4 {
        return Ok(());
    }
    // SCTP's checksum covers no address, and no helper makes it anew: its ports stay.
    if packet.tuple.proto == proto::SCTP {
        return if change.old_port == change.new_port { Ok(()) } else { Err(DropReason::Rewrite) };
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

/// Checksums of an ICMP error's two network headers, as they lie in the packet now.
pub struct Checks {
    pub outer: u16,
    pub inner: u16,
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
    checks: &mut Checks,
    change: &Change<F::Addr>,
    outer: Option<End>,
) -> Result<(), DropReason> {
    let sum = Checksum { offset: packet.l4 + 2, flags: 0 };
    let difference = csum::difference(change.old.to_words(), change.new.to_words());
    F::store_address(skb, inner.l3, checks.inner, change)?;
    checks.inner = csum::follow(checks.inner, difference);
    if F::ICMP_PSEUDO_HEADER {
        // An IPv4 header sums to a constant, address and checksum together; an IPv6 header has no such balance.
        skb.fix_checksum_by(sum, difference)?;
    }
    if change.old_port != change.new_port {
        store_port(skb, inner.l4, change)?;
        skb.fix_checksum(sum, change.old_port.raw(), change.new_port.raw())?;
    }
    let Some(end) = outer else { return Ok(()) };
    F::store_address(skb, OUTER_L3, checks.outer, &Change { end, ..*change })?;
    checks.outer = csum::follow(checks.outer, difference);
    if F::ICMP_PSEUDO_HEADER {
        skb.fix_pseudo_checksum_by(sum, difference)?;
    }
    Ok(())
}

#[inline(always)]
fn store_port<A: Address>(skb: &mut Skb, l4: u32, change: &Change<A>) -> Result<(), DropReason> {
    skb.store(l4 + if change.end == End::Source { 0 } else { 2 }, &change.new_port)
}
