//! Traffic from outside: clients that reach Services by way of this node.
//!
//! The stages of `from_netdev`, as `pipeline` has those of the pods' programs, with the same rules for frames and answers. A
//! packet that belongs to no Service passes: whether it may reach a pod is `to_pod`'s question.

mod admit;
mod answer;
mod depart;
pub mod dsr;
mod report;
mod source;
mod uplink;

pub use admit::enter;
pub use answer::{FOUND, NO_NEIGHBOUR, TOO_LARGE, answer, leave, route, segment, uplink};
use aya_ebpf::bindings::__sk_buff;
pub use depart::leaves;
use dsr::Tunnelled;
use netpol_common::{config, conntrack::flags, direction::Direction, reason::DropReason};
pub use report::report;
pub use uplink::Routed;

use crate::{
    across,
    apart::Apart,
    beside::{self, Next},
    case::Case,
    config as settings,
    conntrack::{self, Hit},
    ctx::Skb,
    event,
    family::{Ipv4, Ipv6},
    forward::{self, DROP, NEXT},
    judge, metrics,
    nat::{self, End},
    parse::{Kind, Packet},
    partner,
    pipeline::{FAILED, LEAVE, TOO_BIG},
    progs::Hook,
    refuse, service, wire,
};

const ETHERTYPE_IPV4: u32 = 0x0800_u16.to_be() as u32;
const ETHERTYPE_IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// The packet has no current decision: `known` comes next.
const UNSETTLED: i32 = 0x100;
/// The packet is an ICMP error: `report` comes next.
const ICMP_ERROR: i32 = 0x101;
/// The packet belongs to no connection, or to one that is over: `new` comes next.
const NEW: i32 = 0x102;
/// The connection has a decision now: `established` comes next.
const SETTLED: i32 = 0x103;
/// A connection was entered: `opened` comes next.
const OPENED: i32 = 0x104;
/// Source and destination are translated: `both_ends` comes next.
const BOTH_ENDS: i32 = 0x105;
/// The entry under the packet's tuple is another connection's: `beside` comes next.
const BESIDE: i32 = 0x106;
/// The packet goes to the backend's node as it is: `encapsulate` comes next.
const SEND_ON: i32 = 0x110;
/// Another node has sent the packet on: `forwarded` comes next.
const DECAPSULATED: i32 = 0x111;
/// The ICMP error is about a packet from node to node: `relay` comes next.
const RELAY: i32 = 0x112;
/// The packet becomes the ICMP error about itself: `tell` comes next.
const TELL: i32 = 0x114;
/// The packet is for no Service: it passes.
pub const STRANGE: i32 = 0x113;

/// What becomes of a packet that comes in by an uplink: the TC action.
#[inline(always)]
pub fn arrives(skb: &mut Skb) -> i32 {
    // Translated and counted in front. What lies before the frame costs others one comparison.
    let receiver = wire::receiver(skb.raw());
    if receiver != 0 {
        return skb.redirect_peer(receiver);
    }
    match skb.ethertype() {
        ETHERTYPE_IPV4 => stages::<Ipv4>(skb.raw()),
        ETHERTYPE_IPV6 => stages::<Ipv6>(skb.raw()),
        _ => NEXT,
    }
}

#[inline(always)]
fn stages<F: Apart + Tunnelled>(raw: *mut __sk_buff) -> i32 {
    // Of a tunnel the packets themselves are for no Service.
    let mut answer = if F::is_tunnel(&Skb::from_raw(raw)) { F::decapsulate(raw) } else { F::arrived(raw, 0) };
    let sent_on = answer == DECAPSULATED;
    if sent_on {
        answer = forwarded::<F>(raw);
    }
    if answer == ICMP_ERROR {
        answer = F::report(raw);
        if sent_on && (answer == STRANGE || answer == SEND_ON || answer == RELAY) {
            answer = FAILED | DropReason::Encapsulation as i32;
        }
    }
    if answer == BESIDE {
        answer = F::beside_arrived(raw, 0);
    }
    if answer == UNSETTLED {
        answer = F::known_arrived(raw);
    }
    if answer == SEND_ON {
        answer = F::encapsulate(raw);
    }
    if answer == NEW {
        answer = if sent_on { F::new_forwarded(raw) } else { F::new_arrived(raw) };
    }
    if answer == OPENED {
        answer = opened::<F>(raw);
    }
    if answer == SETTLED {
        F::audited_received(raw);
        answer = F::arrived(raw, 1);
    }
    if answer == BESIDE {
        answer = F::beside_arrived(raw, 1);
    }
    if answer == BOTH_ENDS {
        answer = both_ends::<F>(raw);
    }
    if answer == SEND_ON {
        answer = F::encapsulate(raw);
    }
    if answer == RELAY {
        answer = F::relay(raw);
    }
    if answer == TELL {
        answer = F::tell(raw);
    }
    if answer == LEAVE {
        answer = F::leave(raw);
    }
    if answer == TOO_BIG {
        answer = too_big::<F>(raw);
    }
    if answer == STRANGE {
        return NEXT;
    }
    if answer < UNSETTLED {
        return answer;
    }
    // A connection that vanished between two stages is dropped as well: nothing but a decision lets a packet on.
    let reason = if answer & FAILED != 0 { answer as u8 } else { DropReason::Invalid as u8 };
    let dropped = F::failed_received(raw, reason.into());
    if reason == DropReason::NoBackend as u8 && refused::<F>(raw) == LEAVE {
        let sent = F::leave(raw);
        if sent < UNSETTLED {
            return sent;
        }
    }
    dropped
}

