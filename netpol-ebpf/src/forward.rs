//! A packet of a known, allowed connection: translate and pass on.

use netpol_common::{
    config::{self, Config},
    conntrack::flags,
    net::Address,
    reason::DropReason,
};

use crate::{
    conntrack::Hit,
    ctx::Skb,
    family::Family,
    nat::{self, Change, End},
    parse::Packet,
    progs::Hook,
};

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: go on with whatever else is attached, then as usual.
pub const NEXT: i32 = -1;
/// `TC_ACT_SHOT`
pub const DROP: i32 = 2;

/// Translates if it is this end's turn, and hands the packet over if the other end is a pod of this node.
///
/// Both translations happen at the client's end: destinations as they leave it, sources as they are handed to it. So the
/// node never routes a packet with a service's address as its source.
#[inline(always)]
pub fn established<F: Family>(
    skb: &mut Skb,
    hook: Hook,
    config: &Config,
    packet: &Packet<F::Addr>,
    hit: &Hit,
) -> Result<i32, DropReason> {
    let (_, receiver) = hit.interfaces();
    // What the node translates must meet the node.
    let hand_over = hook == Hook::FromPod
        && receiver != 0
        && hit.flags & flags::NODE_NAT == 0
        && config.flags & config::flags::FAST_PATH != 0;
    if hit.flags & (flags::FRONT | flags::BACK) != 0 {
        let front = hit.flags & flags::FRONT != 0;
        match (hook, hit.reply, front) {
            (Hook::FromPod, false, true) => rewrite::<F>(skb, packet, hit, End::Destination)?,
            (Hook::ToPod, true, false) => rewrite::<F>(skb, packet, hit, End::Source)?,
            (Hook::FromPod, true, false) => {
                if hand_over {
                    rewrite::<F>(skb, packet, hit, End::Source)?;
                }
            }
            (Hook::ToPod, false, false) => {}
            // The client speaks to the backend under a tuple that the backend's answers to the service go by.
            (Hook::FromPod, false, false) => return Err(DropReason::Collision),
            // Nobody but this program sends from a service's address.
            (_, true, true) | (Hook::ToPod, false, true) => return Err(DropReason::Invalid),
        }
    }
    Ok(if hand_over { skb.redirect_peer(receiver) } else { NEXT })
}

#[inline(always)]
fn rewrite<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    hit: &Hit,
    end: End,
) -> Result<(), DropReason> {
    // SAFETY: a non-null pointer into a hash map; both fields are written before the entry is inserted and never after.
    let (addr, new_port) = unsafe { ((*hit.entry).nat_addr, (*hit.entry).nat_port) };
    let (old, old_port) = match end {
        End::Source => (packet.tuple.src, packet.tuple.sport),
        End::Destination => (packet.tuple.dst, packet.tuple.dport),
    };
    nat::rewrite::<F>(skb, packet, &Change { end, old, new: F::Addr::from_words(addr), old_port, new_port })
}
