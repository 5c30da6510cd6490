//! The other entry of a translated connection.

use netpol_common::conntrack::{CtEntry, Tuple, flags};

use crate::{
    conntrack::{self, Hit},
    family::Family,
    forward,
};

/// How a connection ends.
const ENDS: u32 = flags::FIN_ORIG | flags::FIN_REPLY | flags::RST;

/// Tells the other entry what a packet said of the connection's end: where packets are handed over, each entry sees those of one
/// direction only, and a connection that is over must not keep another one from its tuple. `state` is
/// what the packet's own entry says now, and `hit` what it said before.
#[inline(always)]
pub fn follow<F: Family>(tuple: &Tuple<F::Addr>, hit: &Hit, state: u32) {
    if ends(hit, state) && state & (flags::FRONT | flags::BACK) != 0 {
        tell::<F>(tuple, hit.entry, state, u32::from(hit.reply));
    }
}

/// Whether `state` says more of the connection's end than the entry does.
#[inline(always)]
pub fn ends(hit: &Hit, state: u32) -> bool {
    state & ENDS != hit.flags & ENDS
}

/// Has a frame of its own on the stack.
#[inline(never)]
fn tell<F: Family>(tuple: &Tuple<F::Addr>, entry: *mut CtEntry, state: u32, reply: u32) {
    let Some(partner) = partner::<F>(entry, state, tuple.proto) else { return };
    let (src, sport) = forward::partner_source::<F>(&partner);
    let is_source = if reply != 0 {
        src == tuple.dst && sport == tuple.dport
    } else {
        src == tuple.src && sport == tuple.sport
    };
    let (dst, dport) = forward::partner_destination::<F>(&partner);
    let is_destination = if reply != 0 {
        dst == tuple.src && dport == tuple.sport
    } else {
        dst == tuple.dst && dport == tuple.dport
    };
    let sides = flags::FRONT | flags::BACK;
    if is_source && is_destination && (partner.flags ^ state) & sides == sides {
        conntrack::store_state(partner.entry, partner.flags | state & ENDS);
    }
}

/// Whatever lies under the other side's tuple.
#[inline(always)]
fn partner<F: Family>(entry: *mut CtEntry, flags: u32, proto: u8) -> Option<Hit> {
    let hit = Hit { entry, flags, reply: false };
    let (src, sport) = forward::partner_source::<F>(&hit);
    let (dst, dport) = forward::partner_destination::<F>(&hit);
    let tuple = Tuple { src, sport, dst, dport, proto };
    if flags & (flags::BACK | flags::BESIDE) == flags::BACK | flags::BESIDE {
        conntrack::find_beside::<F>(&tuple)
    } else {
        conntrack::find::<F>(&tuple)
    }
}
