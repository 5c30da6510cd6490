//! Connections to a backend itself, from a port under which that one answers its client as a Service.
//!
//! The tuple of such a connection is the other one's back entry. It has a source port of its own towards the backend, and its
//! front entry stands under the same tuple with a bit more in the key, which is looked up only by packets that meet the other
//! entry against the way that its packets go.

use netpol_common::conntrack::flags;

use crate::{
    case::Case,
    config as settings,
    conntrack::{self, Hit},
    ctx::Skb,
    family::Family,
    partner,
};

/// What comes next for such a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has a decision: both ends are translated.
    Settled,
    /// Its connection is to be judged.
    Unsettled,
    /// It belongs to no connection yet.
    New,
    /// The other entry has gone this very moment.
    Gone,
}

/// Finds the connection of the case's packet beside the other one, and counts the packet. `is_own` says whether an entry is
/// one of this packet's.
#[inline(always)]
pub fn meet<F: Family>(
    skb: &Skb,
    case: &mut Case<F::Addr>,
    settled: u32,
    is_own: impl Fn(&Hit) -> bool,
) -> Next {
    let Some(other) = conntrack::find::<F>(&case.packet.tuple) else { return Next::Gone };
    if let Some(hit) = conntrack::find_beside::<F>(&case.packet.tuple)
        && is_own(&hit)
        && !(case.packet.opens() && flags::closed(hit.flags))
    {
        conntrack::keep(&other);
        case.beside = 1;
        if !hit.may_pass(settings::read().epoch, settled) {
            return Next::Unsettled;
        }
        let state = conntrack::touch(&hit, skb.len(), &case.packet);
        partner::follow::<F>(skb, &case.packet, &hit, state);
        return Next::Settled;
    }
    // What asks for a connection when the other one is over takes that one's place.
    if !(case.packet.opens() && flags::closed(other.flags)) {
        conntrack::keep(&other);
        case.beside = 1;
    }
    Next::New
}
