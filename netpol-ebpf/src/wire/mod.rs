//! Traffic from outside before the kernel has made a buffer of it: what only passes through this node, to a backend of another
//! one and back, is sent on; what is for a pod of this node gets a buffer with everything done, and a mark that says so.
//!
//! One place of truth: connections are made, judged and refused by `outside` alone. Here is done what that does with a packet of a
//! connection with a current decision, by the same functions; everything else passes, untouched and uncounted.

mod family;
mod frame;
mod mark;
mod rewrite;
mod way;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use family::Wired;
use frame::Frame;
pub use mark::receiver;
use netpol_common::{
    config::flags::FAST_PATH,
    conntrack::flags,
    logic::tcp,
    net::proto,
    parse::{Buffer, Kind},
    wire::Mark,
};
use rewrite::Ends;

use crate::{
    config as settings,
    conntrack::{self, Hit},
    family::{Ipv4, Ipv6},
    forward,
    maps::WIRE_SENT,
    outside::{Routed, uplink},
    parse::Packet,
    partner,
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
    // A client's packet finds the front entry, a backend's the back one. What a pod of this node sends does not come this way.
    let wrong_way = (hit.flags & flags::FRONT != 0) == hit.is_reply();
    let (sender, receiver) = hit.interfaces();
    // What goes on as it is gets a header of its own, which is TC's work.
    let outside = hit.flags & (flags::OUTSIDE | flags::DSR) == flags::OUTSIDE;
    if !outside || wrong_way || sender != 0 {
        return None;
    }
    // Both entries learn of the end, for which there is no room on the stack here.
    let segment = packet.tuple.proto == proto::TCP;
    if segment && partner::ends(&hit, tcp::advance(hit.flags, hit.is_reply(), packet.tcp_flags)) {
        return None;
    }
    let config = settings::read();
    if !hit.may_pass(config.epoch, 0) || conntrack::asks_to_open(&packet, &hit) {
        return None;
    }
    match (hit.flags & flags::SNAT != 0, receiver) {
        (true, 0) => send_on::<F>(frame, &packet, &hit),
        (false, pod @ 1..) if config.flags & FAST_PATH != 0 => hand_in::<F>(frame, &packet, &hit, pod),
        _ => None,
    }
}

/// To a backend of another node, or back from there.
#[inline(always)]
fn send_on<F: Wired + Routed>(frame: &mut Frame, packet: &Packet<F::Addr>, hit: &Hit) -> Option<u32> {
    let (other, origin) = (forward::partner_destination::<F>(hit), forward::partner_source::<F>(hit));
    let (src, dst) = if hit.is_reply() { (other, origin) } else { (origin, other) };
    let way = way::find::<F>(frame, src.0, dst.0, if hit.is_reply() { uplink(hit) } else { 0 })?;
    let hops: u8 = frame.linear(F::HOPS)?;
    // The node's routing says that its time is over.
    if hops <= 1 || !way::leads_on(frame, &way)? {
        return None;
    }
    conntrack::touch(hit, frame.length(), packet);
    let done = rewrite::rewrite::<F>(frame, packet, &Ends { src, dst }, [hops, hops.wrapping_sub(1)]);
    if done.and_then(|()| rewrite::address(frame, &way)).is_none() {
        return Some(xdp_action::XDP_ABORTED);
    }
    count();
    Some(if way.ifindex == frame.ifindex() { xdp_action::XDP_TX } else { frame.redirect(way.ifindex) })
}

/// To a pod of this node, which needs a buffer: `from_netdev` hands over what is marked. Until a mark has come through there, all
/// that is done is to make one that says nothing else.
#[inline(always)]
fn hand_in<F: Wired>(frame: &mut Frame, packet: &Packet<F::Addr>, hit: &Hit, pod: u32) -> Option<u32> {
    let hops: u8 = frame.linear(F::HOPS)?;
    let known = way::carries_marks(frame)?;
    frame.mark(Mark::new(mark::secret(), if known { pod } else { 0 })?)?;
    if !known {
        return None;
    }
    conntrack::touch(hit, frame.length(), packet);
    let src = (packet.tuple.src, packet.tuple.sport);
    let dst = forward::partner_destination::<F>(hit);
    if rewrite::rewrite::<F>(frame, packet, &Ends { src, dst }, [hops; 2]).is_none() {
        return Some(xdp_action::XDP_ABORTED);
    }
    count();
    Some(PASS)
}

#[inline(always)]
fn count() {
    if let Some(sent) = WIRE_SENT.get_ptr_mut(0) {
        // SAFETY: this CPU's own row; programs of one CPU do not interrupt each other.
        unsafe { *sent += 1 };
    }
}
