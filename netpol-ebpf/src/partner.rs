//! The other entry of a translated connection.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::conntrack::{CtEntry, Tuple, flags};

use crate::{
    config as settings,
    conntrack::{self, Hit},
    ctx::Skb,
    ending,
    family::Family,
    forward,
    parse::Packet,
    verifier,
};

/// How a connection ends.
const ENDS: u32 = flags::FIN_ORIG | flags::FIN_REPLY | flags::RST;

/// Tells whoever has to know what a packet said of the connection's end. Where packets are handed over, each entry sees those of one
/// direction only, and a connection that is over must not keep another one from its tuple. `state` is
/// what the packet's own entry says now, and `hit` what it said before.
#[inline(always)]
pub fn follow<F: Family>(skb: &Skb, packet: &Packet<F::Addr>, hit: &Hit, state: u32) {
    if ends(hit, state) {
        tell::<F>(packet, hit.entry, state, hit.reply, skb.raw());
    }
}

/// Whether `state` says more of the connection's end than the entry does.
#[inline(always)]
pub fn ends(hit: &Hit, state: u32) -> bool {
    state & ENDS != hit.flags & ENDS
}

/// Has a frame of its own on the stack.
#[inline(never)]
fn tell<F: Family>(
    packet: &Packet<F::Addr>,
    entry: *mut CtEntry,
    state: u32,
    reply: u32,
    raw: *mut __sk_buff,
) {
    let mut met_next = entry;
    if state & (flags::FRONT | flags::BACK) != 0 {
        let hit = &Hit { entry, flags: state, reply };
        let Some(partner) = of::<F>(&packet.tuple, hit) else { return };
        conntrack::store_state(partner.entry, partner.flags | state & ENDS);
        met_next = partner.entry;
    }
    if ending::is_near(state, &settings::read()) {
        ending::note_answer::<F>(&Skb::from_raw(raw), packet, met_next);
    }
}

/// The other entry of the connection that `hit` is an entry of, found by a packet with `tuple`. `None` if what lies there is another
/// connection's.
#[inline(always)]
pub fn of<F: Family>(tuple: &Tuple<F::Addr>, hit: &Hit) -> Option<Hit> {
    let beside = u32::from(flags::partner_is_beside(hit.flags));
    let partner = conntrack::find_at::<F>(&tuple_of::<F>(hit, tuple.proto), beside)?;
    let (src, sport) = forward::partner_source::<F>(&partner);
    let (dst, dport) = forward::partner_destination::<F>(&partner);
    let theirs = Tuple::<F::Addr> { src, dst, sport, dport, proto: tuple.proto };
    let sides = flags::FRONT | flags::BACK;
    let swap = hit.swap();
    let ends = theirs.differs_from(&tuple.reversed()) & swap | theirs.differs_from(tuple) & !swap;
    (verifier::opaque(ends | !(partner.flags ^ hit.flags) & sides) == 0).then_some(partner)
}

/// What the other entry is under.
#[inline(always)]
pub fn tuple_of<F: Family>(hit: &Hit, proto: u8) -> Tuple<F::Addr> {
    let (src, sport) = forward::partner_source::<F>(hit);
    let (dst, dport) = forward::partner_destination::<F>(hit);
    Tuple { src, sport, dst, dport, proto }
}
