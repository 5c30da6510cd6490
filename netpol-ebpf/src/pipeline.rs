//! The order of stages. The only file that knows it.
//!
//! Each stage has its own frame on the stack (512 bytes for a chain of calls) and answers with a number: a TC action, or
//! which stage comes next. What a packet with a current decision needs is one stage; everything else starts there, works on
//! the [`Case`], and ends there again.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{direction::Direction, policy::RuleId, reason::DropReason, stats::Extra};

use crate::{
    admit::{self, Admitted},
    apart::Apart,
    beside::{self, Next},
    case::Case,
    config as settings, conntrack,
    ctx::Skb,
    ending,
    entries::Entered,
    event,
    family::{Family, Ipv4, Ipv6},
    forward::{self, DROP, HAND_OVER, NEXT, Way},
    icmp_error, judge, metrics, mid_flow,
    outside::{self, Routed, dsr::Tunnelled},
    parse::Kind,
    partner, peer,
    progs::Hook,
    refuse, service,
};

const ETHERTYPE_IPV4: u32 = 0x0800_u16.to_be() as u32;
const ETHERTYPE_ARP: u32 = 0x0806_u16.to_be() as u32;
const ETHERTYPE_IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// The packet has no current decision: `known` comes next.
const UNSETTLED: i32 = 0x100;
/// The packet is an ICMP error: `related` comes next.
const ICMP_ERROR: i32 = 0x101;
/// The packet belongs to no connection: `new` comes next.
const NEW: i32 = 0x103;
/// The connection has a decision now: `established` comes next.
const SETTLED: i32 = 0x102;
/// A connection was entered: `opened` comes next.
const OPENED: i32 = 0x104;
/// A connection was let through without an entry: `opened` comes next, and then its usual way.
const UNTRACKED: i32 = 0x105;
/// The packet is of a connection that was opened before: `mid_flow` comes next.
const MID_FLOW: i32 = 0x106;
/// Both ends of the packet are translated: `both_ends` comes next.
const BOTH_ENDS: i32 = 0x107;
/// The entry under the packet's tuple is another connection's: `beside` comes next.
const BESIDE: i32 = 0x10b;
/// The packet goes to a client from outside: `outside` comes next.
const OUTSIDE: i32 = 0x108;
/// The ICMP error is about a client from outside: `report_apart` comes next.
pub const OUTSIDE_ERROR: i32 = 0x109;
/// The packet is translated and leaves the node: `leave_apart` comes next.
pub const LEAVE: i32 = 0x10a;
/// The packet was too big to leave, and is the error about itself now: `arrived` comes next.
pub const TOO_BIG: i32 = 0x10c;
/// The packet goes to a pod of another node, and has no case: `across` comes next.
pub const ACROSS: i32 = 0x10d;
/// The packet is handed over, and is the last one of its connection: `ending::remove` comes next.
const LAST: i32 = 0x10e;
/// With a drop reason in the low byte: `failed` comes next.
pub const FAILED: i32 = 0x200;

/// What becomes of a packet: the TC action.
#[inline(always)]
pub fn run<const FROM_POD: bool>(skb: &mut Skb) -> i32 {
    match skb.ethertype() {
        ETHERTYPE_IPV4 => stages::<Ipv4, FROM_POD>(skb.raw()),
        ETHERTYPE_IPV6 => stages::<Ipv6, FROM_POD>(skb.raw()),
        ETHERTYPE_ARP => NEXT,
        _ => {
            event::unparsed(skb, hook::<FROM_POD>(), DropReason::Ethertype);
            DROP
        }
    }
}

#[inline(always)]
fn stages<F: Apart + Routed + refuse::Header, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let mut answer = judged::<F, FROM_POD>(raw, 0);
    if answer < UNSETTLED {
        return answer;
    }
    if answer == ICMP_ERROR {
        answer = related::<F, FROM_POD>(raw);
    }
    if FROM_POD && answer == BESIDE {
        answer = F::beside_sent(raw, 0);
    }
    if answer == UNSETTLED {
        answer = if FROM_POD { F::known_sent(raw) } else { F::known_received(raw) };
    }
    if answer == NEW {
        answer = if FROM_POD { F::new_sent(raw) } else { F::new_received(raw) };
    }
    if answer == MID_FLOW {
        answer = mid_flow::<F, FROM_POD>(raw);
    }
    if answer == OPENED || answer == UNTRACKED {
        let how = answer as u32;
        answer = if FROM_POD { F::opened_sent(raw, how) } else { F::opened_received(raw, how) };
    }
    if answer == SETTLED {
        audited::<F, FROM_POD>(raw);
        answer = judged::<F, FROM_POD>(raw, 1);
    }
    if FROM_POD && answer == BESIDE {
        answer = F::beside_sent(raw, 1);
    }
    if answer == BOTH_ENDS {
        answer = both_ends::<F, FROM_POD>(raw);
    }
    if answer == OUTSIDE {
        answer = outside::<F>(raw);
    }
    if answer == OUTSIDE_ERROR {
        answer = F::report(raw);
        if answer == outside::STRANGE {
            return NEXT;
        }
    }
    if answer == LEAVE {
        answer = F::leave(raw);
    }
    if FROM_POD && answer == LAST {
        F::ended_apart();
        return HAND_OVER;
    }
    if FROM_POD && answer == ACROSS {
        answer = F::across(raw);
    }
    if answer < UNSETTLED {
        return answer;
    }
    // A connection that vanished between two stages is dropped as well: nothing but a decision lets a packet on.
    let reason = if answer & FAILED != 0 { answer as u8 } else { DropReason::Invalid as u8 };
    let dropped =
        if FROM_POD { F::failed_sent(raw, reason.into()) } else { F::failed_received(raw, reason.into()) };
    if FROM_POD && reason == DropReason::NoBackend as u8 { refused::<F>(raw) } else { dropped }
}

