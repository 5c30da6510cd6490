//! ICMP errors about known connections: they belong to the connection, and are translated with it.

use netpol_common::{
    config::{self, Config},
    conntrack::flags,
    net::Address,
    reason::DropReason,
};

use crate::{
    conntrack::{self, Hit},
    ctx::Skb,
    family::Family,
    forward::NEXT,
    nat::{self, Change, End},
    parse::Packet,
    peer,
    progs::Hook,
};

/// `None` if the quoted packet belongs to no connection that the sender of the error takes part in: then the error is
/// judged as any other ICMP message.
#[inline(always)]
pub fn related<F: Family>(
    skb: &mut Skb,
    hook: Hook,
    config: &Config,
    packet: &Packet<F::Addr>,
) -> Option<Result<i32, DropReason>> {
    let inner = F::inner(skb, packet.l4 + 8)?;
    let hit = conntrack::find::<F>(&inner.tuple)?;
    if hit.judged().is_denied() {
        return None;
    }
    // The error goes back to whoever sent the quoted packet.
    let (reporter_of, receiver_of) = {
        let (sender, receiver) = hit.interfaces();
        (receiver, sender)
    };
    let owned = match hook {
        Hook::FromPod => reporter_of == skb.ifindex() && F::peer(packet.tuple.src).ifindex == skb.ifindex(),
        Hook::ToPod => {
            receiver_of == skb.ifindex()
                && match F::peer(packet.tuple.src).ifindex {
                    0 => true,
                    pod => peer::came_from(skb.ingress_ifindex(), pod),
                }
        }
    };
    if !owned {
        return None;
    }
    let hand_over = hook == Hook::FromPod && receiver_of != 0 && config.flags & config::flags::FAST_PATH != 0;
    if let Some(end) = translated_end(&hit, hook, hand_over) {
        let (old, old_port, outer) = match end {
            End::Source => (inner.tuple.src, inner.tuple.sport, End::Destination),
            End::Destination => (inner.tuple.dst, inner.tuple.dport, End::Source),
        };
        // SAFETY: a non-null pointer into a hash map; both fields never change after the entry was inserted.
        let (addr, new_port) = unsafe { ((*hit.entry).nat_addr, (*hit.entry).nat_port) };
        let change = Change { end, old, new: F::Addr::from_words(addr), old_port, new_port };
        // A router on the way reports under its own address.
        let stands_outside = match outer {
            End::Source => packet.tuple.src == old,
            End::Destination => packet.tuple.dst == old,
        };
        if let Err(reason) =
            nat::rewrite_quoted::<F>(skb, packet, &inner, &change, stands_outside.then_some(outer))
        {
            return Some(Err(reason));
        }
    }
    Some(Ok(if hand_over { skb.redirect_peer(receiver_of) } else { NEXT }))
}

/// Which end of the quoted packet this hook translates, in step with `forward::established`.
#[inline(always)]
fn translated_end(hit: &Hit, hook: Hook, hand_over: bool) -> Option<End> {
    match (hook, hit.reply, hit.flags & (flags::FRONT | flags::BACK)) {
        // The client reports on an answer that it saw from the service's address.
        (Hook::FromPod, true, flags::FRONT) => Some(End::Source),
        // The backend, or a router behind it, reports on what the client sent.
        (Hook::ToPod, false, flags::BACK) => Some(End::Destination),
        (Hook::FromPod, false, flags::BACK) if hand_over => Some(End::Destination),
        _ => None,
    }
}
