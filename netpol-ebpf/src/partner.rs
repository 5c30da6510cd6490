//! The other entry of a translated connection.

use netpol_common::{
    conntrack::{CtEntry, Tuple, flags},
    net::Address,
};

use crate::{conntrack::Hit, family::Family};

/// How a connection ends.
const ENDS: u32 = flags::FIN_ORIG | flags::FIN_REPLY | flags::RST;

/// Tells the other entry what a packet said of the connection's end: where packets are handed over, each entry sees those of one
/// direction only, and a connection that is over must not keep another one from its tuple. `state` is
/// what the packet's own entry says now, and `hit` what it said before.
#[inline(always)]
pub fn follow<F: Family>(tuple: &Tuple<F::Addr>, hit: &Hit, state: u32) {
    if state & ENDS != hit.flags & ENDS && state & (flags::FRONT | flags::BACK) != 0 {
        tell::<F>(tuple, hit.entry, state, u32::from(hit.reply));
    }
}

/// Has a frame of its own on the stack.
#[inline(never)]
fn tell<F: Family>(tuple: &Tuple<F::Addr>, entry: *const CtEntry, state: u32, reply: u32) {
    let Some(partner) = partner::<F>(entry, tuple.proto) else { return };
    // SAFETY: a non-null pointer into a hash map; written before the entry is inserted and never after.
    let (src, sport) = unsafe { (F::Addr::from_words((*partner).nat_saddr), (*partner).nat_sport) };
    let is_source = if reply != 0 {
        src == tuple.dst && sport == tuple.dport
    } else {
        src == tuple.src && sport == tuple.sport
    };
    // SAFETY: as above.
    let (dst, dport) = unsafe { (F::Addr::from_words((*partner).nat_addr), (*partner).nat_port) };
    let is_destination = if reply != 0 {
        dst == tuple.src && dport == tuple.sport
    } else {
        dst == tuple.dst && dport == tuple.dport
    };
    // SAFETY: a single word.
    let there = unsafe { (*partner).flags };
    let sides = flags::FRONT | flags::BACK;
    if !is_source || !is_destination || (there ^ state) & sides != sides {
        return;
    }
    let told = (there | state & ENDS) >> 16;
    // SAFETY: as in `conntrack::touch`, whose words on the state hold here too.
    unsafe { (&raw mut (*partner).flags).cast::<u16>().add(1).write_volatile(told as u16) };
}

/// Whatever lies under the other side's tuple.
#[inline(always)]
fn partner<F: Family>(entry: *const CtEntry, proto: u8) -> Option<*mut CtEntry> {
    // SAFETY: a non-null pointer into a hash map; written before the entry is inserted and never after.
    let tuple = unsafe {
        Tuple {
            src: F::Addr::from_words((*entry).nat_saddr),
            sport: (*entry).nat_sport,
            dst: F::Addr::from_words((*entry).nat_addr),
            dport: (*entry).nat_port,
            proto,
        }
    };
    F::ct().get_ptr_mut(F::ct_key(&tuple))
}
