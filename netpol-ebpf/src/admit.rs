//! A packet without an entry: who sent it, where it goes, whether it may, and its entry.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use netpol_common::{
    config::flags::AT_REST,
    conntrack::flags,
    net::{Be16, proto},
    reason::DropReason,
};

use crate::{
    case::Case,
    config as settings,
    ctx::Skb,
    entries::{self, Entered, NO_SERVICE},
    family::Family,
    forward, judge, mid_flow, peer,
    policy::Ends,
    progs::Hook,
    recent::{self, Said, Way},
    service,
};

/// How many source ports are tried, the client's own first, when the answers could not be told from another connection's.
const SOURCE_TRIES: u32 = 4;
/// Source ports given out instead of the client's: above those that Linux hands out by itself
/// (`net.ipv4.ip_local_port_range`), so that they meet none that the pod uses without translation.
const FIRST_SOURCE: u16 = 61_000;
const SOURCES: u32 = u16::MAX as u32 - FIRST_SOURCE as u32 + 1;

/// What is to become of a packet that may pass.
#[derive(Clone, Copy)]
pub enum Admitted {
    /// [`enter`] comes next, with these: the verifier need not follow it once for each way that leads there.
    Enters { epoch: u32, plain: u32, svc: u32 },
    /// That already.
    As(Entered),
}

/// Judges a packet that belongs to no connection.
#[inline(always)]
pub fn admit<F: Family>(skb: &Skb, hook: Hook, case: &mut Case<F::Addr>) -> Result<Admitted, DropReason> {
    let outcome = judged::<F>(skb, hook, case);
    // An interface without a policy is closed, whatever else there is to be said of the packet: who is judged is asked for it.
    if let Err(reason) = outcome
        && reason != DropReason::Policy
    {
        peer::ready(skb.ifindex())?;
    }
    outcome
}

#[inline(always)]
fn judged<F: Family>(skb: &Skb, hook: Hook, case: &mut Case<F::Addr>) -> Result<Admitted, DropReason> {
    let (here, ingress) = (skb.ifindex(), skb.ingress_ifindex());
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let config = settings::read();
    let epoch = config.epoch;
    // An entry that turned out to be another connection's may have left its backend here.
    (case.nat_dst, case.nat_dport) = (case.packet.tuple.dst, case.packet.tuple.dport);
    let protocol = case.packet.tuple.proto;
    let met_late = protocol == proto::TCP && !case.packet.opens();
    let node = hook == Hook::ToPod && ingress == 0;
    // Where something has no room a denial is not all there is to it, see `mid_flow::answers_untracked`.
    let recalls = config.flags & AT_REST != 0 && !met_late && case.beside == 0 && settings::short() == 0;
    let mut way = Way::direct(hook);
    let mut said = if recalls { recent::recall::<F>(skb, case, epoch, way) } else { Said::NOTHING };
    if said.is_nothing() {
        peer::look_up::<F>(&case.packet.tuple.src, &mut case.ends.src);
        if is_spoofed(hook, case.ends.src.ifindex, here, ingress) {
            return Err(DropReason::Spoofed);
        }
    }
    let sender = case.ends.src.ifindex;
    // What has a pod's address came by that pod's interface. Anything else may be from a pod that nobody knows yet.
    if hook == Hook::ToPod && sender == 0 && !peer::is_accounted_for(ingress) {
        return Err(DropReason::Pending);
    }
    // A number and no `Option`, see `Said`.
    let mut svc = NO_SERVICE;
    if said.is_nothing() {
        if hook == Hook::FromPod && case.beside == 0 {
            svc = translate::<F>(case, met_late)?;
        }
        if svc != NO_SERVICE {
            way = way.by_service();
            said = if recalls { recent::recall::<F>(skb, case, epoch, way) } else { Said::NOTHING };
        }
        if said.is_nothing() {
            peer::look_up::<F>(&case.nat_dst, &mut case.ends.dst);
        }
    }
    if hook == Hook::FromPod && svc == NO_SERVICE && case.ends.dst.flags & peer::UNNAMED != 0 {
        service::unclaimed::<F>(&case.nat_dst)?;
    }
    let outcome = if said.is_nothing() {
        (case.ends.initiator, case.ends.responder) = match hook {
            Hook::FromPod => (here, case.ends.dst.ifindex),
            Hook::ToPod => (if node { 0 } else { sender }, here),
        };
        if met_late {
            return if case.beside == 0 {
                Ok(Admitted::As(Entered::NotYet))
            } else {
                Err(DropReason::Collision)
            };
        }
        let outcome = judge::decide(case, node, protocol, case.nat_dport.to_host());
        if recalls {
            recent::keep::<F>(skb, case, epoch, way, outcome);
        }
        outcome
    } else {
        said.outcome()
    };
    match outcome {
        Ok(()) => {}
        Err(DropReason::Policy) if case.beside == 0 && mid_flow::answers_untracked(case) => {
            return Ok(Admitted::As(Entered::Untracked));
        }
        Err(reason) => return Err(reason),
    }
    case.decision.direction = hook.direction();
    let mut plain = if node { flags::NODE } else { 0 };
    let (src, sport) = (case.packet.tuple.src, case.packet.tuple.sport);
    (case.nat_src, case.nat_sport) = (src, sport);
    if svc != NO_SERVICE && case.ends.dst.ifindex == here {
        // A pod's kernel takes no packet that comes from itself: it talks to its Service's address instead.
        case.nat_src = case.packet.tuple.dst;
        plain |= flags::SNAT;
    }
    if case.beside != 0 {
        case.nat_sport = other_source();
        plain |= flags::SNAT | flags::BESIDE;
    }
    if svc == NO_SERVICE && case.beside != 0 {
        svc = 0;
    }
    if !node && is_across(&case.ends) {
        plain |= flags::ACROSS;
    }
    if hook == Hook::FromPod && forward::is_handed_over(&config, here, case.ends.responder) {
        case.goes_along = skb.len();
    }
    Ok(Admitted::Enters { epoch, plain, svc })
}

