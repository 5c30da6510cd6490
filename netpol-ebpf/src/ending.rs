//! How a TCP connection between two pods of the node leaves the table: with its last segment, if it ends in order.
//!
//! The segment that acknowledges the second FIN, sent by an end whose own FIN that second one has acknowledged, is the last one
//! (RFC 9293 §3.6): `docs/adr/0153-last-segments.md`. Whatever ends otherwise is left to the agent.

use netpol_common::{
    config::{self, Config},
    conntrack::{CtEntry, LastSegment, flags},
    logic::tcp,
};

use crate::{
    case::Case,
    conntrack::{self, Hit},
    ctx::Skb,
    family::{Family, Ipv4, Ipv6},
    parse::Packet,
    partner, quota,
};

/// What a connection may be, beside its state, for its entries to be nobody else's concern.
const PLAIN: u32 = flags::FROM_HIGH | flags::FRONT | flags::BACK;
/// Anything else that it is, and the state that is no orderly end.
const OTHERS: u32 = 0xffff & !PLAIN | flags::RST;
const CLOSED: u32 = flags::FIN_ORIG | flags::FIN_REPLY;

/// Whether both ends of a connection have closed, so that a packet which is handed over may be its last. Who follows flows is told
/// of ends by the agent, which finds the entry.
#[inline(always)]
pub fn is_near(state: u32, config: &Config) -> bool {
    state & (CLOSED | OTHERS) == CLOSED && config.flags & config::flags::FLOW_EVENTS == 0
}

/// Notes by what the segment is known that acknowledges this one and has nothing else to say, if this one is a FIN, in the entry that
/// such a segment finds.
#[inline(always)]
pub fn note_answer<F: Family>(skb: &Skb, packet: &Packet<F::Addr>, entry: *mut CtEntry) {
    if packet.tcp_flags & tcp::bits::FIN != 0
        && let Some([seq, ack, len]) = numbers::<F>(skb, packet)
    {
        let answer = LastSegment::new(ack, seq.wrapping_add(len).wrapping_add(1));
        // SAFETY: a non-null pointer into a hash map; one aligned word.
        unsafe { (&raw mut (*entry).last).write_volatile(answer) };
    }
}

/// Whether the packet, which is handed over, is the last one of the connection that it has found; `state` is that one's with it.
#[inline(always)]
pub fn is_last<F: Family>(
    skb: &Skb,
    packet: &Packet<F::Addr>,
    hit: &Hit,
    state: u32,
    config: &Config,
) -> bool {
    if !is_near(state, config) || packet.tcp_flags & tcp::bits::FIN != 0 {
        return false;
    }
    // SAFETY: a non-null pointer into a hash map; one aligned word.
    let last = unsafe { (&raw const (*hit.entry).last).read_volatile() };
    match numbers::<F>(skb, packet) {
        Some([seq, ack, 0]) => last != LastSegment::UNKNOWN && last == LastSegment::new(seq, ack),
        _ => false,
    }
}

/// Sequence and acknowledgement number of a segment, and the bytes of its payload. `None` if its header does not lie at hand.
#[inline(always)]
fn numbers<F: Family>(skb: &Skb, packet: &Packet<F::Addr>) -> Option<[u32; 3]> {
    if packet.l4 != F::USUAL_L4 {
        return None;
    }
    let words = skb.linear::<[u32; 3]>(F::USUAL_L4 as usize + 4)?;
    let [seq, ack, rest] = words.map(u32::from_be);
    Some([seq, ack, skb.len().wrapping_sub(F::USUAL_L4 + (rest >> 28 << 2))])
}

/// Takes the entries of the connection whose last packet is the case's out of the table. Its pod may make so many again.
#[inline(always)]
fn remove<F: Family>() -> Option<()> {
    let case = Case::<F::Addr>::resume()?;
    let tuple = &case.packet.tuple;
    let hit = conntrack::find::<F>(tuple)?;
    let mut gone = 0;
    if hit.flags & (flags::FRONT | flags::BACK) != 0 {
        // A new connection may have taken the place of the other one: then this one is the agent's.
        partner::of::<F>(tuple, &hit)?;
        gone += i64::from(F::ct().remove(F::ct_key(&partner::tuple_of::<F>(&hit, tuple.proto), 0)).is_ok());
    }
    // SAFETY: a non-null pointer into a hash map; never written after the entry is inserted.
    let left = quota::of(unsafe { (*hit.entry).if_orig });
    gone += i64::from(F::ct().remove(F::ct_key(tuple, 0)).is_ok());
    quota::charge(left, -gone);
    Some(())
}

/// [`remove`] as a global function, see `policy::np_evaluate`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_ended4() -> u64 {
    remove::<Ipv4>().is_some().into()
}

/// As `np_ended4`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_ended6() -> u64 {
    remove::<Ipv6>().is_some().into()
}