/// Translates the error that a packet has become for whoever sent that, and sends it out.
#[inline(always)]
fn too_big<F: Apart>(raw: *mut __sk_buff) -> i32 {
    let mut answer = F::arrived(raw, 0);
    if answer == ICMP_ERROR {
        answer = F::report(raw);
    }
    if answer == LEAVE { F::leave(raw) } else { answer }
}

/// Looks at a packet that another node has sent on. Whatever is for no Service is nothing that nodes send each other.
#[inline(always)]
fn forwarded<F: Apart>(raw: *mut __sk_buff) -> i32 {
    Case::<F::Addr>::mark_forwarded(true);
    let answer = F::arrived(raw, 0);
    Case::<F::Addr>::mark_forwarded(false);
    match answer {
        STRANGE => FAILED | DropReason::Encapsulation as i32,
        // The other node's choice came later than this one's.
        SEND_ON => NEW,
        answer => answer,
    }
}

/// Parse, one lookup, translate. `settled`: this packet was judged a moment ago, whatever the epoch is by now.
#[inline(always)]
pub fn established<F: Tunnelled>(raw: *mut __sk_buff, settled: u32) -> i32 {
    let skb = &mut Skb::from_raw(raw);
    // What cannot be read is for no Service; a pod's program says what is to be said of it.
    let Ok(packet) = F::parse(skb, Hook::ToPod) else { return STRANGE };
    let mut answer = UNSETTLED;
    if packet.kind == Kind::Pass {
        return STRANGE;
    } else if packet.kind == Kind::IcmpError && settled == 0 {
        answer = ICMP_ERROR;
    } else if let Some(hit) = conntrack::find::<F>(&packet.tuple) {
        let config = settings::read();
        let outside = hit.flags & flags::OUTSIDE != 0;
        if !outside && !across::comes_in::<F>(skb, &config, &packet, &hit) {
            return STRANGE;
        }
        if !packet.is_sound() {
            answer = FAILED | DropReason::Invalid as i32;
        } else if outside && hit.is_shared() && forward::partner_source::<F>(&hit).0 == packet.tuple.src {
            answer = BESIDE;
        } else if hit.may_pass(config.epoch, settled)
            && (settled != 0 || !conntrack::asks_to_open(&packet, &hit))
        {
            let state = conntrack::touch(&hit, skb.len(), &packet);
            partner::follow::<F>(skb, &packet, &hit, state);
            answer = match way(&hit) {
                Ok(Ends::Both) => BOTH_ENDS,
                Ok(Ends::None) => return aim::<F>(skb, &packet, &hit),
                Ok(Ends::Known) => return hand_on(skb, &hit, config.flags),
                Ok(Ends::One(end)) => {
                    let partner = forward::partner_destination::<F>(&hit);
                    let to = nat::with(&packet.tuple, end, partner);
                    match nat::rewrite::<F>(skb, &packet, &to) {
                        Ok(()) => return hand_on(skb, &hit, config.flags),
                        Err(reason) => FAILED | reason as i32,
                    }
                }
                Err(reason) => FAILED | reason as i32,
            };
        }
    } else if F::frontend(packet.tuple.dst, packet.tuple.dport, packet.tuple.proto).is_none()
        // Asked for the first segment of a connection only: datagrams of tunnels come this way too, each of them.
        && !(packet.opens() && service::is_whole::<F>(&packet.tuple.dst))
        // A node port of another node.
        && !Case::<F::Addr>::is_forwarded()
    {
        return STRANGE;
    } else {
        answer = NEW;
    }
    match Case::open::<F>(&packet, Direction::Ingress, 0) {
        Some(case) => {
            case.uplink = skb.ifindex();
            answer
        }
        None => DROP,
    }
}