#[inline(always)]
fn audited<F: Apart, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    if FROM_POD { F::audited_sent(raw) } else { F::audited_received(raw) }
}

#[inline(always)]
fn judged<F: Apart, const FROM_POD: bool>(raw: *mut __sk_buff, settled: u32) -> i32 {
    if FROM_POD { F::sent(raw, settled) } else { F::received(raw, settled) }
}

/// Parse, one lookup, forward. `settled`: this packet was judged a moment ago, whatever the epoch is by now.
#[inline(always)]
pub fn established<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff, settled: u32) -> i32 {
    let hook = hook::<FROM_POD>();
    let skb = &mut Skb::from_raw(raw);
    let packet = match F::parse(skb, hook) {
        Ok(packet) => packet,
        Err(reason) => {
            event::unparsed(skb, hook, reason);
            return DROP;
        }
    };
    let mut answer = NEW;
    if packet.kind == Kind::Pass {
        return NEXT;
    } else if packet.kind == Kind::IcmpError && settled == 0 {
        answer = ICMP_ERROR;
    } else if !packet.is_sound() {
        answer = FAILED | DropReason::Invalid as i32;
    } else if let Some(hit) = conntrack::find::<F>(&packet.tuple)
        && conntrack::owns(&hit, skb, hook)
    {
        let config = settings::read();
        let current = hit.may_pass(config.epoch, settled);
        answer = UNSETTLED;
        if FROM_POD && hit.is_shared() {
            answer = BESIDE;
        } else if current && (settled != 0 || !conntrack::asks_to_open(&packet, &hit)) {
            let state = conntrack::touch(&hit, skb.len(), &packet);
            partner::follow::<F>(skb, &packet, &hit, state);
            match forward::established::<F>(skb, hook, &config, &packet, &hit) {
                Ok(Way::Action(HAND_OVER))
                    if FROM_POD && ending::is_last::<F>(skb, &packet, &hit, state, &config) =>
                {
                    answer = LAST;
                }
                Ok(Way::Action(action)) => return action,
                Ok(Way::BothEnds) => answer = BOTH_ENDS,
                Ok(Way::Outside) => answer = OUTSIDE,
                Err(reason) => answer = FAILED | reason as i32,
            }
        }
    }
    match Case::open::<F>(&packet, hook.direction(), skb.ifindex()) {
        Some(_) => answer,
        None => DROP,
    }
}

/// A client's packet to a backend, from a port under which that one answers it as a Service. It belongs to a connection of its
/// own, beside the other.
#[inline(always)]
pub fn beside<F: Family>(raw: *mut __sk_buff, settled: u32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    match beside::meet::<F>(skb, case, settled, |hit| conntrack::owns(hit, skb, Hook::FromPod)) {
        Next::Settled => BOTH_ENDS,
        Next::Unsettled => UNSETTLED,
        Next::New => NEW,
        Next::Gone => FAILED | DropReason::Invalid as i32,
    }
}

/// An ICMP error belongs to the connection that it quotes; without one it is a packet like any other.
#[inline(never)]
fn related<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let config = settings::read();
    match icmp_error::related::<F>(&mut Skb::from_raw(raw), hook::<FROM_POD>(), &config, &case.packet) {
        Some(Ok(action)) => action,
        Some(Err(reason)) => FAILED | reason as i32,
        None => UNSETTLED,
    }
}