/// Whether a packet cannot have come from the pod that has its source address.
#[inline(always)]
fn is_spoofed(hook: Hook, sender: u32, here: u32, ingress: u32) -> bool {
    match hook {
        Hook::FromPod => sender != here,
        Hook::ToPod => sender != 0 && ingress != 0 && !peer::came_from(ingress, sender),
    }
}

/// Chooses a backend, if the destination is a Service's: which port of which, or [`NO_SERVICE`].
#[inline(always)]
fn translate<F: Family>(case: &mut Case<F::Addr>, met_late: bool) -> Result<u32, DropReason> {
    let tuple = &case.packet.tuple;
    let Some(frontend) = F::frontend(tuple.dst, tuple.dport, tuple.proto) else { return Ok(NO_SERVICE) };
    service::lets_in::<F>(&frontend, tuple.src)?;
    let among = service::backends(frontend.near)?;
    if met_late {
        return Err(DropReason::MidFlow);
    }
    let backend = service::choose::<F>(&frontend, among, &tuple.src, (tuple.sport, tuple.proto))?;
    (case.nat_dst, case.nat_dport) = backend;
    Ok(frontend.svc)
}

/// Whether one end is a pod of this node, and the other one a pod of another node.
#[inline(always)]
fn is_across(ends: &Ends) -> bool {
    if ends.initiator == 0 {
        ends.src.flags & peer::UNNAMED == 0
    } else {
        ends.responder == 0 && ends.dst.flags & peer::UNNAMED == 0
    }
}

/// Makes the entries of the case's connection, from another source port if that is taken.
#[inline(always)]
pub fn enter<F: Family>(
    skb: &Skb,
    case: &mut Case<F::Addr>,
    epoch: u32,
    mut plain: u32,
    svc: u32,
) -> Result<Entered, DropReason> {
    case.decision.endpoint = skb.ifindex();
    let translated = if svc == NO_SERVICE { None } else { Some(svc) };
    let protocol = case.packet.tuple.proto;
    let mut tries = 0;
    while tries < SOURCE_TRIES && (protocol != proto::SCTP || tries + case.beside == 0) {
        match entries::create::<F>(case, epoch, plain, translated) {
            Err(DropReason::Collision) => {
                case.nat_sport = other_source();
                plain |= flags::SNAT;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
    Err(DropReason::Collision)
}

#[inline(always)]
fn other_source() -> Be16 {
    // SAFETY: helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    Be16::from_host(FIRST_SOURCE + ((random as u64 * SOURCES as u64) >> 32) as u16)
}