/// Opens the case of a packet that goes to its backend's node as it is.
#[inline(always)]
fn aim<F: Tunnelled>(skb: &Skb, packet: &Packet<F::Addr>, hit: &Hit) -> i32 {
    let Some(case) = Case::open::<F>(packet, Direction::Ingress, 0) else { return DROP };
    case.uplink = skb.ifindex();
    (case.nat_dst, case.nat_dport) = forward::partner_destination::<F>(hit);
    SEND_ON
}

/// What of a packet is translated.
enum Ends {
    /// Nothing: it goes to its backend's node as it is.
    None,
    /// Nothing: its receiver is known to it as it is.
    Known,
    One(End),
    Both,
}

#[inline(always)]
fn way(hit: &Hit) -> Result<Ends, DropReason> {
    if hit.flags & flags::OUTSIDE == 0 {
        // An answer to a client of this node that spoke to a Service, or none of a Service's.
        let answers = hit.flags & flags::BACK != 0;
        return Ok(if answers { Ends::One(End::Source) } else { Ends::Known });
    }
    let snat = hit.flags & flags::SNAT != 0;
    match (hit.flags & flags::FRONT != 0, hit.is_reply(), snat) {
        // Nothing answers by this node what goes on as it is.
        (true, false, false) if hit.flags & flags::DSR != 0 => Ok(Ends::None),
        (true, false, false) => Ok(Ends::One(End::Destination)),
        // A backend elsewhere answers under the address it was given.
        (true, false, true) | (false, true, true) => Ok(Ends::Both),
        // Nobody outside sends from a service's address, from ours, or as a backend of this node.
        _ => Err(DropReason::Invalid),
    }
}

/// A packet for a pod of this node, or for a backend of it, goes to its pod, or to the node's own servers.
#[inline(always)]
fn hand_on(skb: &mut Skb, hit: &Hit, switches: u32) -> i32 {
    let (_, receiver) = hit.interfaces();
    if receiver != 0 && switches & config::flags::FAST_PATH != 0 { skb.redirect_peer(receiver) } else { NEXT }
}

/// Translates source and destination. A lookup of its own, as in `pipeline`.
#[inline(never)]
fn both_ends<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let Some(hit) = conntrack::find_for::<F>(case) else { return DROP };
    let (receiver_here, leave_by) = (hit.interfaces().1 != 0, uplink(&hit));
    case.leave_by = if hit.is_reply() { leave_by } else { 0 };
    let skb = &mut Skb::from_raw(raw);
    match answer::both_ends::<F>(skb, &case.packet, &hit) {
        Ok(()) if receiver_here => hand_on(skb, &hit, settings::read().flags),
        Ok(()) => LEAVE,
        Err(reason) => FAILED | reason as i32,
    }
}

/// A client's packet to a backend, from a port under which that one answers it as a Service.
#[inline(always)]
pub fn beside<F: Routed>(raw: *mut __sk_buff, settled: u32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match beside::meet::<F>(&Skb::from_raw(raw), case, settled, |hit| hit.flags & flags::OUTSIDE != 0) {
        Next::Settled => BOTH_ENDS,
        Next::Unsettled => UNSETTLED,
        Next::New => NEW,
        Next::Gone => FAILED | DropReason::Invalid as i32,
    }
}

/// Judges a known connection under the epoch of now.
#[inline(always)]
pub fn known<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    // Never otherwise. But a global function whose context is not used gets none from the compiler, and the verifier wants one.
    if case.uplink != Skb::from_raw(raw).ifindex() {
        return DROP;
    }
    match conntrack::find_for::<F>(case) {
        Some(hit) if hit.flags & flags::OUTSIDE != 0 => {
            if conntrack::reopens(&case.packet, &hit) {
                return if hit.over() { NEW } else { FAILED | DropReason::Invalid as i32 };
            }
            if case.beside == 0 && service::asks_anew::<F>(&case.packet, &hit) {
                return NEW;
            }
            match judge::again::<F>(&hit, case) {
                Ok(true) => SETTLED,
                Ok(false) => NEW,
                Err(reason) => FAILED | reason as i32,
            }
        }
        _ => NEW,
    }
}

/// Lets a client in, and makes its packet a connection.
#[inline(always)]
pub fn new<F: Apart + Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match admit::admit::<F>(&Skb::from_raw(raw), case) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

/// Counts a connection that was let in, and tells whoever listens.
#[inline(never)]
fn opened<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    metrics::count(0, Direction::Ingress, skb.len());
    if settings::read().flags & config::flags::FLOW_EVENTS != 0 {
        event::forwarded(skb, Hook::ToPod, case);
    }
    SETTLED
}

/// Sends the packet that was dropped back as its own refusal.
#[inline(never)]
fn refused<F: Routed + refuse::Header>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    case.leave_by = case.uplink;
    if refuse::make::<F>(&mut Skb::from_raw(raw), &case.packet) { LEAVE } else { DROP }
}
