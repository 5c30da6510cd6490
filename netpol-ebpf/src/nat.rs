//! Rewriting. With `Family::store_address` and `Family::store_tuple` the only code that changes packet bytes.

use netpol_common::{
    conntrack::Tuple,
    logic::csum,
    net::{Address, Be16, proto},
    reason::DropReason,
};

use crate::{
    ctx::{Checksum, Skb},
    family::{Family, OUTER_L3},
    parse::{Inner, Packet},
    verifier,
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

/// A tuple with another address and port at one end.
#[inline(always)]
pub fn with<A: Address>(tuple: &Tuple<A>, end: End, (addr, port): (A, Be16)) -> Tuple<A> {
    match end {
        End::Source => Tuple { src: addr, sport: port, ..*tuple },
        End::Destination => Tuple { dst: addr, dport: port, ..*tuple },
    }
}

/// Lets a TCP, UDP or SCTP packet come from and go to other ends. Each helper costs more than what it does: both addresses, the
/// header's checksum and the ports are written at once where they lie side by side, changed or not.
#[inline(always)]
pub fn rewrite<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    to: &Tuple<F::Addr>,
) -> Result<(), DropReason> {
    let from = &packet.tuple;
    let difference = csum::together(
        csum::difference(from.src.to_words(), to.src.to_words()),
        csum::difference(from.dst.to_words(), to.dst.to_words()),
    );
    write::<F>(skb, packet, to, difference)
}

/// As [`rewrite`], for one end: the packet goes to another destination, or if `swap` has all bits and not none, comes from another
/// source.
///
/// `new` is asked twice ([`verifier::read_anew`]). If its entry was removed and is used for another connection in between, the sum is
/// that of no packet and the receiver drops it.
#[inline(always)]
pub fn rewrite_end<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    swap: u32,
    new: impl Fn() -> (F::Addr, Be16),
) -> Result<(), DropReason> {
    let Tuple { src, dst, sport, dport, proto } = packet.tuple;
    let old = dst.or_if(src, swap);
    let difference = verifier::read_anew(csum::difference(old.to_words(), new().0.to_words()));
    let (addr, port) = new();
    let to = Tuple {
        src: src.or_if(addr, swap),
        dst: dst.or_if(addr, !swap),
        sport: sport.or_if(port, swap),
        dport: dport.or_if(port, !swap),
        proto,
    };
    write::<F>(skb, packet, &to, difference)
}

/// `difference` is what the sum of the addresses grows by.
#[inline(always)]
fn write<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    to: &Tuple<F::Addr>,
    difference: u32,
) -> Result<(), DropReason> {
    let from = &packet.tuple;
    let check = csum::follow(packet.l3_check, difference);
    if packet.has_l4 && verifier::unlinked(packet.l4) == F::USUAL_L4 {
        F::store_tuple(skb, check, to, true)?;
    } else {
        F::store_tuple(skb, check, to, false)?;
        if !packet.has_l4 {
            return Ok(());
        }
        skb.store(packet.l4, &to.ports())?;
    }
    let ports = from.ports() != to.ports();
    // SCTP's checksum covers no address, and no helper makes it anew: its ports stay.
    if from.proto == proto::SCTP {
        return if ports { Err(DropReason::Rewrite) } else { Ok(()) };
    }
    let sum = match from.proto {
        proto::TCP => Checksum { offset: packet.l4 + 16, flags: 0 },
        _ => Checksum { offset: packet.l4 + 6, flags: UDP_CHECKSUM },
    };
    skb.fix_pseudo_checksum_by(sum, difference)?;
    if ports {
        skb.fix_checksum_by(sum, csum::difference([from.ports(), 0, 0, 0], [to.ports(), 0, 0, 0]))?;
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
