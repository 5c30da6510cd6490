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
    let own = if reply != 0 { tuple.reversed() } else { *tuple };
    // SAFETY: a non-null pointer into a hash map; written before the entry is inserted and never after.
    let partner = unsafe {
        Tuple {
            src: F::Addr::from_words((*entry).nat_saddr),
            sport: (*entry).nat_sport,
            dst: F::Addr::from_words((*entry).nat_addr),
            dport: (*entry).nat_port,
            proto: own.proto,
        }
    };
    let Some(partner) = F::ct().get_ptr_mut(F::ct_key(&partner)) else { return };
    // SAFETY: as above, of the other entry; single words.
    let (there, src, sport, dst, dport) = unsafe {
        (
            (*partner).flags,
            F::Addr::from_words((*partner).nat_saddr),
            (*partner).nat_sport,
            F::Addr::from_words((*partner).nat_addr),
            (*partner).nat_port,
        )
    };
    let sides = flags::FRONT | flags::BACK;
    if (there ^ state) & sides != sides
        || (src, sport) != (own.src, own.sport)
        || (dst, dport) != (own.dst, own.dport)
    {
        return;
    }
    let told = (there | state & ENDS) >> 16;
    // SAFETY: as in `conntrack::touch`, whose words on the state hold here too.
    unsafe { (&raw mut (*partner).flags).cast::<u16>().add(1).write_volatile(told as u16) };
}
