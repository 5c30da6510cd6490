//! What policy says of a connection, the first time and again.

use netpol_common::{
    conntrack::{Judged, Tuple, flags},
    direction::Direction,
    net::Address,
    policy::{RuleId, SlotId},
    reason::DropReason,
    stats::Extra,
};

use crate::{case::Case, config as settings, conntrack::Hit, family::Family, metrics, peer, policy};

/// The pod's own node reaches it whatever policy says; all else is policy's.
#[inline(always)]
pub fn decide<A: Address>(case: &mut Case<A>, node: bool, protocol: u8, port: u16) -> Result<(), DropReason> {
    if !node {
        return policy::judge(case, protocol, port);
    }
    let (ends, decision) = (&case.ends, &mut case.decision);
    decision.rule_egress = RuleId::ELSEWHERE;
    decision.rule_ingress = RuleId::NODE;
    decision.direction = Direction::Ingress;
    decision.endpoint = ends.responder;
    peer::ready(ends.responder).map(|_| ())
}

/// Whether policy lets a client in. Of one that is met late, policy is not why: who came in time may have been let in.
#[inline(always)]
pub fn decide_client<A: Address>(case: &mut Case<A>, met_late: bool) -> Result<(), DropReason> {
    match decide(case, false, case.packet.tuple.proto, case.nat_dport.to_host()) {
        Err(DropReason::Policy) if met_late => {
            case.decision.slot = SlotId::NONE;
            Err(DropReason::MidFlow)
        }
        decided => decided,
    }
}

/// Judges a known connection under the epoch of now. `false` if one of its ends is no longer what it was: then it is not
/// this connection any more.
#[inline(always)]
pub fn again<F: Family>(hit: &Hit, case: &mut Case<F::Addr>) -> Result<bool, DropReason> {
    metrics::extra(Extra::Rejudged);
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let tuple = case.packet.tuple;
    let mut opened: Tuple<F::Addr> = if hit.is_reply() { tuple.reversed() } else { tuple };
    // SAFETY: a non-null pointer into a hash map; each field is a single word.
    let (initiator, responder, nat_addr, nat_port) = unsafe {
        ((*hit.entry).if_orig, (*hit.entry).if_reply, (*hit.entry).nat_addr, (*hit.entry).nat_port)
    };
    if hit.flags & (flags::BACK | flags::SNAT) == flags::BACK | flags::SNAT {
        // SAFETY: as above; written before the entry is inserted and never after.
        let (addr, port) = unsafe { ((*hit.entry).nat_saddr, (*hit.entry).nat_sport) };
        (opened.src, opened.sport) = (F::Addr::from_words(addr), port);
    }
    if hit.flags & (flags::FRONT | flags::NODE_NAT) != 0 {
        opened.dst = F::Addr::from_words(nat_addr);
        opened.dport = nat_port;
        if !hit.is_reply() {
            (case.nat_dst, case.nat_dport) = (opened.dst, opened.dport);
        }
    }
    (case.ends.initiator, case.ends.responder) = (initiator, responder);
    peer::look_up::<F>(&opened.src, &mut case.ends.src);
    peer::look_up::<F>(&opened.dst, &mut case.ends.dst);
    // The client's entry of a connection that the node translates names no responder: its packets go to the node, and that
    // end's own entry is judged where they come to it.
    let elsewhere = hit.flags & flags::NODE_NAT != 0 && responder == 0;
    if case.ends.src.ifindex != initiator || (case.ends.dst.ifindex != responder && !elsewhere) {
        return Ok(false);
    }
    let node = hit.flags & flags::NODE != 0;
    let mut outcome = decide(case, node, opened.proto, opened.dport.to_host());
    if outcome == Err(DropReason::Policy) && hit.flags & flags::MID_FLOW != 0 {
        // Nobody saw which end opened it.
        outcome = the_other_way(case, opened.proto, opened.sport.to_host());
    }
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

/// Judges a connection as if the responder had opened it, towards `port` (host order) of the initiator. A denial leaves the
/// decision as it was. Exchanges the ends for good if it is allowed.
#[inline(always)]
pub fn the_other_way<A: Address>(case: &mut Case<A>, protocol: u8, port: u16) -> Result<(), DropReason> {
    let said = case.decision;
    case.ends.exchange();
    let outcome = decide(case, false, protocol, port);
    if outcome.is_err() {
        case.ends.exchange();
        case.decision = said;
    }
    outcome
}
