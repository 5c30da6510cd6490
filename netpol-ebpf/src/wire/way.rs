//! By which interface a frame leaves, and to whom.

use aya_ebpf::bindings::BPF_FIB_LOOKUP_OUTPUT;
use netpol_common::{
    parse::Buffer,
    wire::{self, WireRow},
};

use super::{family::Wired, frame::Frame};
use crate::{
    ctx::Route,
    maps::WIRE,
    outside::{FOUND, NO_NEIGHBOUR, Routed, TOO_LARGE, route},
};

/// The way that `outside::answer::ask` finds, if the next hop is known and the packet is not too large for it.
#[inline(always)]
pub fn find<F: Wired + Routed>(frame: &Frame, src: F::Addr, dst: F::Addr, uplink: u32) -> Option<Route> {
    let Ok(length) = u16::try_from(F::length(frame)?) else { return None };
    let mut way = Route { tot_len: length, ..route::<F>(src, dst, uplink) };
    if uplink != 0 {
        let said = frame.look_up_route(&mut way, BPF_FIB_LOOKUP_OUTPUT);
        if said == FOUND {
            return Some(way);
        }
        if said == NO_NEIGHBOUR || said == TOO_LARGE {
            return None;
        }
        way = Route { tot_len: length, ..route::<F>(src, dst, frame.ifindex()) };
    } else {
        way.ifindex = frame.ifindex();
    }
    (frame.look_up_route(&mut way, 0) == FOUND).then_some(way)
}

/// Whether a frame that came in by one interface was for that, and can be sent out by the way that was found. Drivers send frames of
/// other interfaces only if they were told to, and drop them else.
#[inline(always)]
pub fn leads_on(frame: &Frame, way: &Route) -> Option<bool> {
    let to: [u8; 6] = frame.linear(0)?;
    if way.ifindex == frame.ifindex() {
        return Some(same(to, way.smac));
    }
    let WireRow { mode, mac, .. } = row(frame.ifindex());
    Some(same(to, mac) && (row(way.ifindex).mode == wire::NATIVE || mode == wire::GENERIC))
}

/// If a frame was for the interface that it came in by: whether that is known to carry marks.
#[inline(always)]
pub fn carries_marks(frame: &Frame) -> Option<bool> {
    let to: [u8; 6] = frame.linear(0)?;
    let WireRow { mode, mac, marks } = row(frame.ifindex());
    if mode != 0 && same(to, mac) { Some(marks == wire::CARRIES_MARKS) } else { None }
}

#[inline(always)]
fn row(ifindex: u32) -> WireRow {
    // SAFETY: copied at once; the agent replaces rows whole.
    unsafe { WIRE.get(ifindex) }.copied().unwrap_or_default()
}

/// Not byte by byte.
#[inline(always)]
fn same([a, b, c, d, e, f]: [u8; 6], [g, h, i, j, k, l]: [u8; 6]) -> bool {
    (a ^ g) | (b ^ h) | (c ^ i) | (d ^ j) | (e ^ k) | (f ^ l) == 0
}
