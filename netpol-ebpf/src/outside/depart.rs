//! What leaves by an uplink through the node's own routing.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{conntrack::flags, direction::Direction, reason::DropReason};

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Routed, answer::answer_of};
use crate::{
    case::Case,
    conntrack::{self, Hit},
    ctx::Skb,
    family::{Ipv4, Ipv6},
    forward::{self, DROP, NEXT},
    icmp_error,
    nat::{self, Checks, End},
    parse::Kind,
    progs::Hook,
};

/// The packet is an ICMP error: `reports` comes next.
const ICMP_ERROR: i32 = 0x100;

/// Translates answers of the node's own servers, and what the node's routing reports of packets to backends. The TC action.
#[inline(always)]
pub fn leaves(skb: &Skb) -> i32 {
    // Only what this node makes itself: the pods' programs send out what pods answer.
    if skb.ingress_ifindex() != 0 {
        return NEXT;
    }
    match skb.ethertype() {
        ETHERTYPE_IPV4 => stages::<Ipv4>(skb.raw()),
        ETHERTYPE_IPV6 => stages::<Ipv6>(skb.raw()),
        _ => NEXT,
    }
}

#[inline(always)]
fn stages<F: Routed>(raw: *mut __sk_buff) -> i32 {
    match answers::<F>(raw) {
        ICMP_ERROR => reports::<F>(raw),
        action => action,
    }
}

#[inline(never)]
fn answers<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let skb = &mut Skb::from_raw(raw);
    let Ok(packet) = F::parse(skb, Hook::ToPod) else { return NEXT };
    if packet.kind == Kind::IcmpError {
        let opened = Case::open::<F>(&packet, Direction::Ingress, 0);
        return if opened.is_some() { ICMP_ERROR } else { DROP };
    }
    let Some(hit) = conntrack::find::<F>(&packet.tuple) else { return NEXT };
    if !hit.is_reply() || !is_backends(&hit) {
        return NEXT;
    }
    sent(nat::rewrite::<F>(skb, &packet, &answer_of::<F>(&packet.tuple, &hit)))
}

#[inline(never)]
fn reports<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let (skb, packet) = (&mut Skb::from_raw(raw), &case.packet);
    let Some(inner) = F::inner(skb, packet.l4 + 8) else { return NEXT };
    let Some(hit) = conntrack::find::<F>(&inner.tuple) else { return NEXT };
    // An error goes against the packet that it quotes.
    if hit.is_reply() || !is_backends(&hit) {
        return NEXT;
    }
    let (other, origin) = (forward::partner_destination::<F>(&hit), forward::partner_source::<F>(&hit));
    let mut checks = Checks { outer: packet.l3_check, inner: inner.l3_check };
    let mut done = icmp_error::translate::<F>(skb, packet, &inner, &mut checks, End::Destination, other);
    if done.is_ok() && hit.flags & flags::SNAT != 0 {
        done = icmp_error::translate::<F>(skb, packet, &inner, &mut checks, End::Source, origin);
    }
    sent(done)
}

/// Whether the entry is the backend's of a connection from outside.
#[inline(always)]
fn is_backends(hit: &Hit) -> bool {
    hit.flags & (flags::OUTSIDE | flags::BACK) == flags::OUTSIDE | flags::BACK
}

/// Half translated it would reach nobody.
#[inline(always)]
fn sent(translated: Result<(), DropReason>) -> i32 {
    if translated.is_ok() { NEXT } else { DROP }
}