/// Judges a known connection under the epoch of now.
#[inline(always)]
pub fn known<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    if case.packet.kind != Kind::Flow {
        return NEW;
    }
    match conntrack::find_for::<F>(case) {
        Some(hit) if conntrack::owns(&hit, skb, hook::<FROM_POD>()) => {
            if conntrack::reopens(&case.packet, &hit) {
                return if hit.over() { NEW } else { FAILED | DropReason::Invalid as i32 };
            }
            if FROM_POD && case.beside == 0 && service::asks_anew::<F>(&case.packet, &hit) {
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

/// Judges a packet that belongs to no connection, and makes it one if it may.
#[inline(always)]
pub fn new<F: Tunnelled + Apart, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    // A node that translates its source would make it its own.
    if FROM_POD && case.packet.tuple.proto == F::TUNNEL && F::own().is_some() {
        return FAILED | DropReason::Encapsulation as i32;
    }
    let skb = &Skb::from_raw(raw);
    match admit::admit::<F>(skb, hook::<FROM_POD>(), case) {
        Ok(Admitted::Enters { epoch, plain, svc }) => {
            case.lend();
            F::enter(raw, epoch, plain, svc)
        }
        Ok(Admitted::As(entered)) => next_of(Ok(entered)),
        Err(reason) => next_of(Err(reason)),
    }
}

/// Makes the entries of a connection that `new` has let through.
#[inline(always)]
pub fn enter<F: Family>(raw: *mut __sk_buff, epoch: u32, plain: u32, svc: u32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    next_of(admit::enter::<F>(&Skb::from_raw(raw), case, epoch, plain, svc))
}

/// Judges a TCP segment of a connection that has no entry, and makes it one if it may.
#[inline(never)]
fn mid_flow<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    next_of(mid_flow::admit::<F>(&Skb::from_raw(raw), hook::<FROM_POD>(), case))
}

#[inline(always)]
fn next_of(entered: Result<Entered, DropReason>) -> i32 {
    match entered {
        Ok(Entered::Tracked) => OPENED,
        Ok(Entered::Untracked) => UNTRACKED,
        Ok(Entered::Passed) => NEXT,
        Ok(Entered::NotYet) => MID_FLOW,
        Err(reason) => FAILED | reason as i32,
    }
}

/// Translates both ends of a packet whose connection has a decision. A lookup of its own: the packets of few connections
/// come here.
#[inline(never)]
fn both_ends<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let (skb, hook) = (&mut Skb::from_raw(raw), hook::<FROM_POD>());
    let Some(hit) = conntrack::find_for::<F>(case) else { return DROP };
    match forward::both_ends::<F>(skb, hook, &settings::read(), &case.packet, &hit) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

/// Translates what a pod answers to a client from outside, and sends it out of the node.
#[inline(never)]
fn outside<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match outside::answer::<F>(&mut Skb::from_raw(raw), &case.packet) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

/// Counts a connection that was let through, and tells whoever listens. Its packet goes on at once if it is handed over, and else like
/// any other of a connection that has a decision; without an entry it goes its usual way.
#[inline(always)]
pub fn opened<F: Apart, const FROM_POD: bool>(raw: *mut __sk_buff, how: u32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let how = how as i32;
    let (skb, hook) = (&mut Skb::from_raw(raw), hook::<FROM_POD>());
    metrics::count(0, hook.direction(), skb.len());
    if how == UNTRACKED {
        metrics::extra(Extra::Untracked);
    }
    if settings::read().flags & netpol_common::config::flags::FLOW_EVENTS != 0 {
        event::forwarded(skb, hook, case);
    }
    if FROM_POD && how == OPENED && case.goes_along != 0 {
        if case.decision.rule_egress == RuleId::AUDIT || case.decision.rule_ingress == RuleId::AUDIT {
            case.lend();
            audited::<F, FROM_POD>(raw);
        }
        return match forward::first::<F>(skb, case) {
            Ok(action) => action,
            Err(reason) => FAILED | reason as i32,
        };
    }
    if how == OPENED {
        return SETTLED;
    }
    case.lend();
    audited::<F, FROM_POD>(raw);
    NEXT
}

/// Tells the agent of a packet that was just judged and passes only because policies are being tried: once for each end that would
/// have denied it.
#[inline(always)]
pub fn tried<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    let said = case.decision;
    for (rule, direction, endpoint) in [
        (said.rule_egress, Direction::Egress, case.ends.initiator),
        (said.rule_ingress, Direction::Ingress, case.ends.responder),
    ] {
        if rule == RuleId::AUDIT
            && let Ok(row) = peer::ready(endpoint)
        {
            case.decision.direction = direction;
            case.decision.endpoint = endpoint;
            case.decision.slot =
                if direction as u32 == Direction::Egress as u32 { row.slot_out } else { row.slot_in };
            event::audited(skb, hook::<FROM_POD>(), case);
        }
    }
    case.decision = said;
    SETTLED
}

/// Counts the packet, tells the agent, and drops it.
#[inline(always)]
pub fn failed<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff, reason: u32) -> i32 {
    if let Some(case) = Case::<F::Addr>::resume() {
        event::dropped(&Skb::from_raw(raw), hook::<FROM_POD>(), reason as u8, case);
    }
    DROP
}

/// Sends the packet that was dropped back as its own refusal.
#[inline(never)]
fn refused<F: Family + refuse::Header>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    refuse::answer::<F>(&mut Skb::from_raw(raw), &case.packet)
}

#[inline(always)]
const fn hook<const FROM_POD: bool>() -> Hook {
    if FROM_POD { Hook::FromPod } else { Hook::ToPod }
}
