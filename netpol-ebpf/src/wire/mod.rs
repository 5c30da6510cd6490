//! Traffic from outside before the kernel has made a buffer of it: what only passes through this node, to a backend of another
//! one and back.
//!
//! One place of truth: connections are made, judged and refused by `outside` alone. Here is done what that does with a packet of a
//! connection with a current decision, by the same functions; everything else passes, untouched and uncounted.

mod family;
mod frame;
mod rewrite;
mod way;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use family::Wired;
use frame::Frame;
use netpol_common::{
    conntrack::flags,
    logic::tcp,
    net::proto,
    parse::{Buffer, Kind},
};
use rewrite::Ends;

use crate::{
    config as settings, conntrack,
    family::{Ipv4, Ipv6},
    forward,
    maps::WIRE_SENT,
    outside::{Routed, uplink},
    partner,
    pipeline::reopens,
};

const PASS: u32 = xdp_action::XDP_PASS;

/// What becomes of a frame: the XDP action.
#[inline(always)]
pub fn arrives(raw: *mut xdp_md) -> u32 {
    match Frame::from_raw(raw).linear::<u16>(12).map(u16::from_be) {
        Some(0x0800) => forward::<Ipv4>(raw),
        Some(0x86dd) => forward::<Ipv6>(raw),
        _ => PASS,
    }
}

#[inline(never)]
fn forward<F: Wired + Routed>(raw: *mut xdp_md) -> u32 {
    through::<F>(&mut Frame::from_raw(raw)).unwrap_or(PASS)
}

/// `None`: it passes. Nothing is changed before everything is known.
#[inline(always)]
fn through<F: Wired + Routed>(frame: &mut Frame) -> Option<u32> {
    let Ok(packet) = F::read(frame) else { return None };
    let transport = matches!(packet.tuple.proto, proto::TCP | proto::UDP);
    if packet.kind != Kind::Flow || !transport || packet.l4 as usize != F::L4 || !packet.is_sound() {
        return None;
    }
    let hit = conntrack::find::<F>(&packet.tuple)?;
    const THROUGH: u32 = flags::OUTSIDE | flags::SNAT;
    // A client's packet finds the front entry, a backend's the back one. What a pod of this node sends or receives is not sent on.
    let wrong_way = (hit.flags & flags::FRONT != 0) == hit.reply;
    if hit.flags & THROUGH != THROUGH || wrong_way || hit.interfaces() != (0, 0) {
        return None;
    }
    // Both entries learn of the end, for which there is no room on the stack here.
    let segment = packet.tuple.proto == proto::TCP;
    if segment && partner::ends(&hit, tcp::advance(hit.flags, hit.reply, packet.tcp_flags)) {
        return None;
    }
    if !hit.may_pass(settings::read().epoch, 0) || reopens(&packet, &hit) {
        return None;
    }
    let (other, origin) = (forward::partner_destination::<F>(&hit), forward::partner_source::<F>(&hit));
    let (src, dst) = if hit.reply { (other, origin) } else { (origin, other) };
    let way = way::find::<F>(frame, src.0, dst.0, if hit.reply { uplink(&hit) } else { 0 })?;
    let hops: u8 = frame.linear(F::HOPS)?;
    // The node's routing says that its time is over.
    if hops <= 1 || !way::leads_on(frame, &way)? {
        return None;
    }
    conntrack::touch(&hit, frame.length(), &packet);
    if rewrite::rewrite::<F>(frame, &packet, &Ends { src, dst }, hops, &way).is_none() {
        return Some(xdp_action::XDP_ABORTED);
    }
    count();
    Some(if way.ifindex == frame.ifindex() { xdp_action::XDP_TX } else { frame.redirect(way.ifindex) })
}

#[inline(always)]
fn count() {
    if let Some(sent) = WIRE_SENT.get_ptr_mut(0) {
        // SAFETY: this CPU's own row; programs of one CPU do not interrupt each other.
        unsafe { *sent += 1 };
    }
}
