//! A packet without an entry: who sent it, where it goes, whether it may, and its entry.

use netpol_common::{conntrack::flags, net::proto, reason::DropReason};

use crate::{
    case::Case,
    config as settings,
    conntrack::{self, Entered},
    ctx::Skb,
    family::Family,
    judge, mid_flow, peer,
    progs::Hook,
    service,
};

/// How often another backend is tried when the answers of the one chosen could not be told from another connection's.
const BACKEND_TRIES: u32 = 4;

/// Judges a packet that belongs to no connection, and makes it one if it may.
#[inline(always)]
pub fn admit<F: Family>(skb: &Skb, hook: Hook, case: &mut Case<F::Addr>) -> Result<Entered, DropReason> {
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
    // An entry that turned out to be another connection's may have left its backend here.
    (case.nat_dst, case.nat_dport) = (tuple.dst, tuple.dport);
    let protocol = tuple.proto;
    let met_late = protocol == proto::TCP && !case.packet.opens();
    let node = hook == Hook::ToPod && ingress == 0;
    let svc = match hook {
        Hook::FromPod => F::frontend(tuple.dst, tuple.dport, tuple.proto).map(|row| row.near),
        Hook::ToPod => None,
    };
    if svc.is_some() && met_late {
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
        if met_late {
            return Ok(Entered::NotYet);
        }
        match judge::decide(&case.ends, node, protocol, case.nat_dport.to_host(), &mut case.decision) {
            Ok(()) => {}
            Err(DropReason::Policy) if mid_flow::answers_untracked(case) => return Ok(Entered::Untracked),
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
