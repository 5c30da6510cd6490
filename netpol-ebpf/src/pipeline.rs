//! The order of stages. The only file that knows it.
//!
//! Each stage has its own frame on the stack (512 bytes for a chain of calls) and answers with a number: a TC action, or
//! which stage comes next. What a packet with a current decision needs is one stage; everything else starts there, works on
//! the [`Case`], and ends there again.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    conntrack::{Judged, Tuple, flags},
    direction::Direction,
    net::{Address, proto},
    policy::{RuleId, SlotId},
    reason::DropReason,
    stats::Extra,
};

use crate::{
    case::Case,
    config as settings,
    conntrack::{self, Entered, Hit},
    ctx::Skb,
    event,
    family::{Family, Ipv4, Ipv6},
    forward::{self, DROP, NEXT},
    icmp_error, metrics,
    parse::{Kind, Packet, tcp},
    peer,
    policy::{self, Ends},
    progs::Hook,
    service,
};

const ETHERTYPE_IPV4: u32 = 0x0800_u16.to_be() as u32;
const ETHERTYPE_ARP: u32 = 0x0806_u16.to_be() as u32;
const ETHERTYPE_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// How often another backend is tried when the answers of the one chosen could not be told from another connection's.
const BACKEND_TRIES: u32 = 4;

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
/// With a drop reason in the low byte: `failed` comes next.
const FAILED: i32 = 0x200;

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
fn stages<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let mut answer = established::<F, FROM_POD>(raw, 0);
    if answer == ICMP_ERROR {
        answer = related::<F, FROM_POD>(raw);
    }
    if answer == UNSETTLED {
        answer = known::<F, FROM_POD>(raw);
    }
    if answer == NEW {
        answer = new::<F, FROM_POD>(raw);
    }
    if answer == OPENED || answer == UNTRACKED {
        let next = if answer == OPENED { SETTLED } else { NEXT };
        opened::<F, FROM_POD>(raw, answer);
        answer = next;
    }
    if answer == SETTLED {
        answer = established::<F, FROM_POD>(raw, 1);
    }
    if answer < UNSETTLED {
        return answer;
    }
    // A connection that vanished between two stages is dropped as well: nothing but a decision lets a packet on.
    let reason = if answer & FAILED != 0 { answer as u8 } else { DropReason::Invalid as u8 };
    failed::<F, FROM_POD>(raw, reason)
}

/// Parse, one lookup, forward. `settled`: this packet was judged a moment ago, whatever the epoch is by now.
#[inline(never)]
fn established<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff, settled: u32) -> i32 {
    let hook = hook::<FROM_POD>();
    let skb = &mut Skb::from_raw(raw);
    let packet = match F::parse(skb, hook) {
        Ok(packet) => packet,
        Err(reason) => {
            event::unparsed(skb, hook, reason);
            return DROP;
        }
    };
    let mut answer = UNSETTLED;
    if packet.kind == Kind::Pass {
        return NEXT;
    } else if packet.kind == Kind::IcmpError && settled == 0 {
        answer = ICMP_ERROR;
    } else if let Some(hit) = conntrack::find::<F>(&packet.tuple)
        && conntrack::owns(&hit, skb, hook)
    {
        let config = settings::read();
        let judged = hit.judged();
        let current = judged == Judged::allowed(config.epoch) || (settled != 0 && !judged.is_denied());
        if current && !reopens(&packet, &hit) {
            conntrack::touch(&hit, skb.len(), &packet);
            match forward::established::<F>(skb, hook, &config, &packet, &hit) {
                Ok(action) => return action,
                Err(reason) => answer = FAILED | reason as i32,
            }
        }
    }
    match Case::open::<F>(&packet, hook.direction(), skb.ifindex()) {
        Some(_) => answer,
        None => DROP,
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
#[inline(never)]
fn known<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    if case.packet.kind != Kind::Flow {
        return NEW;
    }
    match conntrack::find::<F>(&case.packet.tuple) {
        Some(hit) if conntrack::owns(&hit, skb, hook::<FROM_POD>()) && !reopens(&case.packet, &hit) => {
            match again::<F>(&hit, case) {
                Ok(true) => SETTLED,
                Ok(false) => NEW,
                Err(reason) => FAILED | reason as i32,
            }
        }
        _ => NEW,
    }
}

/// Judges a packet that belongs to no connection, and makes it one if it may.
#[inline(never)]
fn new<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    match admit::<F>(skb, hook::<FROM_POD>(), case) {
        Ok(Entered::Tracked) => OPENED,
        Ok(Entered::Untracked) => UNTRACKED,
        Err(reason) => FAILED | reason as i32,
    }
}

/// Counts a connection that was let through, and tells whoever listens.
#[inline(never)]
fn opened<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff, how: i32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let (skb, hook) = (&Skb::from_raw(raw), hook::<FROM_POD>());
    metrics::count(0, hook.direction(), skb.len());
    if how == UNTRACKED {
        metrics::extra(Extra::Untracked);
    }
    if settings::read().flags & netpol_common::config::flags::FLOW_EVENTS != 0 {
        event::forwarded(skb, hook, case);
    }
    SETTLED
}

/// Counts the packet, tells the agent, and drops it.
#[inline(never)]
fn failed<F: Family, const FROM_POD: bool>(raw: *mut __sk_buff, reason: u8) -> i32 {
    if let Some(case) = Case::<F::Addr>::resume() {
        event::dropped(&Skb::from_raw(raw), hook::<FROM_POD>(), reason, case);
    }
    DROP
}

#[inline(always)]
const fn hook<const FROM_POD: bool>() -> Hook {
    if FROM_POD { Hook::FromPod } else { Hook::ToPod }
}

