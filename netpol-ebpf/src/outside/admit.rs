//! A packet from outside without an entry: whether the Service lets it in, who answers it, and its entries.

use netpol_common::{conntrack::flags, logic::tcp, net::proto, policy::SlotId, reason::DropReason};

use super::Routed;
use super::source::{self, Place};
use crate::{
    case::Case,
    config as settings,
    conntrack::{self, Entered},
    ctx::Skb,
    judge, peer, service,
};

/// How many source ports are tried.
const SOURCE_TRIES: u32 = 32;

/// Enters a connection, unless the packet is for no Service.
#[inline(always)]
pub fn admit<F: Routed>(skb: &Skb, case: &mut Case<F::Addr>) -> Result<Entered, DropReason> {
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let tuple = case.packet.tuple;
    let Some(row) = F::frontend(tuple.dst, tuple.dport, tuple.proto) else { return Ok(Entered::Passed) };
    peer::look_up::<F>(&tuple.src, &mut case.ends.src);
    if case.ends.src.ifindex != 0 {
        return Err(DropReason::Spoofed);
    }
    service::lets_in::<F>(&row, tuple.src)?;
    let among = service::backends(row.far)?;
    let met_late = tuple.proto == proto::TCP && !case.packet.opens();
    if met_late && !(service::is_settled(&row, among) && tcp::goes_on(case.packet.tcp_flags)) {
        return Err(DropReason::MidFlow);
    }
    (case.nat_dst, case.nat_dport) =
        service::choose::<F>(&row, among, &tuple.src, (tuple.sport, tuple.proto))?;
    (case.nat_src, case.nat_sport) = (tuple.src, tuple.sport);
    peer::look_up::<F>(&case.nat_dst, &mut case.ends.dst);
    (case.ends.initiator, case.ends.responder) = (0, case.ends.dst.ifindex);
    match judge::decide(case, false, tuple.proto, case.nat_dport.to_host()) {
        Err(DropReason::Policy) if met_late => {
            case.decision.slot = SlotId::NONE;
            return Err(DropReason::MidFlow);
        }
        decided => decided?,
    }
    let mut plain = flags::OUTSIDE;
    if case.ends.responder == 0 {
        match source::place::<F>(skb.raw(), case) {
            Place::Here => {}
            Place::Elsewhere => {
                plain |= flags::SNAT;
                case.nat_sport = source::port(skb);
            }
            Place::Nowhere => return Err(DropReason::NoRoute),
        }
    }
    let mut tries = 0;
    while tries < SOURCE_TRIES {
        match conntrack::create::<F>(case, epoch, plain, Some(row.svc)) {
            // Another connection's answers go by this tuple: from another port they can be told apart.
            Err(DropReason::Collision) => {
                plain |= flags::SNAT;
                case.nat_sport = source::port(skb);
                tries += 1;
            }
            outcome => return outcome,
        }
    }
    Err(DropReason::NoPort)
}
