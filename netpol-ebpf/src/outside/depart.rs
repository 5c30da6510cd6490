//! What leaves by an uplink through the node's own routing.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::conntrack::flags;

use super::Routed;
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::{
    conntrack,
    ctx::Skb,
    family::{Ipv4, Ipv6},
    forward::{self, DROP, NEXT},
    icmp_error,
    nat::{self, Checks, End},
    parse::Kind,
    progs::Hook,
};

/// Translates answers of the node's own servers, and what the node's routing reports of packets to backends. The TC action.
#[inline(always)]
pub fn leaves(skb: &Skb) -> i32 {
    match skb.ethertype() {
        ETHERTYPE_IPV4 => translate::<Ipv4>(skb.raw()),
        ETHERTYPE_IPV6 => translate::<Ipv6>(skb.raw()),
        _ => NEXT,
    }
}

#[inline(never)]
fn translate<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let skb = &mut Skb::from_raw(raw);
    // Only what this node makes itself: the pods' programs send out what pods answer.
    if skb.ingress_ifindex() != 0 {
        return NEXT;
    }
    let Ok(packet) = F::parse(skb, Hook::ToPod) else { return NEXT };
    let error = packet.kind == Kind::IcmpError;
    let inner = if error { F::inner(skb, packet.l4 + 8) } else { None };
    let tuple = match &inner {
        Some(inner) => &inner.tuple,
        None => &packet.tuple,
    };
    let Some(hit) = conntrack::find::<F>(tuple) else { return NEXT };
    // An answer goes against the connection, an error against a packet that went with it.
    if hit.flags & (flags::OUTSIDE | flags::BACK) != flags::OUTSIDE | flags::BACK || hit.reply == inner.is_some() {
        return NEXT;
    }
    let (other, origin) = (forward::partner_destination::<F>(&hit), forward::partner_source::<F>(&hit));
    let snat = hit.flags & flags::SNAT != 0;
    let done = match &inner {
        Some(inner) => {
            let mut checks = Checks { outer: packet.l3_check, inner: inner.l3_check };
            icmp_error::translate::<F>(skb, &packet, inner, &mut checks, End::Destination, other).and_then(|()| {
                if snat {
                    icmp_error::translate::<F>(skb, &packet, inner, &mut checks, End::Source, origin)
                } else {
                    Ok(())
                }
            })
        }
        None => {
            let source = forward::change::<F>(&packet, End::Source, other);
            if snat {
                let destination = forward::change::<F>(&packet, End::Destination, origin);
                nat::rewrite_both::<F>(skb, &packet, &source, &destination)
            } else {
                nat::rewrite::<F>(skb, &packet, packet.l3_check, &source)
            }
        }
    };
    // Half translated it would reach nobody.
    if done.is_ok() { NEXT } else { DROP }
}