/// Whether a TCP packet opens a connection.
#[inline(always)]
fn opens<A: Address>(packet: &Packet<A>) -> bool {
    packet.tuple.proto == proto::TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Whether it does so under the ports of a connection that is over.
#[inline(always)]
fn reopens<A: Address>(packet: &Packet<A>, hit: &Hit) -> bool {
    opens(packet) && !hit.reply && flags::closed(hit.flags)
}

/// `false` if one of its ends is no longer what it was: then it is not
/// this connection any more.
#[inline(always)]
fn again<F: Family>(hit: &Hit, case: &mut Case<F::Addr>) -> Result<bool, DropReason> {
    metrics::extra(Extra::Rejudged);
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let tuple = case.packet.tuple;
    let mut opened: Tuple<F::Addr> = if hit.reply { tuple.reversed() } else { tuple };
    // SAFETY: a non-null pointer into a hash map; each field is a single word.
    let (initiator, responder, nat_addr, nat_port) = unsafe {
        ((*hit.entry).if_orig, (*hit.entry).if_reply, (*hit.entry).nat_addr, (*hit.entry).nat_port)
    };
    if hit.flags & flags::FRONT != 0 {
        opened.dst = F::Addr::from_words(nat_addr);
        opened.dport = nat_port;
        if !hit.reply {
            (case.nat_dst, case.nat_dport) = (opened.dst, opened.dport);
        }
    }
    (case.ends.initiator, case.ends.responder) = (initiator, responder);
    peer::look_up::<F>(&opened.src, &mut case.ends.src);
    peer::look_up::<F>(&opened.dst, &mut case.ends.dst);
    if case.ends.src.ifindex != initiator || case.ends.dst.ifindex != responder {
        return Ok(false);
    }
    let node = hit.flags & flags::NODE != 0;
    let outcome = decide(&case.ends, node, opened.proto, opened.dport.to_host(), &mut case.decision);
    if outcome == Err(DropReason::Pending) {
        // Not a decision: the next packet asks again.
        return Err(DropReason::Pending);
    }
    let judged = match outcome {
        Ok(()) => Judged::allowed(epoch),
        Err(_) => Judged::denied(epoch, case.decision.direction),
    };
    // SAFETY: as above. The decision is stored last and as one word: whoever sees it sees the rules that made it.
    unsafe {
        (*hit.entry).rule_egress = case.decision.rule_egress;
        (*hit.entry).rule_ingress = case.decision.rule_ingress;
        (&raw mut (*hit.entry).judged).write_volatile(judged);
    }
    outcome.map(|()| true)
}

#[inline(always)]
fn admit<F: Family>(skb: &Skb, hook: Hook, case: &mut Case<F::Addr>) -> Result<Entered, DropReason> {
    let tuple = &case.packet.tuple;
    let here = skb.ifindex();
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    // Before anything is said of the packet: an interface without a policy is closed, whatever the packet is.
    let _endpoint = peer::ready(here)?;
    peer::look_up::<F>(&tuple.src, &mut case.ends.src);
    let (sender, ingress) = (case.ends.src.ifindex, skb.ingress_ifindex());
    let spoofed = match hook {
        Hook::FromPod => sender != here,
        Hook::ToPod => sender != 0 && ingress != 0 && !peer::came_from(ingress, sender),
    };
    if spoofed {
        return Err(DropReason::Spoofed);
    }
    let mid_flow = tuple.proto == proto::TCP && !opens(&case.packet);
    let node = hook == Hook::ToPod && ingress == 0;
    let protocol = tuple.proto;
    let svc = match hook {
        Hook::FromPod => F::frontend(tuple.dst, tuple.dport, tuple.proto).map(|row| row.svc),
        Hook::ToPod => None,
    };
    if svc.is_some() && mid_flow {
        return Err(DropReason::MidFlow);
    }
    let mut tries = 0;
    while tries < BACKEND_TRIES {
        if let Some(svc) = svc {
            (case.nat_dst, case.nat_dport) = service::pick::<F>(svc)?;
        }
        peer::look_up::<F>(&case.nat_dst, &mut case.ends.dst);
        (case.ends.initiator, case.ends.responder) = match hook {
            Hook::FromPod => (here, case.ends.dst.ifindex),
            Hook::ToPod => (if node { 0 } else { sender }, here),
        };
        match decide(&case.ends, node, protocol, case.nat_dport.to_host(), &mut case.decision) {
            Ok(()) => {}
            Err(DropReason::Policy) if mid_flow => {
                case.decision.slot = SlotId::NONE;
                return Err(DropReason::MidFlow);
            }
            Err(reason) => return Err(reason),
        }
        (case.decision.direction, case.decision.endpoint) = (hook.direction(), here);
        match conntrack::create::<F>(case, epoch, if node { flags::NODE } else { 0 }, svc) {
            Err(DropReason::Collision) => tries += 1,
            Err(reason) => return Err(reason),
            Ok(entered) => return Ok(entered),
        }
    }
    Err(DropReason::Collision)
}

/// The pod's own node reaches it whatever policy says; all else is policy's.
#[inline(always)]
fn decide(
    ends: &Ends,
    node: bool,
    protocol: u8,
    port: u16,
    decision: &mut crate::case::Decision,
) -> Result<(), DropReason> {
    if !node {
        return policy::judge(ends, protocol, port, decision);
    }
    decision.rule_egress = RuleId::ELSEWHERE;
    decision.rule_ingress = RuleId::NODE;
    decision.direction = Direction::Ingress;
    decision.endpoint = ends.responder;
    peer::ready(ends.responder).map(|_| ())
}
