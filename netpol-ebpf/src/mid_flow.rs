//! Packets of connections that have no entry: they began before netpol did, were idle for longer than their entry, or
//! found no room.
//!
//! Such a packet passes only if policy would let its connection be opened. Which end opened it is not to be seen, so it is
//! taken for its sender, except where that cannot be or where both answers must do: `docs/adr/0006-mid-flow.md`.

use netpol_common::{
    config::short,
    conntrack::flags,
    endpoint,
    logic::tcp,
    net::{Address, proto},
    policy::SlotId,
    reason::DropReason,
};

use crate::{
    case::Case,
    config as settings,
    ctx::Skb,
    entries::{self, Entered, REVERSED},
    family::Family,
    judge, peer,
    policy::Ends,
    progs::Hook,
    quota,
};

/// Judges a TCP segment that opens no connection, whose ends are known.
#[inline(always)]
pub fn admit<F: Family>(skb: &Skb, hook: Hook, case: &mut Case<F::Addr>) -> Result<Entered, DropReason> {
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let (here, node) = (skb.ifindex(), hook == Hook::ToPod && skb.ingress_ifindex() == 0);
    let (from, to) = (case.packet.tuple.sport.to_host(), case.packet.tuple.dport.to_host());
    let answers = tcp::answers_opening(case.packet.tcp_flags);
    let adopting = adopts(case.ends.initiator) || adopts(case.ends.responder);
    // Of two ports the lower one is the server's. The node needs no policy for what it opens: what looks like an answer
    // of its servers must not pass as that.
    let reversed = answers || ((adopting || node) && from < to);
    let mut exchanged = reversed;
    let mut outcome = if reversed {
        judge::the_other_way(case, proto::TCP, from)
    } else {
        judge::decide(case, node, proto::TCP, to)
    };
    if outcome == Err(DropReason::Policy) && !answers && !node && (adopting || no_room(&case.ends)) {
        exchanged = !reversed;
        outcome = if reversed {
            judge::decide(case, false, proto::TCP, to)
        } else {
            judge::the_other_way(case, proto::TCP, from)
        };
    }
    match outcome {
        Ok(()) => {}
        Err(DropReason::Policy) => {
            case.decision.slot = SlotId::NONE;
            return Err(DropReason::MidFlow);
        }
        Err(reason) => return Err(reason),
    }
    (case.decision.direction, case.decision.endpoint) = (hook.direction(), here);
    if case.packet.tcp_flags & tcp::bits::RST != 0 {
        return Ok(Entered::Passed);
    }
    let plain = match (exchanged, node) {
        (true, _) => flags::MID_FLOW | REVERSED,
        (false, true) => flags::MID_FLOW | flags::NODE,
        (false, false) => flags::MID_FLOW,
    };
    entries::create::<F>(case, epoch, plain, None)
}

/// Whether a denied packet that is no TCP segment may be the answer to one that found no room for an entry.
#[inline(always)]
pub fn answers_untracked<A: Address>(case: &mut Case<A>) -> bool {
    let (protocol, from) = (case.packet.tuple.proto, case.packet.tuple.sport.to_host());
    protocol != proto::TCP && no_room(&case.ends) && judge::the_other_way(case, protocol, from).is_ok()
}

/// Whether connections of one of the ends may have found no room lately.
#[inline(always)]
fn no_room(ends: &Ends) -> bool {
    let short = settings::short();
    short != 0
        && (short & short::TABLE != 0
            || quota::used_up(quota::of(ends.initiator))
            || quota::used_up(quota::of(ends.responder)))
}

/// Whether the pod behind `ifindex` has connections from before its programs.
#[inline(always)]
fn adopts(ifindex: u32) -> bool {
    ifindex != 0 && peer::ready(ifindex).is_ok_and(|row| row.flags & endpoint::flags::ADOPTING != 0)
}
