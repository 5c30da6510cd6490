//! The decision: egress rules of the initiator, then ingress rules of the responder, where they are pods of this node.

use netpol_common::{
    direction::Direction,
    endpoint::flags,
    logic::policy::{PolicyTables, evaluate},
    net::{Address, V6},
    peer::PeerRow,
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, RuleId, SlotId},
    reason::DropReason,
};

use crate::{
    case::{Case, Decision},
    maps, peer,
};

struct Tables;

impl PolicyTables for Tables {
    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<PolicyRow> {
        // SAFETY: copied at once; the agent replaces rows whole, and a row's meaning never changes.
        unsafe { maps::POLICY.get(key) }.copied()
    }
    #[inline(always)]
    fn port(&self, key: &PortKey) -> Option<RuleId> {
        // SAFETY: as above.
        unsafe { maps::PORT.get(key) }.copied()
    }
}

/// The two ends of a connection. Interfaces are 0 where the end is no pod of this node.
#[derive(Clone, Copy)]
pub struct Ends {
    pub initiator: u32,
    pub responder: u32,
    pub src: PeerRow,
    /// After service translation.
    pub dst: PeerRow,
}

impl Ends {
    /// Nobody yet.
    pub const NONE: Self = Self { initiator: 0, responder: 0, src: NOBODY, dst: NOBODY };

    /// As if the other one had opened the connection. In place: there is no room on the stack for two of them.
    #[inline(always)]
    pub fn exchange(&mut self) {
        core::mem::swap(&mut self.initiator, &mut self.responder);
        core::mem::swap(&mut self.src.class, &mut self.dst.class);
        core::mem::swap(&mut self.src.ifindex, &mut self.dst.ifindex);
    }
}

const NOBODY: PeerRow = PeerRow { class: ClassId::ANY, ifindex: 0, flags: 0 };

/// Judges a connection between the ends of the case to `port` (host order). The decision says which rules allowed it, or
/// which end denied it.
#[inline(always)]
pub fn judge<A: Address>(case: &mut Case<A>, protocol: u8, port: u16) -> Result<(), DropReason> {
    case.lend();
    match np_judge(u64::from(protocol), u64::from(port)) {
        ALLOWED => Ok(()),
        DENIED => Err(DropReason::Policy),
        _ => Err(DropReason::Pending),
    }
}

const ALLOWED: u64 = 0;
const DENIED: u64 = 1;
const PENDING: u64 = 2;

/// The judgement as a global function, see [`np_evaluate`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_judge(protocol: u64, port: u64) -> u64 {
    match Case::<V6>::resume_any() {
        Some((ends, decision)) => judge_ends(ends, protocol as u8, port as u16, decision),
        None => PENDING,
    }
}

#[inline(always)]
fn judge_ends(ends: &Ends, protocol: u8, port: u16, decision: &mut Decision) -> u64 {
    let Ends { initiator, responder, src, dst } = *ends;
    decision.rule_egress = RuleId::ELSEWHERE;
    decision.rule_ingress = RuleId::ELSEWHERE;
    if initiator != 0 {
        decision.direction = Direction::Egress;
        decision.endpoint = initiator;
        let Ok(endpoint) = peer::ready(initiator) else { return PENDING };
        if initiator == responder {
            decision.rule_egress = RuleId::SELF;
            decision.rule_ingress = RuleId::SELF;
            return ALLOWED;
        }
        let isolated = endpoint.flags & flags::ISOLATED_OUT != 0;
        let has_any = endpoint.flags & flags::ANY_OUT != 0;
        decision.rule_egress = rule(isolated, endpoint.slot_out, dst.class, has_any, protocol, port);
        if decision.rule_egress == RuleId::NONE {
            if endpoint.flags & flags::AUDIT_OUT == 0 {
                decision.slot = endpoint.slot_out;
                return DENIED;
            }
            decision.rule_egress = RuleId::AUDIT;
        }
    }
    if responder != 0 {
        decision.direction = Direction::Ingress;
        decision.endpoint = responder;
        let Ok(endpoint) = peer::ready(responder) else { return PENDING };
        let isolated = endpoint.flags & flags::ISOLATED_IN != 0;
        let has_any = endpoint.flags & flags::ANY_IN != 0;
        decision.rule_ingress = rule(isolated, endpoint.slot_in, src.class, has_any, protocol, port);
        if decision.rule_ingress == RuleId::NONE {
            if endpoint.flags & flags::AUDIT_IN == 0 {
                decision.slot = endpoint.slot_in;
                return DENIED;
            }
            decision.rule_ingress = RuleId::AUDIT;
        }
    }
    ALLOWED
}

#[inline(always)]
fn rule(isolated: bool, slot: SlotId, class: ClassId, has_any: bool, protocol: u8, port: u16) -> RuleId {
    if !isolated {
        return RuleId::NOT_ISOLATED;
    }
    let question = u64::from(port) | u64::from(protocol) << 16 | u64::from(has_any) << 24;
    RuleId(np_evaluate(slot.0, class.0, question))
}

/// [`evaluate`] as a global function: the verifier walks its many ways once, on its own, and not once for each way that
/// leads to a call of it. Before 5.12 such a function takes numbers only.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_evaluate(slot: u64, class: u64, question: u64) -> u64 {
    let (port, protocol, has_any) = (question as u16, (question >> 16) as u8, question >> 24 & 1 != 0);
    evaluate(&Tables, SlotId(slot), ClassId(class), has_any, protocol, port).0
}
