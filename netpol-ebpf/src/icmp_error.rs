//! ICMP errors about known connections: they belong to the connection, and are translated with it.

use netpol_common::{
    config::{self, Config},
    conntrack::{Tuple, flags},
    net::Be16,
    reason::DropReason,
};

use crate::{
    conntrack::{self, Hit},
    ctx::Skb,
    family::Family,
    forward::{self, NEXT},
    nat::{self, Change, Checks, End},
    parse::{Inner, Packet},
    peer,
    pipeline::OUTSIDE_ERROR,
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
    let mut hit = conntrack::find::<F>(&inner.tuple)?;
    if hook == Hook::FromPod {
        hit = answer_to_client::<F>(&inner.tuple, hit);
    }
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
                    0 => peer::is_accounted_for(skb.ingress_ifindex()),
                    pod => peer::came_from(skb.ingress_ifindex(), pod),
                }
        }
    };
    if !owned {
        return None;
    }
    if hook == Hook::FromPod && hit.flags & flags::OUTSIDE != 0 {
        return Some(Ok(OUTSIDE_ERROR));
    }
    let hand_over = hook == Hook::FromPod
        && receiver_of != 0
        && (config.flags & config::flags::FAST_PATH != 0 || receiver_of == reporter_of);
    if let Some(end) = translated_end(&hit, hook, hand_over) {
        let mut checks = Checks { outer: packet.l3_check, inner: inner.l3_check };
        let partner = forward::partner_destination::<F>(&hit);
        if let Err(reason) = translate::<F>(skb, packet, &inner, &mut checks, end, partner) {
            return Some(Err(reason));
        }
        if hit.flags & flags::SNAT != 0 {
            let other = end.other();
            let partner = forward::partner_source::<F>(&hit);
            if let Err(reason) = translate::<F>(skb, packet, &inner, &mut checks, other, partner) {
                return Some(Err(reason));
            }
        }
    }
    Some(Ok(if hand_over { skb.redirect_peer(receiver_of) } else { NEXT }))
}

/// The entry of a packet that its receiver, a client, reports on: of a backend's answers only those of a connection beside
/// another one look to it as they look here.
#[inline(always)]
pub fn answer_to_client<F: Family>(quoted: &Tuple<F::Addr>, hit: Hit) -> Hit {
    if hit.is_reply() && hit.flags & flags::BACK != 0 {
        conntrack::find_beside::<F>(quoted).unwrap_or(hit)
    } else {
        hit
    }
}

/// Which end of the quoted packet this hook translates, in step with `forward::established`.
#[inline(always)]
fn translated_end(hit: &Hit, hook: Hook, hand_over: bool) -> Option<End> {
    match (hook, hit.is_reply(), hit.flags & (flags::FRONT | flags::BACK)) {
        // The client reports on an answer that it saw from the service's address.
        (Hook::FromPod, true, flags::FRONT) => Some(End::Source),
        // The backend, or a router behind it, reports on what the client sent.
        (Hook::ToPod, false, flags::BACK) => Some(End::Destination),
        (Hook::FromPod, false, flags::BACK) if hand_over => Some(End::Destination),
        _ => None,
    }
}

/// Translates one end of the quoted packet, and the reporter or receiver of the error with it.
#[inline(always)]
pub fn translate<F: Family>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    inner: &Inner<F::Addr>,
    checks: &mut Checks,
    end: End,
    (new, new_port): (F::Addr, Be16),
) -> Result<(), DropReason> {
    let (old, old_port) = match end {
        End::Source => (inner.tuple.src, inner.tuple.sport),
        End::Destination => (inner.tuple.dst, inner.tuple.dport),
    };
    let outer = end.other();
    // A router on the way reports under its own address.
    let stands_outside = match outer {
        End::Source => packet.tuple.src == old,
        End::Destination => packet.tuple.dst == old,
    };
    let change = Change { end, old, new, old_port, new_port };
    nat::rewrite_quoted::<F>(skb, packet, inner, checks, &change, stands_outside.then_some(outer))
}
